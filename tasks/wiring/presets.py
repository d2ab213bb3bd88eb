"""Presets: one base that holds every param, and for each study the few values that differ.

`presets/base.yaml` is complete; `presets/NAME.yaml` holds a dotted name and a value for each difference, and may
start from another preset in place of the base (``preset: NAME``).
A file of params is made by splicing text, so that comments, columns and order stay as they are written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tasks.runtime.errors import PerceptError

PRESETS = Path("presets")
BASE = "base.yaml"
ABSENT = "absent"
"""What is said in the place of a value where there is no such param."""


class PresetError(PerceptError):
    """A preset cannot be read, or would overwrite what is nowhere else."""


@dataclass(frozen=True)
class _Entry:
    """A name and its value, with their places in a text."""

    text: str
    key: yaml.Node
    value: yaml.Node
    in_flow: bool

    @property
    def start(self) -> int:
        """Where the text goes on behind the colon."""
        return self.text.index(":", self.key.end_mark.index) + 1

    @property
    def last(self) -> int:
        """Where the text of the value ends."""
        node = self.value
        while isinstance(node, yaml.CollectionNode) and not node.flow_style:
            node = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
        return len(self.text[: node.end_mark.index].rstrip())

    @property
    def end(self) -> int:
        """Where the line ends that the value ends in."""
        behind = self.text[self.last :].partition("\n")[0]
        return self.last + len(behind.rstrip("\r"))  # of CR LF, both stay

    @property
    def comment(self) -> str:
        """The comment on the line of the name."""
        head = self.text[self.start :].partition("\n")[0]
        one_line = self.last <= self.start + len(head)
        behind = self.text[self.last : self.end] if one_line else head
        return behind.strip() if behind.strip().startswith("#") else ""


@dataclass(frozen=True)
class Comparison:
    """A file of params beside the preset that it is nearest to.

    Attributes
    ----------
    nearest
        The preset with the fewest differences; None where the file cannot be read as params.
    own
        What stands in none of the presets: a line of text for each value that differs from the nearest
        preset's, and for each comment that no preset has.
    """

    nearest: str | None
    own: list[str]


def preset_names(folder: Path = PRESETS) -> list[str]:
    """Return the names of the presets, in alphabetical order."""
    return sorted(path.stem for path in folder.glob("*.yaml") if path.name != BASE)


def describe_preset(name: str, folder: Path = PRESETS) -> str:
    """Return the first line of a preset's comment: which study it is."""
    return (folder / f"{name}.yaml").read_text().partition("\n")[0].lstrip("# ")


def merged(name: str, folder: Path = PRESETS) -> str:
    """Return the params file of a preset: the text of the base, with what differs put in.

    Parameters
    ----------
    name
        File name in ``folder``, without its ending.

    Raises
    ------
    PresetError
        If there is no such preset, or it names what is no param of the base.
    """
    known = preset_names(folder)
    path = folder / f"{name}.yaml"
    if name not in known:
        raise PresetError(
            f"A preset must be one of {', '.join(known) or 'none found'}; {name!r} is none. "
            "Name one of these; whoever adds a file to presets/ adds a preset."
        )
    parent, changes = parent_of(path.read_text())
    below = merged(parent, folder) if parent else (folder / BASE).read_text()
    try:
        return splice(below, changes, folder / BASE)
    except PerceptError as error:
        raise PresetError(f"{path}: {error}") from error
    except yaml.YAMLError as error:
        raise PresetError(f"{path} must be YAML; it is not ({error}). Mend it.") from error


def parent_of(text: str) -> tuple[str, str]:
    """Return the preset that another one starts from, empty for the base, and the text of its changes."""
    found = re.search(r"^preset: *([\w-]+) *$\n?", text, re.MULTILINE)
    if not found:
        return "", text
    return found[1], text[: found.start()] + text[found.end() :]


