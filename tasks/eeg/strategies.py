"""The split strategies, each with what it protects against and what not.

A strategy sees the trials and the stimuli, never the EEG. Those that draw take their order from a
hash of the seed and a name, so that adding a subject, a session or a stimulus moves nothing else.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.artifacts.splits import (
    HELD_OUT,
    SPLITS,
    TEST,
    TRAIN,
    UNUSED,
    VALIDATION,
    ZERO_SHOT,
    Split,
)
from tasks.eeg.split_params import (
    ConceptSplit,
    ImageSplit,
    OfficialSplit,
    SplitError,
    SubjectSplit,
    TimeChunkSplit,
)


def split_by_image(trials: pa.Table, stimuli: pa.Table, params: ImageSplit) -> list[Split]:
    """Hold out pictures of every concept, and some concepts altogether.

    Protects against: the same picture in training and test, across subjects, sessions and
    repetitions; and, for ``zero_shot``, any picture of the concept.
    Does not protect against: drift. Where the trials of a concept follow each other (a block
    design), its test trials lie beside its training trials in time, and a decoder can tell *when*
    a trial was recorded instead of *what* was seen. Subjects are shared by all parts.
    """
    seed, by_concept = params.seed, _stimuli_by_concept(stimuli)
    held_out = _first(by_concept, params.zero_shot_fraction, seed)
    part_of: dict[str, Split] = {}
    for concept, names in by_concept.items():
        if concept in held_out:
            part_of |= dict.fromkeys(names, ZERO_SHOT)
            continue
        order = _ordered(names, seed)
        n_test = _share(params.test_fraction, len(order), f"{seed}:test:{concept}")
        n_validation = _share(
            params.validation_fraction, len(order), f"{seed}:validation:{concept}"
        )
        part_of |= dict.fromkeys(order, TRAIN)
        part_of |= dict.fromkeys(order[:n_test], TEST)
        part_of |= dict.fromkeys(order[n_test : n_test + n_validation], VALIDATION)
    return _of_stimuli(trials, part_of)


def split_by_concept(trials: pa.Table, stimuli: pa.Table, params: ConceptSplit) -> list[Split]:
    """Hold out whole concepts, for validation too.

    Protects against: choosing the epoch on concepts that are trained on, and everything that
    `split_by_image` protects against.
    Does not protect against: drift where neighbouring blocks hold similar concepts, and near
    synonyms among the concepts. Subjects are shared by all parts; there is no ``test`` part.
    """
    by_concept = _stimuli_by_concept(stimuli)
    both = params.zero_shot_fraction + params.validation_fraction
    part_of_concept: dict[str, Split] = dict.fromkeys(by_concept, TRAIN)
    part_of_concept |= dict.fromkeys(_first(by_concept, both, params.seed), VALIDATION)
    held_out = _first(by_concept, params.zero_shot_fraction, params.seed)
    part_of_concept |= dict.fromkeys(held_out, ZERO_SHOT)
    part_of = {name: part_of_concept[c] for c, names in by_concept.items() for name in names}
    return _of_stimuli(trials, part_of)


def split_as_published(trials: pa.Table, stimuli: pa.Table, params: OfficialSplit) -> list[Split]:
    """Take the publisher's split, so that scores can be set beside published ones.

    Where the publisher names no validation part, a share of the training stimuli becomes it; where
    there is one, ``validation_fraction`` is not used. With ``test_subject`` that subject is left out as
    well: the others train on the publisher's training pictures, it is tested on the test pictures, and
    its own training trials, and the others' test trials, are ``none``.
    Protects against: the same picture in training and test, and comparing scores of different
    test sets; with ``test_subject`` also against anything of the subject in training.
    Does not protect against: what the publisher did not: drift, above all, where test pictures
    were shown in sessions or blocks of their own. Without ``test_subject``, subjects are shared by all parts.

    Raises
    ------
    SplitError
        If a stimulus that was shown has no official split, or one of an unknown name, or the subject is
        not in the study.
    """
    names, published = (stimuli[c].to_pylist() for c in ("stimulus_id", "official_split"))
    part_of: dict[str, Split] = dict(zip(names, published, strict=True))
    known = list(SPLITS)
    odd = sorted(n for n in set(trials["stimulus_id"].to_pylist()) if part_of[n] not in known)
    if odd:
        found = ", ".join(f"{name} ({part_of[name] or 'none'})" for name in odd[:10])
        raise SplitError(
            "Every stimulus shown must have an official split, one of "
            f"{', '.join(known)}; {len(odd)} have not: {found}. "
            "Choose another preprocess.split.strategy, or mend the source."
        )
    if VALIDATION not in part_of.values():
        training = [name for name, part in part_of.items() if part == TRAIN]
        drawn = _first(training, params.validation_fraction, params.seed)
        part_of |= dict.fromkeys(drawn, VALIDATION)
    parts = _of_stimuli(trials, part_of)
    if params.test_subject is None:
        return parts
    left_out = _is_subject(trials, params.test_subject)
    return [
        part if (part in HELD_OUT) == is_left_out else UNUSED
        for part, is_left_out in zip(parts, left_out, strict=True)
    ]


def split_by_subject(trials: pa.Table, stimuli: pa.Table, params: SubjectSplit) -> list[Split]:
    """Leave one subject out: all its trials are ``test``, and it is seen in training nowhere.

    Protects against: anything of the subject in training: its anatomy, its noise, its sessions and
    with them its drift.
    Does not protect against: the same pictures in training and test. The images are shared by the
    subjects, so that a score tells how well the *answers to known pictures* carry over to a new
    head, and nothing of new pictures. Validation holds out a share of the pictures, with the
    trials of the other subjects.

    Raises
    ------
    SplitError
        If the subject is not in the study.
    """
    names = stimuli["stimulus_id"].to_pylist()
    left_out = _is_subject(trials, params.test_subject)
    part_of: dict[str, Split] = dict.fromkeys(names, TRAIN)
    drawn = _first(names, params.validation_fraction, params.seed)
    part_of |= dict.fromkeys(drawn, VALIDATION)
    parts = _of_stimuli(trials, part_of)
    return [
        TEST if is_left_out else part for part, is_left_out in zip(parts, left_out, strict=True)
    ]


def split_by_time(trials: pa.Table, stimuli: pa.Table, params: TimeChunkSplit) -> list[Split]:
    """Cut each recording, from first to last onset, into chunks of equal time, and hold out two.

    Protects against: neighbours in time. A test trial lies at least ``guard_s`` from a border to
    another part, so twice that from its trials; a guard longer than an epoch and than what the
    filters smear keeps test and training apart. What lies nearer is ``none`` and used nowhere.
    Does not protect against: the same pictures in training and test, nor drift so slow that it
    outlasts a chunk. In a block design a chunk may hold concepts that are trained on nowhere.
    """
    del stimuli
    names = np.asarray(trials["recording_id"].to_pylist(), str)
    onsets_s = trials["onset_s"].to_numpy()
    part_of: list[Split] = [TRAIN] * params.n_chunks
    part_of[params.test_chunk], part_of[params.validation_chunk] = TEST, VALIDATION
    borders = [c for c in range(1, params.n_chunks) if part_of[c] != part_of[c - 1]]
    splits: list[Split] = [UNUSED] * len(names)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        since_s = onsets_s[rows] - onsets_s[rows].min()
        chunk_s = since_s.max() / params.n_chunks
        edges_s = chunk_s * np.arange(1, params.n_chunks)
        chunks = np.searchsorted(edges_s, since_s, side="right") if chunk_s else np.zeros(len(rows))
        away_s = np.abs(since_s[:, None] - chunk_s * np.array(borders)).min(axis=1)
        for row, chunk, distance_s in zip(rows, chunks, away_s, strict=True):
            if distance_s >= params.guard_s:
                splits[row] = part_of[int(chunk)]
    return splits


Strategy = Callable[[pa.Table, pa.Table, Any], list[Split]]
"""Trials (stimulus_id, subject, recording_id, onset_s), stimuli (stimulus_id, concept, official_split) and the
params of the strategy to the part of each trial; its docstring says what it protects against."""
STRATEGIES: Mapping[str, Strategy] = {
    "image": split_by_image,
    "concept": split_by_concept,
    "official": split_as_published,
    "subject": split_by_subject,
    "time_chunk": split_by_time,
}


def _is_subject(trials: pa.Table, name: str) -> list[bool]:
    """Tell which trials are those of the subject that is left out."""
    subjects = trials["subject"].to_pylist()
    if name not in subjects:
        raise SplitError(
            "preprocess.split.test_subject must be a subject of the study: "
            f"{', '.join(sorted(set(subjects)))}; it is {name!r}. Change it."
        )
    return [subject == name for subject in subjects]


def _of_stimuli(trials: pa.Table, part_of: Mapping[str, Split]) -> list[Split]:
    return [part_of[name] for name in trials["stimulus_id"].to_pylist()]


def _stimuli_by_concept(stimuli: pa.Table) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for row in stimuli.select(["stimulus_id", "concept"]).to_pylist():
        groups[row["concept"]].append(row["stimulus_id"])
    return groups


def _first(names: Iterable[str], fraction: float, seed: int) -> list[str]:
    """Return the first share of the names, in the order of their hashes."""
    order = _ordered(names, seed)
    return order[: round(fraction * len(order))]


def _ordered(names: Iterable[str], seed: int) -> list[str]:
    return sorted(names, key=lambda name: _digest(f"{seed}:{name}"))


def _share(fraction: float, n: int, name: str) -> int:
    """Return ``fraction * n`` rounded up or down at random, so that small concepts add up."""
    uniform = int(_digest(name)[:13], 16) / 16**13
    return math.floor(fraction * n + uniform)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
