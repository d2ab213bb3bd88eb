"""The study's encoder trained on people's captions in place of its own: what hangs on who wrote them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import Score
from tasks.artifacts.tables import read_table, write_table
from tasks.eeg.epochs import read_epochs
from tasks.encoder.architectures import ARCHITECTURES
from tasks.encoder.checkpoints import Encoder, description_of, reading_recorded
from tasks.encoder.dataset import read_training_data
from tasks.encoder.params import TrainParams
from tasks.encoder.resumption import CACHE, SavedRun
from tasks.language.likeness import Draw, scored
from tasks.runtime.files import fingerprint
from tasks.scores.trained import HeldOutEEG, held_out_of, stimulus_answers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wording:
    """What somebody says of the stimuli.

    Attributes
    ----------
    captions : pyarrow.Table
        Under the contract `CAPTIONS`.
    vectors : pyarrow.Table
        Under the contract `TEXT_VECTORS`: one row per caption.
    """

    captions: pa.Table
    vectors: pa.Table


@dataclass(frozen=True)
class Recorded:
    """What an encoder is trained on beside captions.

    Attributes
    ----------
    trials, epochs, image_targets : Path
        Artefacts of these names.
    """

    trials: Path
    epochs: Path
    image_targets: Path

    def stimuli(self) -> set[str]:
        """Return the stimuli of all kept trials."""
        table = read_table(self.trials, TRIALS, ["trial_id", "stimulus_id", "kept"])
        return set(table.filter(table["kept"])["stimulus_id"].to_pylist())


def human_training_scores(
    recorded: Recorded, own: Encoder, said: Wording, human: Wording, draw: Draw
) -> dict[str, Score]:
    """Return how well held-out stimuli are identified by encoders that differ in their captions alone.

    The second encoder has the params, trials and splits of the first. Each is asked in its own words:
    which stimulus's captions are nearest to what it predicts of a trial of the split ``test``?

    Parameters
    ----------
    own : Encoder
        The study's encoder, trained on `said`.
    said, human : Wording
        The study's captions, and those of people in the same kinds, of every stimulus.
    draw : Draw
        How intervals are drawn: over stimuli, not over trainings.

    Returns
    -------
    dict[str, Score]
        Both, and their difference; nothing where no trial is of the split ``test``.
    """
    trials = read_table(recorded.trials, TRIALS)
    ours = _answers(trials, recorded.epochs, own, said)
    if ours is None:
        return {}
    theirs = _answers(trials, recorded.epochs, _trained(recorded, own, human), human)
    assert theirs is not None
    joined = ours.merge(theirs, on=["trial_id", "stimulus_id"], suffixes=("", "_human"))
    codes = np.asarray(pd.factorize(joined["stimulus_id"], sort=True)[0])
    chance = 1 / (int(codes.max()) + 1)
    values = {name: joined[name].to_numpy(np.float64) for name in ("correct", "correct_human")}

    def score(values: Float[np.ndarray, " n"], chance: float) -> Score:
        return scored(values, codes, draw, chance=chance, unit="share")

    difference = score(values["correct_human"] - values["correct"], 0.0)
    return {
        "trained_on_study_captions": score(values["correct"], chance),
        "trained_on_human_captions": score(values["correct_human"], chance),
        "human_instead_of_study_captions": difference.model_copy(
            update={"verdict": _verdict(difference)}
        ),
    }


def _verdict(difference: Score) -> str:
    if difference.low is not None and difference.low > 0:
        return "Captions of people train a better encoder than those of the study."
    if difference.high is not None and difference.high < 0:
        return "The captions of the study train a better encoder than those of people."
    return "It makes no difference that these trials could show."


def _trained(recorded: Recorded, own: Encoder, human: Wording) -> Encoder:
    """Train an encoder as `own` was, on people's captions; a run that is killed goes on."""
    params = TrainParams.model_validate(own.description["params"])
    with TemporaryDirectory() as folder:
        captions, vectors = Path(folder) / "captions.parquet", Path(folder) / "vectors.parquet"
        write_table(human.captions, captions, CAPTIONS)
        write_table(human.vectors, vectors, TEXT_VECTORS)
        data = read_training_data(
            recorded.trials,
            recorded.epochs,
            captions,
            vectors,
            recorded.image_targets,
            params=params.model_copy(update={"caption_kinds": list(own.kinds)}),
        )
    logger.info("Training %s on people's captions.", params.architecture.name)
    saved = SavedRun(CACHE / fingerprint(data.fingerprint, params.model_dump()))
    trained = ARCHITECTURES[params.architecture.name].train(data, params, saved)
    saved.remove()
    module = reading_recorded(trained.module, data.decoded_channels).eval()
    module.requires_grad_(requires_grad=False)
    return Encoder(module, description_of(data, params))


def _answers(
    trials: pa.Table, epochs: Path, encoder: Encoder, wording: Wording
) -> pd.DataFrame | None:
    """Return, trial by trial, whether an encoder identifies the stimulus among the captions."""
    queries = trials.filter(pc.and_(trials["kept"], held_out_of(trials))).sort_by("trial_id")
    if not queries.num_rows:
        return None
    eeg, info = read_epochs(epochs, queries["trial_id"].to_pylist())
    encoder.require_channels(info.channels)
    data = HeldOutEEG(trials, queries, eeg, wording.captions, wording.vectors)
    answers = stimulus_answers(data.decoded_by(encoder, None))
    return pd.DataFrame(answers)[["trial_id", "stimulus_id", "correct"]]
