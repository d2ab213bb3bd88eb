"""What the order of the events says about the design of a study."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

CONFOUNDED_ABOVE = 0.1  # excess of equal neighbours over chance, of the largest possible excess
SIGNIFICANT_Z = 5.0  # standard deviations above chance, so that few events do not raise the alarm

UNTIMED = (
    "the order of presentation was not published: whether class and time are confounded "
    "cannot be told"
)


@dataclass(frozen=True)
class Design:
    """A verdict on the order of presentation.

    Attributes
    ----------
    confounded
        Whether the time of a trial gives its concept away; None where that cannot be told.
    chance
        Share of trials that show the concept of the trial before, in a random order.
    n
        Pairs of neighbours.
    sentence
        The verdict in words.
    """

    confounded: bool | None
    chance: float
    n: int
    sentence: str


def describe_design(events: pa.Table, stimuli: pa.Table, timed: bool = True) -> Design:
    """Say whether class and time are confounded, from the events alone.

    In a block design each trial shows the class of its neighbour in time: whatever drifts slowly
    then tells the classes apart, and no split of the trials within a recording can undo that
    (Li et al., IEEE TPAMI 43(1), 2021).

    Parameters
    ----------
    timed
        Whether the order of presentation of every recording is known.

    Returns
    -------
    Design
        The verdict.
    """
    if not timed:
        return Design(None, math.nan, 0, UNTIMED)
    orders = _concepts_in_order(events, stimuli)
    pairs = [pair for order in orders for pair in zip(order[1:], order[:-1], strict=True)]
    chance = _chance(orders)
    if not pairs or chance == 1:
        return Design(
            chance == 1,
            chance,
            len(pairs),
            "one concept only: class and time cannot be told apart"
            if chance == 1
            else "too few events to judge the design",
        )
    same = float(np.mean([a == b for a, b in pairs]))
    excess = (same - chance) / (1 - chance)
    z = (same - chance) / np.sqrt(chance * (1 - chance) / len(pairs))
    confounded = bool(excess > CONFOUNDED_ABOVE and z > SIGNIFICANT_Z)
    shares = f"{same:.1%} of trials show the concept of the trial before, {chance:.1%} by chance"
    verdict = (
        "block design: class and time are confounded"
        if confounded
        else "mixed order: class and time are not confounded"
    )
    return Design(confounded, chance, len(pairs), f"{verdict} ({shares})")


def _concepts_in_order(events: pa.Table, stimuli: pa.Table) -> list[list[str]]:
    """Return the concepts of each recording in order of presentation."""
    names = stimuli.select(["stimulus_id", "concept"]).to_pylist()
    concept_of = {row["stimulus_id"]: row["concept"] for row in names}
    orders: dict[str, list[str]] = defaultdict(list)
    ordered = events.sort_by(
        [("recording_id", "ascending"), ("presentation_order", "ascending")]
    ).select(["recording_id", "stimulus_id"])
    for row in ordered.to_pylist():
        orders[row["recording_id"]].append(concept_of[row["stimulus_id"]])
    return list(orders.values())


def _chance(orders: Sequence[Sequence[str]]) -> float:
    """Return how often two trials of the study drawn at random show the same concept."""
    counts = np.array(list(Counter(c for order in orders for c in order).values()), np.float64)
    n = counts.sum()
    return float((counts * (counts - 1)).sum() / (n * (n - 1))) if n > 1 else 0.0
