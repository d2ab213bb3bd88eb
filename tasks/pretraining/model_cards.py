"""Model cards of the small models: what they are, from what, how well they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.pretraining.corpus import FIRST_FRESH_SEED, FIRST_TRAINING_SEED
from tasks.pretraining.training import Progress

LICENCE = (
    "The pictures hold glyphs of Font Awesome Free (icons CC BY 4.0, fonts SIL OFL 1.1, "
    "https://fontawesome.com/license/free). The weights were trained on nothing else."
)


@dataclass(frozen=True)
class Card:
    """What a model card tells.

    Attributes
    ----------
    title, purpose, limits : str
        What it is, what for, and where it fails.
    facts : Mapping[str, str]
        Training facts in the order in which they are told.
    scores : Mapping[str, float]
        Measured on the exported weights.
    measured : str
        How the scores were measured.
    """

    title: str
    purpose: str
    facts: Mapping[str, str]
    scores: Mapping[str, float]
    measured: str
    limits: str


def write_card(card: Card, folder: Path) -> None:
    """Write ``README.md`` into the folder of a model."""
    facts = "\n".join(f"- {name}: {value}" for name, value in card.facts.items())
    scores = "\n".join(f"| {name} | {value:.3f} |" for name, value in card.scores.items())
    text = (
        f"# {card.title}\n\n{card.purpose}\n\n## Training\n\n{facts}\n\n"
        f"## Scores\n\n{card.measured}\n\n| score | value |\n|---|---|\n{scores}\n\n"
        f"## Limits\n\n{card.limits}\n\n## Licence of the data\n\n{LICENCE}\n"
    )
    (folder / "README.md").write_text(text)


def training_facts(progress: Progress, batch_size: int, seed: int, n_scenes: int) -> dict[str, str]:
    """Tell data, steps and seed of a training.

    Parameters
    ----------
    batch_size : int
        Scenes per step.
    """
    return {
        "data": f"{n_scenes} random scenes of `tasks.simulation.scene`, seeds from "
        f"{FIRST_TRAINING_SEED}; scores on scenes from seed {FIRST_FRESH_SEED}; studies use seeds "
        f"below {FIRST_TRAINING_SEED}",
        "steps": f"{progress.step} of {batch_size} scenes, {progress.seconds / 60:.0f} minutes",
        "seed": str(seed),
        "weights": "half precision (safetensors), exponential moving average",
    }
