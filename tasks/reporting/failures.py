"""Examples of each failure signature, chosen by `evaluate`."""

from dataclasses import dataclass

import pandas as pd

from tasks.reporting.cards import TrialCard, cards_of
from tasks.reporting.study import Study

INTROS = {
    "hallucination": "A clean picture of the wrong thing: the judge is sure, and wrong.",
    "mode collapse": "The largest group of pictures that are alike, whatever was shown.",
    "head collapse": (
        "A head that answers with what another head should say: the heads are not as different as they claim."
    ),
    "hub": "One caption that is nearest to many trials, whatever was shown.",
}
"""Signature to what it looks like."""


@dataclass(frozen=True)
class Example:
    """One trial that shows a signature, and what to look at."""

    card: TrialCard
    note: str


@dataclass(frozen=True)
class FailureFamily:
    """Examples of one signature."""

    signature: str
    intro: str
    examples: tuple[Example, ...]


def failure_families(study: Study) -> list[FailureFamily]:
    """Return examples by signature; none where nothing was found or rendered.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    path = study.plots.evaluate / "failures.csv"
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["signature"])
    if rows.empty:
        return []
    cards = {card.trial_id: card for card in cards_of(study, sorted(set(rows["trial_id"])))}
    return [
        FailureFamily(
            str(signature),
            INTROS.get(str(signature), ""),
            tuple(
                Example(cards[row["trial_id"]], row["note"])
                for row in own.to_dict("records")
                if row["trial_id"] in cards
            ),
        )
        for signature, own in rows.groupby("signature", sort=False)
    ]
