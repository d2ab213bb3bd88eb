"""The model card of an encoder: what it was trained on, how well it reads, and what it must not be taken for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.metrics import Score

SHOWN = ("concept_recall_at_1", "stimulus_recall_at_1", "zero_shot_concept_recall_at_1")
"""How the names of the scores begin that the card tells."""


def model_card(
    config: Mapping[str, Any], description: Mapping[str, Any], scores: Mapping[str, Score]
) -> str:
    """Return the card as Markdown, with the head that the Hugging Face hub reads.

    Parameters
    ----------
    config : Mapping[str, Any]
        Of the exported folder.
    description : Mapping[str, Any]
        Of the encoder.
    scores : Mapping[str, Score]
        Of the study's evaluation; empty where it was not run.
    """
    window = config["preprocess"]["window"]
    rows = [
        f"| `{name}` | {score.value:.3f} ({score.low:.3f} to {score.high:.3f}) | "
        f"{'-' if score.chance is None else f'{score.chance:.3f}'} |"
        for name, score in scores.items()
        if name.startswith(SHOWN) and score.low is not None and score.high is not None
    ]
    calibrated = {k: c for k, c in config["calibration"].items() if c is not None}
    lines = [
        "---",
        "library_name: percept",
        "tags: [eeg, clip, brain-decoding]",
        "license: other",
        "---",
        "# An EEG encoder into CLIP space",
        "",
        f"Architecture `{description['architecture']}`, trained by Percept {config['percept']} on "
        f"{len(description['subjects'])} subjects ({', '.join(description['subjects'])}).",
        "",
        "## What goes in, what comes out",
        "",
        f"- {len(description['channels'])} EEG channels: {', '.join(description['channels'])}.",
        f"- Epochs of {window['tmin_s']:g} to {window['tmax_s']:g} s around the onset of a picture, {config['sfreq_hz']:g} Hz, in "
        f"{config['unit']}; `config.json` says how a raw recording becomes one.",
        f"- A vector for each of the caption kinds {', '.join(description['kinds'])}, and the nearest caption of the training pictures.",
        "",
        "## How well",
        "",
        *(["| score | value (95 % interval) | chance |", "|---|---|---|", *rows] if rows else ["The study was not evaluated."]),
        "",
        "## How sure",
        "",
        *(
            [f"- {kind}: expected calibration error {_number(c['error'])} on test trials, {_number(c['error_of_new_concepts'])} on those of "
             f"concepts that were never trained ({c['n_trials']} validation trials)." for kind, c in calibrated.items()]
            or ["There were too few validation trials to calibrate a confidence."]
        ),
        "",
        "## Limits",
        "",
        "- It answers with captions of its training pictures, whatever was seen: it is too sure of pictures of concepts that were never trained.",
        "- Other subjects, caps and tasks than in training were not tried unless the scores above say so.",
        "- The licence of the recordings, pictures and captions of the study holds for what is made of them: add it here.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
