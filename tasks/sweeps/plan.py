"""What a sweep compares: a committed YAML file, and the cells that it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from tasks.encoder.params import TrainParams
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import fingerprint
from tasks.runtime.params import Params

Protocol = Literal["within_subject", "pooled", "leave_one_subject_out"]
Changes = dict[str, Any]


class SweepError(PerceptError):
    """A sweep cannot be read, or does not fit the study."""


class Arm(Params):
    """One row of the table.

    Attributes
    ----------
    train : dict
        Changes to the section `train`.
    share_of_stimuli : float
        Of the training stimuli, evenly over concepts.
    n_presentations : int or None
        Training trials of each stimulus and subject, at most.
    permuted_labels : bool
        Whether training and validation stimuli change places: what remains is chance.
    settings : dict
        Name to further changes to the section `train`. The search of the sweep chooses one of them; with
        none, the arm is trained as it stands.
    """

    train: Changes = Field(default_factory=dict)
    share_of_stimuli: Annotated[float, Field(gt=0, le=1)] = 1.0
    n_presentations: Annotated[int, Field(ge=1)] | None = None
    permuted_labels: bool = False
    settings: dict[str, Changes] = Field(default_factory=dict)


def _rising(epochs: list[int]) -> list[int]:
    if sorted(set(epochs)) != epochs:
        raise ValueError("epochs must rise from one round to the next")
    return epochs


class Search(Params):
    """How each arm's setting is chosen: by successive halving, on a study that is used for nothing else.

    After each round the better half of an arm's settings goes on from where it stopped (Jamieson and Talwalkar
    2016, "Non-stochastic best arm identification and hyperparameter optimization", figure 3).

    Attributes
    ----------
    study : dict
        The development study, as under `studies`.
    protocol : str
        How its trials are divided among models; its validation trials alone are looked at.
    epochs : list of int
        Trained by the end of each round.
    """

    study: Changes
    protocol: Literal["pooled"] = "pooled"
    epochs: Annotated[list[PositiveInt], Field(min_length=1), AfterValidator(_rising)]


class Sweep(Params):
    """All that is compared.

    Attributes
    ----------
    title, notes : str
        Above the table and below it: what is compared, and the budget.
    studies : dict
        Name to changes to the params file, by section, or to those of a preset that is named by ``preset``;
        ``null`` is the study that lies in `data`.
    protocols : list of str
        How trials are divided among models.
    seeds : list of int
        One training each.
    train : dict
        Changes to the section `train` of every arm.
    arms : dict
        Name to what is special about it. The first one is what the others are compared with.
    search : Search or None
        How an arm's setting is chosen among several.
    """

    title: str
    notes: str
    studies: dict[str, Changes | None] = Field(min_length=1)
    protocols: list[Protocol] = Field(min_length=1)
    seeds: list[NonNegativeInt] = Field(min_length=1)
    train: Changes
    arms: dict[str, Arm] = Field(min_length=1)
    search: Search | None = None

    @model_validator(mode="after")
    def _settings_are_searched(self) -> Sweep:
        if self.search is None and (arms := [n for n, arm in self.arms.items() if arm.settings]):
            raise ValueError(f"search must say how the settings of {', '.join(arms)} are chosen")
        return self


@dataclass(frozen=True)
class Cell:
    """One training and its scores.

    Attributes
    ----------
    root : str
        Folder of the study's artefacts: the root that the catalogue is given.
    study, protocol, fold, arm : str
        Where it stands in the table; `fold` names the subject scored, or ``all``.
    train : dict
        The whole section `train`, its seed included.
    share_of_stimuli, n_presentations, permuted_labels
        See `Arm`.
    results : str
        Folder of all cells.
    """

    root: str
    study: str
    protocol: Protocol
    fold: str
    arm: str
    train: Changes
    share_of_stimuli: float
    n_presentations: int | None
    permuted_labels: bool
    results: str

    @property
    def key(self) -> str:
        """Hash of all that decides the result; names of arms and sweeps do not."""
        content = asdict(self)
        return fingerprint({k: v for k, v in content.items() if k not in ("arm", "results")})

    @property
    def result(self) -> Path:
        """File that says that the cell is done."""
        return Path(self.results) / self.key / "result.json"

    @property
    def seed(self) -> int:
        """Seed of its training."""
        return int(self.train["seed"])


def read_sweep(name: str, folder: Path) -> Sweep:
    """Read a committed sweep.

    Parameters
    ----------
    name : str
        File name in `folder`, without its ending.

    Raises
    ------
    SweepError
        If there is none of this name, or it is not as it must be.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    path = folder / f"{name}.yaml"
    if name not in known:
        raise SweepError(
            f"A sweep must be one of {', '.join(known) or 'none found'}; {name!r} is none. "
            f"Name one of these, or add {path}."
        )
    try:
        return Sweep.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise SweepError(f"{path} must be YAML; it is not ({error}). Mend it.") from error
    except ValidationError as error:
        raise SweepError(_explain(path, error)) from error


