"""`percept ci-report`: what a branch changes, as Markdown for its reviewer; a failure where a score regresses."""

import argparse
import fnmatch
import json
import operator
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tasks.commands.markdown import code, escape, table, with_interval
from tasks.runtime.errors import PerceptError

if TYPE_CHECKING:
    from tasks.artifacts.metrics import Score

METRICS = Path("reports/metrics")
THRESHOLDS = Path(".ci/thresholds.yaml")
ROUNDING = "same arithmetic"
"""Verdict on a score that differs by no more than processors differ: see `tasks.artifacts.agreement`."""
MOST_ROWS = 40
"""Longer tables are folded away: a reviewer reads the first screen."""


class RegressionError(PerceptError):
    """A guarded score is worse than it may be."""


EXAMPLE = "percept ci-report --base origin/main"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("ci-report", help="say in Markdown what a branch changes")
    command.add_argument("--base", default="origin/main", metavar="REF", help="compare with this")
    command.add_argument("--out", type=Path, help="write it here, too")
    command.add_argument("--plots", type=Path, help="write `dvc plots diff` into this folder")
    command.add_argument(
        "--thresholds", type=Path, default=THRESHOLDS, help="guarded scores, as YAML"
    )
    command.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    from tasks.runtime.files import write_text

    base = resolve(options.base)
    guards = read_thresholds(options.thresholds)
    changes = compare_scores(scores_at(base), scores_here())
    idle = idle_rules(changes, guards, options.thresholds)
    problems = [*idle, *regressions(changes, guards), *stale_stages()]
    plots = write_plots(base, options.plots) if options.plots else None
    text = "\n".join(_markdown(options.base, base, changes, problems, plots))
    if options.out:
        write_text(options.out, text)
    sys.stdout.write(text)
    if problems:
        raise RegressionError(" ".join(problems))


@dataclass(frozen=True)
class Change:
    """One score on the base and here; ``None`` where it does not exist.

    Attributes
    ----------
    name
        Of the score.
    old, new
        Its row in the metrics file.
    """

    name: str
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None

    @property
    def verdict(self) -> str:
        """Say in a word how the score stands to its interval on the base."""
        if self.old is None:
            return "new"
        if self.new is None:
            return "gone"
        if self.new["value"] == self.old["value"]:
            return "same"
        if self.apart <= 1:
            return ROUNDING
        low, high = (self.old.get(k, self.old["value"]) for k in ("low", "high"))
        low, high = (self.old["value"] if v is None else v for v in (low, high))
        if low <= self.new["value"] <= high:
            return "within"
        return "better" if (self.new["value"] > high) != self._lower_is_better else "worse"

    @property
    def apart(self) -> float:
        """Return the difference of the two rows in units of the tolerance; infinite if one is missing."""
        from tasks.artifacts.agreement import apart

        if self.old is None or self.new is None:
            return float("inf")
        return apart(_score(self.old), _score(self.new))

    @property
    def _lower_is_better(self) -> bool:
        return bool((self.new or self.old or {}).get("lower_is_better"))


