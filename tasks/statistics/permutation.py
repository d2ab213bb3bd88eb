"""Permutation tests: p-values from scores under exchanged units or exchanged signs.

What is exchanged must be independent under the null hypothesis. Trials of one picture are not, where what is
asked about belongs to the picture: exchanged one by one they count as many independent answers, and chance
findings pass for real ones. Every test therefore names the *level* at which it exchanges, and moves the rows
of a unit of that level together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

SIGNIFICANCE = 0.05
"""p-values below this are called a difference in a verdict."""
TIE = 1e-9
"""Scores that differ by less than this part of the largest are equal: sums in another order differ so."""

Level = Literal["trials", "stimuli", "concepts", "blocks", "kinds", "subjects"]
"""What is exchanged under the null hypothesis."""
_COLUMNS: Mapping[Level, str] = {
    "stimuli": "stimulus_id",
    "concepts": "concept",
    "blocks": "block",
    "kinds": "kind",
    "subjects": "subject",
}


def permutation_p_value(
    value: float, permuted: Float[np.ndarray, " n_permutations"], *, higher_is_better: bool
) -> float:
    """Return the share of permutations, the observed order among them, that do as well.

    Parameters
    ----------
    permuted : Float[np.ndarray, "n_permutations"]
        Scores under permutations; equal to the value up to rounding counts as doing as well.
    higher_is_better : bool
        Whether doing well means a high score.
    """
    slack = TIE * max(abs(value), float(np.abs(permuted).max(initial=0)))
    as_good = permuted >= value - slack if higher_is_better else permuted <= value + slack
    return float((1 + as_good.sum()) / (1 + len(permuted)))


def units_of(rows: pd.DataFrame, level: Level) -> Int[np.ndarray, " n_rows"]:
    """Return the unit of each row, numbered from 0.

    Parameters
    ----------
    rows : pandas.DataFrame
        With the column of the level: stimulus_id, concept, block, kind or subject; none for trials.
    """
    if level == "trials":
        return np.arange(len(rows))
    return np.unique(rows[_COLUMNS[level]].to_numpy(str), return_inverse=True)[1]


def exchanges(
    rows: pd.DataFrame, level: Level, within: Sequence[str], n_permutations: int, seed: int
) -> Iterator[Int[np.ndarray, " n_rows"]]:
    """Yield, for each permutation, the row whose value each row gets when whole units are exchanged.

    Units that lie inside one group each are exchanged inside it. Units that reach across groups are
    exchanged as they are, their rows in the order of the groups. Inside a unit and group rows change places
    too, those of one stimulus together. Of a larger unit some rows are left out, of a smaller one some are
    repeated.

    Parameters
    ----------
    rows : pandas.DataFrame
        As `units_of` takes them.
    within : Sequence[str]
        Group of each row.
    """
    unit = units_of(rows, level)
    group = np.unique(np.asarray(within), return_inverse=True)[1]
    stimulus = units_of(rows, "stimuli" if "stimulus_id" in rows else "trials")
    order = np.lexsort((group, unit))
    of, of_group = unit[order], group[order]
    start, size = np.unique(of, return_index=True, return_counts=True)[1:]
    first, last = of_group[start], of_group[start + size - 1]
    stratum = first if (first == last).all() else np.zeros_like(first)
    by_stratum = np.argsort(stratum, kind="stable")
    place = np.arange(len(of)) - start[of]
    rng = np.random.default_rng(seed)
    for _ in range(n_permutations):
        source = np.empty_like(start)
        source[by_stratum] = np.lexsort((rng.random(len(start)), stratum))
        given = source[of]
        of_stimulus = rng.random(len(stimulus))[stimulus]
        mixed = np.lexsort((rng.random(len(unit)), of_stimulus, group, unit))
        taken = np.empty_like(order)
        taken[order] = mixed[start[given] + place * size[given] // size[of]]
        yield taken


def sign_flip_p_value(
    differences: Float[np.ndarray, " n_rows"],
    rows: pd.DataFrame,
    level: Level,
    n_permutations: int,
    seed: int,
) -> float:
    """Return how often differences have as high a mean when the sign of whole units is drawn.

    Parameters
    ----------
    rows : pandas.DataFrame
        As `units_of` takes them.
    """
    totals = np.bincount(units_of(rows, level), weights=differences)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (n_permutations, len(totals)))
    return permutation_p_value(float(totals.sum()), signs @ totals, higher_is_better=True)