def train_params(
    base: Changes, sweep: Sweep, arm: str, seed: int, setting: str | None = None
) -> TrainParams:
    """Return the section `train` of an arm.

    Parameters
    ----------
    base : dict
        The section as params.yaml has it.
    sweep : Sweep
        Changes for all arms, then for this one.
    setting : str or None
        One of its settings, whose changes come last.

    Raises
    ------
    SweepError
        If a change names what is no param, or sets what it must not be.
    """
    wanted = changed(changed(base, sweep.train), sweep.arms[arm].train) | {"seed": seed}
    place = f"The arm {arm!r}"
    if setting is not None:
        wanted, place = changed(wanted, sweep.arms[arm].settings[setting]), f"{place}, {setting!r}"
    try:
        return TrainParams.model_validate(wanted)
    except ValidationError as error:
        raise SweepError(_explain(place, error)) from error


def changed(base: Changes, changes: Changes) -> Changes:
    """Return nested params with some of them changed.

    Parameters
    ----------
    changes : dict
        Nested in the same way; what it does not name stays. A choice with another `name` takes the place of the
        old one with all its params.
    """
    result = dict(base)
    for name, value in changes.items():
        old = base.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            another = value.get("name", old.get("name")) != old.get("name")
            value = changed({} if another else dict(old), dict(value))
        result[name] = value
    return result


def cells_of(
    sweep: Sweep,
    study: str,
    root: Path,
    subjects: list[str],
    base: Changes,
    results: Path,
    settings: Mapping[str, str],
) -> list[Cell]:
    """Return the cells of one study, seed by seed, so that an early look shows every arm.

    Parameters
    ----------
    base : dict
        The section `train` of params.yaml.
    settings : dict
        Arm to the setting that the search chose; arms whose setting is not chosen yet have no cells.

    Raises
    ------
    SweepError
        If an arm's params are wrong, or subjects are too few to leave one out.
    """
    if "leave_one_subject_out" in sweep.protocols and len(subjects) < 2:
        raise SweepError(
            "The protocol leave_one_subject_out needs at least two subjects; the study "
            f"{study!r} has {len(subjects)}. Record more, or take the protocol out of the sweep."
        )
    return [
        Cell(
            str(root), study, protocol, fold, name,
            _per_subject(
                protocol, train_params(base, sweep, name, seed, settings.get(name))
            ).model_dump(mode="json"),
            arm.share_of_stimuli, arm.n_presentations, arm.permuted_labels, str(results),
        )
        for seed in sweep.seeds
        for protocol in sweep.protocols
        for name, arm in sweep.arms.items()
        if not arm.settings or name in settings
        for fold in (["all"] if protocol == "pooled" else subjects)
    ]  # fmt: skip


def _per_subject(protocol: Protocol, params: TrainParams) -> TrainParams:
    """Let a stranger be decoded: one set of filters for everybody where a subject is left out."""
    if protocol != "leave_one_subject_out":
        return params
    return params.model_copy(update={"per_subject": False})


def _explain(where: Path | str, error: ValidationError) -> str:
    """Turn a validation error into one sentence per value."""
    return "\n".join(
        f"{where}: {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}; "
        f"found {problem['input']!r}. Mend it."
        for problem in error.errors()
    )
