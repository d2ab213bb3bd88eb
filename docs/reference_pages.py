"""Pages of the reference that are written from the code while the documentation is built."""

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

import tasks
from tasks.__main__ import make_parser
from tasks.artifacts.catalogue import Artifacts
from tasks.reporting.definitions import TERMS
from tasks.reporting.glossary import meaning
from tasks.wiring.presets import BASE
from tasks.wiring.reference import lookup, reference


def write_pages(folder: Path, repository: Path) -> None:
    """Write every generated page into a folder.

    Parameters
    ----------
    repository
        Holds ``presets`` and ``reports/metrics``.
    """
    pages = {
        "params": params(repository / "presets"),
        "commands": commands(make_parser()),
        "columns": columns(),
        "metrics": metrics(repository / "reports/metrics"),
    }
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)


def glossary() -> str:
    """Return the words of the report."""
    words = "".join(f"{term.name}\n: {term.definition}\n\n" for term in TERMS.values())
    return f"# Glossary\n\nThe words of report, documentation and command line, and what they mean here.\n\n{words}"


def params(presets: Path) -> str:
    """Return every param: meaning, what it may be, its value in the base and in presets that differ."""
    base = yaml.safe_load((presets / BASE).read_text())
    text = (
        "# Params\n\nEvery line of `params.yaml`. The default is that of the simulated study; a preset is named where its value "
        "differs. `percept params NAME` prints the same.\n"
    )
    every = reference(tasks.STAGES, presets)
    for stage in tasks.STAGES:
        rows = []
        for param in (each for each in every if each.name.split(".")[0] == stage):
            default = lookup(base, param.name, param.tag)
            only = "" if param.tag is None else f" Only where `{param.tag[0]}` is `{param.tag[1]}`."
            rows.append(
                (
                    f"`{param.name}`",
                    _sentence(param.meaning) + only,
                    param.values,
                    f"`{json.dumps(default[0])}`" if default else "",
                    ", ".join(
                        f"{name}: `{json.dumps(value)}`" for name, value in param.presets.items()
                    ),
                )
            )
        text += f"\n## {stage}\n\n" + _table(
            ("param", "meaning", "may be", "default", "presets"), rows
        )
    return text


def commands(parser: argparse.ArgumentParser) -> str:
    """Return the help of every command."""
    text = f"# Commands\n\n{parser.epilog}.\n\nTab completion: `percept --print-completion bash >> ~/.bashrc` (or `zsh`, `tcsh`).\n"
    for name, each in _subparsers(parser):
        text += f"\n## percept {name}\n\n```text\n{each.format_help().strip()}\n```\n"
        for step, own in _subparsers(each):
            text += f"\n### percept {name} {step}\n\n```text\n{own.format_help().strip()}\n```\n"
    return text


def columns() -> str:
    """Return every column of every table between stages."""
    text = "# Columns\n\nThe tables between the stages, as Parquet. Meaning and unit also stand in the files themselves.\n"
    for name, artifact in Artifacts.all().items():
        if artifact.schema is None:
            continue
        rows = [
            (f"`{field.name}`", _said(field, "doc"), str(field.type), _said(field, "unit"))
            for field in artifact.schema
        ]
        key = artifact.schema.metadata[b"key"].decode()
        text += f"\n## {name}\n\n`{artifact.path}`; a row is known by {key}.\n\n" + _table(
            ("column", "meaning", "type", "unit"), rows
        )
    return text


def metrics(folder: Path) -> str:
    """Return every name in the metrics files of the default study."""
    text = (
        "# Metrics\n\nThe names in `reports/metrics/*.json` of the default study. Names that end in a subject, a caption kind or "
        "a condition are parts of the score before that ending.\n"
    )
    for path in sorted(folder.glob("*.json")):
        rows = []
        for name, score in json.loads(path.read_text()).items():
            if isinstance(score, dict):
                found = meaning(name)
                rows.append((f"`{name}`", found.label, found.explanation, score.get("unit", "")))
        if rows:
            text += f"\n## {path.stem}\n\n" + _table(
                ("name", "what", "how to read it", "unit"), rows
            )
    return text


def _subparsers(parser: argparse.ArgumentParser) -> Iterable[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _said(field: Any, key: str) -> str:
    return (field.metadata or {}).get(key.encode(), b"").decode()


def _sentence(text: str) -> str:
    return text and f"{text[0].upper()}{text[1:].rstrip('.')}."


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return (
            "| "
            + " | ".join(re.sub(r"\s+", " ", cell).replace("|", "\\|") for cell in cells)
            + " |\n"
        )

    return line(heads) + "|---" * len(heads) + "|\n" + "".join(map(line, rows))
