"""A stage's signature is its contract: positional paths are read, keyword-only paths are written."""

import importlib
import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError

from tasks import STAGES
from tasks.artifacts.catalogue import Artifacts
from tasks.runtime.errors import PerceptError
from tasks.runtime.map import Map
from tasks.runtime.params import Params
from tasks.runtime.runners import runner_map

Stage = Callable[..., None]

RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "appraise": "check_captions",
        "train.kinds": "train.caption_kinds",
        "train.start": "train.architecture.start",
        "train.network": "train.architecture.network",
        "train.image_weight": "train.target.image",
        "train.shared_head": "train.target.shared_text",
        "train.learning_rate": "train.optimiser.learning_rate",
        "train.weight_decay": "train.optimiser.weight_decay",
        "train.gradient_norm": "train.optimiser.gradient_norm",
        "train.max_epochs": "train.schedule.max_epochs",
        "train.warmup_epochs": "train.schedule.warmup_epochs",
        "train.patience": "train.selection.patience",
        "train.ema_decay": "train.selection.ema_decay",
        "train.best_by": "train.selection.by",
        "train.temperature": "train.objective.scale.temperature",
        "train.shared_temperature": "train.objective.scale.one_for_all",
        "train.duplicate_cosine": "train.objective.duplicate_cosine",
        "train.soft_targets": "train.objective.soft_targets",
        "embed.image_layers": "embed.image.layers",
        "render.composition.mix": "render.composition.embedding_average_share",
        "audit.controls.n_stretches": "audit.controls.n_time_segments",
        "report.strip_trials": "report.top_row_pictures",
    }
)
"""Old names of params, which a params file of an earlier version may hold, and what they are called now."""


def load_stage(name: str) -> Stage:
    """Import ``tasks.<name>`` and return the function of that name, without importing the others.

    Raises
    ------
    PerceptError
        If there is no such stage.
    """
    if name not in STAGES:
        raise PerceptError(f"A stage must be one of {', '.join(STAGES)}; {name!r} is none.")
    stage: Stage = getattr(importlib.import_module(f"tasks.{name}"), name)
    return stage


def reads(stage: Stage) -> list[str]:
    """Return the names of the artefacts that ``stage`` reads."""
    return [p.name for p in _paths(stage) if p.kind is p.POSITIONAL_OR_KEYWORD]


def writes(stage: Stage) -> list[str]:
    """Return the names of the artefacts that ``stage`` writes."""
    return [p.name for p in _paths(stage) if p.kind is p.KEYWORD_ONLY]


def params_model(stage: Stage) -> type[Params]:
    """Return the type of the section of params.yaml that bears the stage's name."""
    model: type[Params] = _parameters(stage)["params"].annotation
    return model


def params_for(stage: Stage, params_file: Path) -> Params:
    """Validate the section of ``params_file`` that bears the stage's name.

    Params that stages share are read from the one section where they stand.

    Raises
    ------
    PerceptError
        If the file or the section is missing, or a param is missing, unknown or of the wrong type.
    """
    name, model = stage.__name__, params_model(stage)
    content = read_params(params_file)
    section = content.get(name)
    if old := next((old for old, new in RENAMED.items() if new == name and old in content), None):
        raise PerceptError(_renamed(old, params_file))
    if not isinstance(section, dict):
        raise PerceptError(
            f"{params_file} must have a section {name!r}; it has none. "
            "`percept preset simulated --show` prints one: copy it from there."
        )
    places = model.shared()
    twice = [
        f"{name}.{key} must not be set: it is {place}, for all stages that need it. "
        f"Remove it from {params_file}, and set {place} there."
        for key, place in places.items()
        if key in section
    ]
    if twice:
        raise PerceptError("\n".join(twice))
    values = dict(section)
    for key, place in places.items():
        owner, param = place.split(".")
        there = content.get(owner)
        if isinstance(there, dict) and param in there:
            values[key] = there[param]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise PerceptError(_explain(error, name, model, values, params_file)) from error


def read_params(params_file: Path) -> dict[str, Any]:
    """Read a params file as plain data.

    Raises
    ------
    PerceptError
        If it does not exist or is not YAML with one section per stage.
    """
    if not params_file.exists():
        raise PerceptError(
            f"{params_file} must exist; it does not. "
            f"`percept preset simulated --params {shlex.quote(str(params_file))}` writes it."
        )
    try:
        content = yaml.load(params_file.read_text(), yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PerceptError(f"{params_file} must be YAML; it is not ({error}). Mend it.") from error
    if not isinstance(content, dict):
        raise PerceptError(
            f"{params_file} must hold one section per stage; it holds {type(content).__name__}. "
            "`percept preset simulated --show` prints a file that does."
        )
    return content


def call(stage: Stage, artifacts: Artifacts, params_file: Path, map: Map = runner_map) -> None:
    """Run ``stage`` with every path taken from the catalogue by name."""
    arguments: dict[str, Any] = {n: getattr(artifacts, n) for n in reads(stage) + writes(stage)}
    if "map" in _parameters(stage):
        arguments["map"] = map
    stage(**arguments, params=params_for(stage, params_file))


def _paths(stage: Stage) -> list[inspect.Parameter]:
    return [p for p in _parameters(stage).values() if p.annotation is Path]


def _parameters(stage: Stage) -> Mapping[str, inspect.Parameter]:
    """Return the parameters with their annotations evaluated, also where they are written as text."""
    return inspect.signature(stage, eval_str=True).parameters


def _explain(
    error: ValidationError,
    name: str,
    model: type[Params],
    values: Mapping[str, Any],
    params_file: Path,
) -> str:
    """Turn a validation error into one sentence per param: what must hold, what was found, what to do."""
    places = model.shared()
    known = ", ".join(field for field in model.model_fields if field not in places)
    found = {_where(problem["loc"], name, places, values): problem for problem in error.errors()}
    said_by_old_names = {RENAMED[where] for where in found if where in RENAMED}
    lines = []
    for where, problem in found.items():
        if where in RENAMED:
            lines.append(_renamed(where, params_file))
        elif where in said_by_old_names:
            continue
        elif problem["type"] == "missing":
            lines.append(f"{where} must be set; it is missing. Add it to {params_file}.")
        elif problem["type"] == "union_tag_not_found":
            chooser = problem["ctx"]["discriminator"].strip("'")
            lines.append(
                f"{where}.{chooser} must be set; it is missing. Add it to {params_file}: "
                f"`percept params {where}.{chooser}` says what it may be."
            )
        elif problem["type"] == "extra_forbidden":
            lines.append(
                f"{where} is no param of {name}. Known are: {known}. Mend or remove it in {params_file}."
            )
        else:
            lines.append(
                f"{where}: {problem['msg']}; found {problem['input']!r}. Mend it in {params_file}."
            )
    return "\n".join(lines)


def _where(
    loc: Sequence[int | str], name: str, places: Mapping[str, str], values: Mapping[str, Any]
) -> str:
    """Return the dotted name of a param, in the section where its value stands.

    A place in a choice is given by pydantic with the name of what was chosen, which is no part of it.
    """
    parts: list[str] = []
    here: Any = values
    for part in loc:
        if isinstance(here, Mapping) and part in here.values() and part not in here:
            continue
        parts.append(str(part))
        here = here.get(part) if isinstance(here, Mapping) else None
    first, *rest = parts or ("",)
    return ".".join([places.get(first, f"{name}.{first}" if first else name), *rest])


def _renamed(old: str, params_file: Path) -> str:
    return f"{old} is called {RENAMED[old]} now. Rename it in {params_file}."