def splice(text: str, changes: str, file: Path) -> str:
    """Replace values in the text of a params file; all other text stays, comments included.

    Parameters
    ----------
    changes
        YAML with a dotted name and a value per change. Each value replaces what stands in the file as a
        whole; nothing is merged. A comment behind a value that takes one line replaces the old one.
    file
        What `text` is called in errors.

    Returns
    -------
    str
        The new text. It parses to the old values but for the changes.

    Raises
    ------
    PresetError
        If a name is no param of the file, lies inside another, or cannot be replaced in the text.
    """
    values = yaml.load(changes, yaml.CSafeLoader) or {}
    if not isinstance(values, dict):
        raise PresetError(
            f"Changes must be a dotted name and a value per line; found {type(values).__name__}. Mend them."
        )
    places, new = _entries(text), _pairs(changes, yaml.compose(changes, yaml.CSafeLoader))
    _check_names([name for name, _ in new], places, file)
    wanted = leaves(_read(text))
    edits = []
    for name, entry in new:
        wanted = {n: v for n, v in wanted.items() if not _is_in(n, name)}
        wanted |= leaves(values[name], name)
        edits.append(_edit(places[name], entry, values[name]))
    result = text
    for start, end, put in sorted(edits, reverse=True):
        result = result[:start] + put + result[end:]
    if leaves(_read(result)) != wanted:
        raise PresetError(
            f"{', '.join(values)} must be replaced in {file.name} without touching anything else; its YAML "
            "(an anchor, say) does not allow that. Change it by hand."
        )
    return result


def override(text: str, changes: Mapping[str, Any], file: Path) -> str:
    """Replace values, given by dotted name, in the text of a params file as `splice` does."""
    return splice(
        text, "".join(f"{name}: {show(value)}\n" for name, value in changes.items()), file
    )


def compare(text: str, folder: Path = PRESETS) -> Comparison:
    """Find out whether a params file holds anything of its user's.

    Parameters
    ----------
    text
        The file. If it holds no params at all, every line that no preset has is its user's.
    """
    presets = {name: merged(name, folder) for name in preset_names(folder)}
    values = _read(text)
    if values is None:
        known = {line.strip() for preset in presets.values() for line in preset.splitlines()}
        numbered = enumerate(text.splitlines(), 1)
        own = [f"line {n}: {line}" for n, line in numbered if line.strip() not in {"", *known}]
        return Comparison(None, own)
    differing = {name: _own_values(values, _read(t) or {}) for name, t in presets.items()}
    nearest = min(differing, key=lambda name: len(differing[name]))
    said = {comment for preset in presets.values() for _, comment in _comments(preset)}
    comments = [f"line {n}: {comment}" for n, comment in _comments(text) if comment not in said]
    return Comparison(nearest, differing[nearest] + comments)


def differences(old: str, new: str) -> list[str]:
    """Return a line ``name: old -> new`` for each value that differs between two params files.

    Parameters
    ----------
    old, new
        Their texts. If the old one holds no params at all, nothing is said to differ.
    """
    before, after = leaves(_read(old) or {}), leaves(_read(new) or {})
    sides = [(name, *(_shown(v, name) for v in (before, after))) for name in {**after, **before}]
    return [f"{name}: {a} -> {b}" for name, a, b in sides if before and a != b]


def leaves(values: Any, name: str = "") -> dict[str, Any]:
    """Return every value of nested params by its dotted name.

    Parameters
    ----------
    values
        Nested mappings. An empty one is a value, as a list is.
    """
    if not isinstance(values, dict) or not values:
        return {name: values} if name else {}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= leaves(value, f"{name}.{key}" if name else str(key))
    return found


def comments_by_name(text: str) -> dict[str, str]:
    """Return the comment on the line of each dotted name of a params file; an empty text where there is none."""
    return {name: entry.comment.lstrip("# ") for name, entry in _entries(text).items()}


def show(value: Any) -> str:
    """Return a value as YAML on one line, as it may stand anywhere in a params file."""
    text = _flow(value)
    return text if "\n" not in text else _flow(value, '"')  # a string of several lines


