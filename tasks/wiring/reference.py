"""What every param means: its comment in the presets, its type in the params of its stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.runtime.params import Params
from tasks.wiring.contract import load_stage, params_model
from tasks.wiring.presets import (
    BASE,
    PRESETS,
    comments_by_name,
    merged,
    parent_of,
    preset_names,
    show,
)

UNITS = {
    "hz": "Hz",
    "s": "s",
    "uv": "uV",
    "px": "px",
    "deg": "degrees",
    "samples": "samples",
    "usd": "US dollars",
}
"""Last word of a name to the unit of its numbers."""
BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "at least",
    "exclusiveMaximum": "below",
    "maximum": "at most",
}
"""Keyword of JSON Schema to words."""
TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}
"""Type of JSON Schema to words."""

Tag = tuple[str, str]
"""Name and value of the param that chooses between kinds of a section: the source, the split."""
Schema = Mapping[str, Any]
"""JSON Schema, as Pydantic writes it."""


@dataclass(frozen=True)
class Param:
    """One param.

    Attributes
    ----------
    name
        With dots, as in params.yaml.
    tag
        The kind of section that alone has it; None for most.
    meaning
        The comment on its line, in the base or else in the first preset that has it; its description in the
        params of its stage where no preset has it.
    values
        What it may be, in words, with the unit of numbers.
    presets
        Preset to value, where that is not the one of what the preset starts from.
    """

    name: str
    tag: Tag | None
    meaning: str
    values: str
    presets: dict[str, Any]


def reference(stages: Sequence[str], folder: Path = PRESETS) -> list[Param]:
    """Return every param of some stages, in order. What stands in another stage's section is left out.

    Each stage is imported, which takes seconds.
    """
    texts = {"": (folder / BASE).read_text()}
    texts |= {name: merged(name, folder) for name in preset_names(folder)}
    values = {name: yaml.load(text, yaml.CSafeLoader) for name, text in texts.items()}
    comments = {name: comments_by_name(text) for name, text in texts.items()}
    models = [(stage, params_model(load_stage(stage))) for stage in stages]
    fields = [field for stage, model in models for field in _section(stage, model)]
    names = preset_names(folder)
    parents = {name: parent_of((folder / f"{name}.yaml").read_text())[0] for name in names}
    return [_param(field, values, comments, parents) for field in fields]


def lookup(values: Any, name: str, tag: Tag | None = None) -> list[Any]:
    """Return the value of a dotted name in a list, which is empty where there is none.

    Where the name belongs to one kind of section, ``tag``, or to several of one form, there is none in a section
    of another kind.
    """
    if tag and not {*lookup(values, tag[0])} & {*tag[1].split(", ")}:
        return []
    for word in name.split("."):
        if not isinstance(values, dict) or word not in values:
            return []
        values = values[word]
    return [values]


@dataclass(frozen=True)
class _Field:
    name: str
    tag: Tag | None
    words: str
    description: str


def _param(
    field: _Field,
    values: Mapping[str, Any],
    comments: Mapping[str, Mapping[str, str]],
    parents: Mapping[str, str],
) -> Param:
    name, tag = field.name, field.tag
    having = {preset: found for preset in values if (found := lookup(values[preset], name, tag))}
    said = [*(comments[preset].get(name) for preset in having), field.description]
    said += [there.get(name) for there in comments.values()]  # of another kind of the section
    return Param(
        name,
        tag,
        next((text for text in said if text), ""),
        _with_unit(field.words, name),
        {p: found[0] for p, found in having.items() if p and found != having.get(parents[p])},
    )


def _with_unit(words: str, name: str) -> str:
    last = name.rsplit(".", 1)[-1]
    is_number = "number" in words and not last.startswith("n_")  # a count
    unit = UNITS.get(last.rsplit("_", 1)[-1]) if is_number else None
    return f"{words} ({unit})" if unit else words


def _section(stage: str, model: type[Params]) -> Iterator[_Field]:
    """Yield what stands in the section of a stage, less what it reads from other sections."""
    schema = model.model_json_schema()
    own = {k: child for k, child in schema["properties"].items() if k not in model.shared()}
    yield from _fields(stage, {"properties": own}, schema.get("$defs", {}))


def _fields(
    name: str, schema: Schema, definitions: Schema, tag: Tag | None = None
) -> Iterator[_Field]:
    """Yield what a section holds; where it has kinds, what they have in common comes first."""
    kinds = [_resolved(kind, definitions) for kind in _kinds(schema)]
    sections = [kind["properties"] for kind in kinds if "properties" in kind]
    if not sections or len(sections) < len(kinds):
        words = "null, or a section" if sections else _words(schema, definitions)
        yield _Field(name, tag, words, schema.get("description", ""))
    if not sections:
        return
    chooser = schema.get("discriminator", {}).get("propertyName")
    if chooser:
        choices = ", ".join(name for section in sections for name in _names(section[chooser]))
        yield _Field(f"{name}.{chooser}", tag, f"one of {choices}", "")
    common = [
        key
        for key, child in sections[0].items()
        if key != chooser and all(section.get(key) == child for section in sections)
    ]
    for key in common:
        yield from _fields(f"{name}.{key}", sections[0][key], definitions, tag)
    for section in sections:
        kind = (f"{name}.{chooser}", ", ".join(_names(section[chooser]))) if chooser else tag
        for key, child in section.items():
            if key != chooser and key not in common:
                yield from _fields(f"{name}.{key}", child, definitions, kind)


def _names(choice: Schema) -> list[str]:
    """Return the names by which one kind of section is chosen."""
    return list(choice["enum"]) if "enum" in choice else [choice["const"]]


def _kinds(schema: Schema) -> list[Schema]:
    return schema.get("oneOf") or schema.get("anyOf") or [schema]


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Return what a reference stands for."""
    found: Schema = definitions[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    return found


def _words(schema: Schema, definitions: Schema) -> str:
    """Say in words what a value may be."""
    kinds = _kinds(schema)
    if len(kinds) > 1:
        lists_last = sorted(kinds, key=lambda kind: kind.get("type") == "array")
        return " or ".join(_words(kind, definitions) for kind in lists_last)
    schema = _resolved(kinds[0], definitions)
    if "const" in schema:
        return show(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(map(show, schema['enum']))}"
    if "prefixItems" in schema:
        return (
            f"list of {len(schema['prefixItems'])}: {_words(schema['prefixItems'][0], definitions)}"
        )
    if schema.get("type") == "array":
        return f"list of: {_words(schema['items'], definitions)}"
    if "properties" in schema:
        return ", ".join(schema["properties"])
    if schema.get("type") == "object":
        return f"for each name: {_words(schema['additionalProperties'], definitions)}"
    bounds = [f"{words} {schema[key]:,}" for key, words in BOUNDS.items() if key in schema]
    return " ".join([TYPES[schema["type"]], " and ".join(bounds)]).strip()