def compare_scores(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return every score of either side, by name."""
    return [Change(name, old.get(name), new.get(name)) for name in sorted({*old, *new})]


def regressions(changes: list[Change], guards: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sentence for every guarded score that is worse than it may be.

    Parameters
    ----------
    guards
        What `read_thresholds` returned.
    """
    for change in changes:
        if change.verdict in ("worse", "gone") and _matches(change.name, guards["guarded"]):
            yield (
                f"{change.name} must stay in its interval on the base, {with_interval(change.old)}; "
                f"it is {with_interval(change.new)}."
            )
        for limit in guards["limits"]:
            value = None if change.new is None else change.new["value"]
            if value is not None and fnmatch.fnmatchcase(change.name, limit["score"]):
                for word, holds in (("at_least", operator.ge), ("at_most", operator.le)):
                    if word in limit and not holds(value, limit[word]):
                        words = word.replace("_", " ")
                        yield f"{change.name} must be {words} {limit[word]:g}; it is {value:.3f}."


def idle_rules(changes: list[Change], guards: Mapping[str, Any], thresholds: Path) -> Iterator[str]:
    """Yield one sentence for every rule that guards nothing, since no score has such a name.

    Parameters
    ----------
    guards
        What `read_thresholds` returned.
    thresholds
        The file that they were read from.
    """
    for kind in ("guarded", "limits"):
        known = [c.name for c in changes if kind == "guarded" or c.new is not None]
        for rule in guards[kind]:
            if not any(fnmatch.fnmatchcase(name, rule["score"]) for name in known):
                yield (
                    f"{thresholds}: `{rule['score']}` of `{kind}` must match a score; it matches none. "
                    "Mend the pattern, or remove it."
                )


def read_thresholds(path: Path) -> dict[str, Any]:
    """Read which scores are guarded.

    Raises
    ------
    PerceptError
        If the file does not exist or is not in its form.
    """
    if not path.exists():
        raise PerceptError(f"{path} must name the guarded scores; it does not exist. Restore it.")
    found = _parsed(path.read_bytes(), str(path), yaml.safe_load)
    guarded, limits = (found.get(name) or [] for name in ("guarded", "limits"))
    well_formed = (
        set(found) <= {"guarded", "limits"}
        and all(isinstance(rule, dict) for rule in (*guarded, *limits))
        and all(isinstance(rule.get("score"), str) for rule in (*guarded, *limits))
        and all(set(rule) == {"score"} for rule in guarded)
        and all({"score"} < set(rule) <= {"score", "at_least", "at_most"} for rule in limits)
        and all(isinstance(v, int | float) for r in limits for n, v in r.items() if n != "score")
    )
    if not well_formed:
        raise PerceptError(
            f"{path} must hold lists `guarded` and `limits` of {{score}} and of {{score, at_least, at_most}}, with "
            "a pattern and numbers; it holds something else. Mend it."
        )
    return {"guarded": guarded, "limits": limits}


def resolve(reference: str) -> str:
    """Return the commit that a branch shares with ``reference``: what its changes are counted from.

    Raises
    ------
    PerceptError
        If Git knows no such commit.
    """
    done = command("git", "merge-base", reference, "HEAD")
    if done.returncode:
        raise PerceptError(
            f"--base must be a commit that this branch comes from; {reference!r} is none. "
            "Fetch it (`git fetch origin main`), or name another."
        )
    return done.stdout.strip()


def scores_here() -> dict[str, Any]:
    """Return every score in the working tree."""
    return {
        name: row
        for path in sorted(METRICS.glob("*.json"))
        for name, row in _scores(path.as_posix(), path.read_bytes())
    }


def scores_at(commit: str) -> dict[str, Any]:
    """Return every score that a commit holds."""
    names = command("git", "ls-tree", "--name-only", commit, f"{METRICS.as_posix()}/").stdout
    return {
        name: row
        for path in names.split()
        if path.endswith(".json")
        for name, row in _scores(path, _show(commit, path), commit)
    }


def stale_stages() -> list[str]:
    """Return a sentence if the scores do not belong to the params and the code beside them."""
    done = command("dvc", "status", "--json")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it says nothing"]
        return [f"`dvc status` must say what is stale; it fails: {said[0]}. Mend what it names."]
    changed = json.loads(done.stdout)
    names = ", ".join(sorted(changed))
    return [f"Scores must belong to the code; stale are: {names}. Run `dvc repro`."] * bool(changed)


def changed_params(commit: str) -> list[tuple[str, Any, Any]]:
    """Return name, old and new value of every param that differs from a commit's."""
    from tasks.wiring.presets import leaves

    old, new = (leaves(side) for side in _both_sides(commit, "params.yaml"))
    names = sorted({*old, *new})
    return [(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)]


def changed_stages(commit: str) -> list[str]:
    """Return the stages whose outputs differ from a commit's, in the order of dvc.lock."""
    old, new = (side.get("stages", {}) for side in _both_sides(commit, "dvc.lock"))
    return [n for n, stage in new.items() if stage.get("outs") != old.get(n, {}).get("outs")]


def write_plots(commit: str, folder: Path) -> Path | None:
    """Write the plots of both sides, beside each other, as a page; None if DVC has none to show."""
    done = command("dvc", "plots", "diff", commit, "--out", str(folder))
    page = folder / "index.html"
    return page if not done.returncode and page.exists() else None


def _markdown(
    reference: str, base: str, changes: list[Change], problems: list[str], plots: Path | None
) -> Iterator[str]:
    yield f"## Percept: this branch against {escape(reference)} ({base[:8]})\n"
    yield "**Failed.**\n" if problems else "**Passed**: no guarded score left its interval.\n"
    yield from (f"- {escape(problem)}" for problem in problems)
    params = changed_params(base)
    yield f"\n### Params: {len(params) or 'none'} changed\n"
    yield from table(
        ("param", "base", "here"), [(f"`{n}`", code(a), code(b)) for n, a, b in params]
    )
    stages = changed_stages(base)
    yield f"\n### Stages with other outputs: {', '.join(stages) or 'none'}\n"
    moved = [c for c in changes if c.verdict not in ("same", ROUNDING)]
    rounded = sum(c.verdict == ROUNDING for c in changes)
    yield f"### Scores: {len(moved)} of {len(changes)} changed\n"
    if rounded:
        yield f"{rounded} more differ by no more than processors do: {ROUNDING}.\n"
    yield from _score_tables(moved)
    if plots is not None:
        yield f"\nPlots of both sides beside each other: `{escape(plots.as_posix())}`.\n"
    yield ""


def _score_tables(moved: list[Change]) -> Iterator[str]:
    """Yield what left its interval first, and the rest folded away."""
    head = ("score", "base (95 % interval)", "here (95 % interval)", "difference", "")
    order = {"worse": 0, "gone": 1, "better": 2, "new": 3}
    first = sorted((c for c in moved if c.verdict in order), key=lambda c: order[c.verdict])
    rest = [c for c in moved if c.verdict not in order]
    yield from table(head, [_score_row(c) for c in first[:MOST_ROWS]])
    for words, rows in (("more", first[MOST_ROWS:]), ("within their intervals", rest)):
        if rows:
            yield f"\n<details><summary>{len(rows)} {words}</summary>\n"
            yield from table(head, [_score_row(c) for c in rows])
            yield "\n</details>"


def _score_row(change: Change) -> tuple[str, ...]:
    difference = ""
    if change.old is not None and change.new is not None:
        difference = f"{change.new['value'] - change.old['value']:+.3f}"
    sides = (with_interval(change.old), with_interval(change.new))
    return (f"`{escape(change.name)}`", *sides, difference, change.verdict)


def _score(row: Mapping[str, Any]) -> "Score":
    """Return a row without what another version of Percept may have written beside the score."""
    from tasks.artifacts.metrics import Score

    return Score.model_validate({k: v for k, v in row.items() if k in Score.model_fields})


def _matches(name: str, rules: list[dict[str, Any]]) -> bool:
    return any(fnmatch.fnmatchcase(name, rule["score"]) for rule in rules)


def _scores(path: str, text: str | bytes, commit: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the scores of a metrics file; those of `evaluate` by their own name."""
    for name, row in _parsed(text, path, json.loads, commit).items():
        if isinstance(row, dict) and isinstance(row.get("value"), int | float):
            yield (f"audit/{name}" if Path(path).stem == "audit" else name), row


def _both_sides(commit: str, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the content of a YAML file as a commit has it, and here; nothing where there is none."""
    here = Path(path).read_bytes() if Path(path).exists() else b""
    old = _parsed(_show(commit, path), path, yaml.safe_load, commit)
    return old, _parsed(here, path, yaml.safe_load)


def _parsed(
    text: str | bytes, path: str, load: Callable[[Any], Any], commit: str = ""
) -> dict[str, Any]:
    """Return what a file holds.

    Parameters
    ----------
    commit
        Which has it; empty for the file here.

    Raises
    ------
    PerceptError
        If it holds the marks of a merge, or no mapping of names.
    """
    kind = "JSON" if path.endswith(".json") else "YAML"
    place, remedy = f"{path} of {commit[:8]}", "Name another commit as --base."
    if not commit:
        place, remedy = path, "Mend it, then run `dvc repro`."
    lines = (text if isinstance(text, str) else text.decode(errors="replace")).splitlines()
    marks = [n for n, line in enumerate(lines, 1) if line.startswith(("<<<<<<< ", ">>>>>>> "))]
    try:
        if marks:
            raise ValueError(f"line {marks[0]} is the mark of a merge that is not resolved")
        content = load(text) if text.strip() else {}
        if not isinstance(content, dict):
            raise ValueError(f"it holds {type(content).__name__}")
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PerceptError(
            f"{place} must be {kind} with names; it is not ({reason}). {remedy}"
        ) from error
    return content


def _show(commit: str, path: str) -> str:
    """Return a file as a commit holds it; an empty text where it holds none."""
    done = command("git", "show", f"{commit}:{path}")
    return "" if done.returncode else done.stdout


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command, with the programs that are installed beside this one."""
    folder = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = os.environ | {"PATH": folder}
    return subprocess.run(
        words, capture_output=True, text=True, errors="replace", env=own, check=False
    )