def _flow(value: Any, style: str | None = None) -> str:
    text: str = yaml.safe_dump(
        [value], default_style=style, default_flow_style=True, width=math.inf, allow_unicode=True
    )
    return text[1:-2]


@cache
def _read(text: str) -> dict[str, Any] | None:
    """Return the params of a text; None where it holds something else."""
    try:
        values = yaml.load(text, yaml.CSafeLoader) or {}
    except yaml.YAMLError:
        return None
    return values if isinstance(values, dict) else None


def _shown(values: Mapping[str, Any], name: str) -> str:
    return show(values[name]) if name in values else ABSENT


def _own_values(values: dict[str, Any], preset: dict[str, Any]) -> list[str]:
    """Return a line for each value that a preset does not have there."""
    known = leaves(preset)
    return [
        f"{name}: {show(value)}, the preset has {_shown(known, name)}"
        for name, value in leaves(values).items()
        if name not in known or known[name] != value
    ]


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each comment of some YAML."""
    bare = list(text)
    for token in yaml.scan(text, yaml.CSafeLoader):
        if isinstance(token, yaml.ScalarToken):  # a # in it begins no comment
            span = slice(token.start_mark.index, token.end_mark.index)
            bare[span] = [c if c == "\n" else "_" for c in bare[span]]
    for number, line in enumerate("".join(bare).split("\n"), 1):
        found = re.search(r"(?:^|\s)(#.*)", line)
        if found:
            yield number, found[1].rstrip()


@cache
def _entries(text: str) -> dict[str, _Entry]:
    """Return everything that has a dotted name in a params file."""
    found: dict[str, _Entry] = {}
    todo = [("", yaml.compose(text, yaml.CSafeLoader))]
    while todo:
        prefix, section = todo.pop()
        for name, entry in _pairs(text, section):
            found[prefix + name] = entry
            todo.append((f"{prefix}{name}.", entry.value))
    return found


def _pairs(text: str, section: yaml.Node | None) -> list[tuple[str, _Entry]]:
    """Return the entries of a mapping by name; of anything else none."""
    if not isinstance(section, yaml.MappingNode):
        return []
    flow = bool(section.flow_style)
    return [(key.value, _Entry(text, key, value, flow)) for key, value in section.value]


def _check_names(names: Sequence[str], known: Container[str], file: Path) -> None:
    """Refuse a name that is no param, and one that another replaces."""
    for name in names:
        if "." not in name or name not in known:
            raise PresetError(
                f"A param must be in {file.name}; {name!r} is not. "
                "Write it as there, with dots between the levels, say train.optimiser.learning_rate."
            )
        twice = names.count(name) > 1
        around = name if twice else next((n for n in names if _is_in(name, n) and n != name), "")
        if around:
            raise PresetError(
                f"{around} must be given once, as a whole; {name} is given beside it. Write one of them."
            )


def _is_in(name: str, section: str) -> bool:
    """Tell whether a dotted name is, or lies in, another."""
    return f"{name}.".startswith(f"{section}.")


def _edit(old: _Entry, new: _Entry, value: Any) -> tuple[int, int, str]:
    """Return from where to where the text of a params file is replaced, and by what."""
    if old.in_flow:  # {name: value, ...} on one line
        return old.value.start_mark.index, old.value.end_mark.index, show(value)
    first, *more = new.text[new.start : new.end].split("\n")
    if more:
        indent = " " * old.key.start_mark.column
        lines = [first, *(f"{indent}{line}".rstrip() for line in more)]
        return old.start, old.end, "\n".join(lines)
    put = new.text[new.start : new.last]
    comment = new.comment or old.comment
    if comment:
        gap = old.text.find("#", old.start) - old.start - len(put) if old.comment else 0
        put += " " * (gap if gap > 0 else 2) + comment
    return old.start, old.end, put
