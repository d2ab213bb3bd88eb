"""Which trials are trained on and which are held out: decided once, by a named strategy.

A strategy sees the trials and the stimuli, never the EEG. All of them draw their order from a hash of
the seed and a name, so that adding a subject, a session or a stimulus moves nothing else.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from tasks._errors import PerceptError
from tasks._params import Params

Split = Literal["train", "validation", "test", "zero_shot"]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class SplitError(PerceptError):
    """A study cannot be split as the params say."""


class ImageSplit(Params):
    """Params of `split_by_image`."""

    strategy: Literal["image"]
    seed: int
    zero_shot_fraction: Fraction  # of the concepts
    test_fraction: Fraction  # of the stimuli of each other concept
    validation_fraction: Fraction  # of the stimuli of each other concept

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> Self:
        if self.test_fraction + self.validation_fraction >= 1:
            raise ValueError("test_fraction and validation_fraction must add up to less than 1")
        return self


class ConceptSplit(Params):
    """Params of `split_by_concept`."""

    strategy: Literal["concept"]
    seed: int
    zero_shot_fraction: Fraction  # of the concepts
    validation_fraction: Fraction  # of the concepts

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> Self:
        if self.zero_shot_fraction + self.validation_fraction >= 1:
            raise ValueError(
                "zero_shot_fraction and validation_fraction must add up to less than 1"
            )
        return self


SplitParams = Annotated[ImageSplit | ConceptSplit, Field(discriminator="strategy")]


def assign_splits(trials: pa.Table, stimuli: pa.Table, params: SplitParams) -> list[Split]:
    """Return the split of every trial.

    Parameters
    ----------
    trials
        One row per trial, with at least ``stimulus_id``.
    stimuli
        Contract STIMULI; also those that were never shown.
    params
        Names the strategy.

    Returns
    -------
    list of str
        ``train``, ``validation``, ``test`` (unseen pictures of trained concepts) or ``zero_shot``
        (pictures of concepts that are trained on nowhere), in the order of ``trials``.

    Raises
    ------
    SplitError
        If nothing is left to train on.
    """
    splits = STRATEGIES[params.strategy](trials, stimuli, params)
    if trials.num_rows and "train" not in splits:
        raise SplitError(
            f"The split {params.strategy!r} must leave trials to train on; it leaves none of "
            f"{trials.num_rows}. Lower the fractions in preprocess.split."
        )
    return splits


def split_by_image(trials: pa.Table, stimuli: pa.Table, params: ImageSplit) -> list[Split]:
    """Hold out pictures of every concept, and some concepts altogether.

    Protects against: the same picture in training and test, across subjects, sessions and
    repetitions; and, for ``zero_shot``, any picture of the concept.
    Does not protect against: drift. Where the trials of a concept follow each other (a block
    design), its test trials lie beside its training trials in time, and a decoder can tell *when*
    a trial was recorded instead of *what* was seen. Subjects are shared by all parts.

    Parameters
    ----------
    trials
        With ``stimulus_id``.
    stimuli
        With ``stimulus_id`` and ``concept``.
    params
        Fractions and seed.

    Returns
    -------
    list of str
        One per trial.
    """
    held_out = _first(_concepts(stimuli), params.zero_shot_fraction, params.seed)
    by_stimulus: dict[str, Split] = {}
    for concept, names in _stimuli_by_concept(stimuli).items():
        if concept in held_out:
            by_stimulus |= dict.fromkeys(names, "zero_shot")
            continue
        order = _ordered(names, params.seed)
        n_test = _share(params.test_fraction, len(order), f"{params.seed}:test:{concept}")
        n_validation = _share(
            params.validation_fraction, len(order), f"{params.seed}:validation:{concept}"
        )
        by_stimulus |= dict.fromkeys(order, "train")
        by_stimulus |= dict.fromkeys(order[:n_test], "test")
        by_stimulus |= dict.fromkeys(order[n_test : n_test + n_validation], "validation")
    return [by_stimulus[name] for name in trials["stimulus_id"].to_pylist()]


def split_by_concept(trials: pa.Table, stimuli: pa.Table, params: ConceptSplit) -> list[Split]:
    """Hold out whole concepts, for validation too.

    Protects against: choosing the epoch on concepts that are trained on, and everything that
    `split_by_image` protects against.
    Does not protect against: drift where neighbouring blocks hold similar concepts, and near
    synonyms among the concepts. Subjects are shared by all parts; there is no ``test`` part.

    Parameters
    ----------
    trials
        With ``stimulus_id``.
    stimuli
        With ``stimulus_id`` and ``concept``.
    params
        Fractions and seed.

    Returns
    -------
    list of str
        One per trial.
    """
    concepts = _concepts(stimuli)
    held_out = _first(concepts, params.zero_shot_fraction, params.seed)
    validation = (
        _first(concepts, params.zero_shot_fraction + params.validation_fraction, params.seed)
        - held_out
    )
    by_stimulus: dict[str, Split] = {}
    for concept, names in _stimuli_by_concept(stimuli).items():
        part: Split = "train"
        if concept in held_out:
            part = "zero_shot"
        elif concept in validation:
            part = "validation"
        by_stimulus |= dict.fromkeys(names, part)
    return [by_stimulus[name] for name in trials["stimulus_id"].to_pylist()]


Strategy = Callable[[pa.Table, pa.Table, Any], list[Split]]
STRATEGIES: Mapping[str, Strategy] = {"image": split_by_image, "concept": split_by_concept}


def _stimuli_by_concept(stimuli: pa.Table) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for row in stimuli.select(["stimulus_id", "concept"]).to_pylist():
        groups[row["concept"]].append(row["stimulus_id"])
    return groups


def _concepts(stimuli: pa.Table) -> set[str]:
    return set(stimuli["concept"].to_pylist())


def _first(names: set[str], fraction: float, seed: int) -> set[str]:
    """Return the first share of the names, in the order of their hashes."""
    return set(_ordered(names, seed)[: round(fraction * len(names))])


def _ordered(names: Iterable[str], seed: int) -> list[str]:
    return sorted(names, key=lambda name: _digest(f"{seed}:{name}"))


def _share(fraction: float, n: int, name: str) -> int:
    """Return ``fraction * n`` rounded up or down at random, so that small concepts add up."""
    uniform = int(_digest(name)[:13], 16) / 16**13
    return math.floor(fraction * n + uniform)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
