"""Everything that the report reads, in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from tasks.artifacts.contracts.averages import AVERAGES
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.judgements import JUDGEMENTS
from tasks.artifacts.contracts.quality import QUALITY
from tasks.artifacts.contracts.recordings import RECORDINGS
from tasks.artifacts.contracts.renders import RENDERS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.saliency import SALIENCY
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import Score, read_scores
from tasks.artifacts.tables import read_table
from tasks.runtime.errors import PerceptError

Scores = Mapping[str, Score]


@dataclass(frozen=True)
class Plots:
    """The folders that stages drew into."""

    check_captions: Path
    evaluate: Path
    explain: Path
    audit: Path


@dataclass(frozen=True)
class Study:
    """One run of the pipeline: its tables under contract, its scores and its figures."""

    recordings: pd.DataFrame
    stimuli: pd.DataFrame
    trials: pd.DataFrame
    quality: pd.DataFrame
    averages: pd.DataFrame
    captions: pd.DataFrame
    retrievals: pd.DataFrame
    renders: pd.DataFrame
    judgements: pd.DataFrame
    saliency: pd.DataFrame
    training_log: pd.DataFrame
    check_captions: Scores
    evaluate: Scores
    explain: Scores
    audit: Scores
    plots: Plots


def read_study(paths: Mapping[str, Path]) -> Study:
    """Read one run of the pipeline.

    Parameters
    ----------
    paths : Mapping[str, Path]
        Every path that the stage `report` reads, by its name there; others are not looked at.

    Raises
    ------
    PerceptError
        If a file is missing or breaks its contract.
    """
    return Study(
        recordings=_frame(paths["recordings"], RECORDINGS),
        stimuli=_frame(paths["stimuli"], STIMULI),
        trials=_frame(paths["trials"], TRIALS),
        quality=_frame(paths["quality"], QUALITY),
        averages=_frame(paths["averages"], AVERAGES),
        captions=_frame(paths["captions"], CAPTIONS),
        retrievals=_frame(paths["retrievals"], RETRIEVALS),
        renders=_frame(paths["renders"], RENDERS),
        judgements=_frame(paths["judgements"], JUDGEMENTS),
        saliency=_frame(paths["saliency"], SALIENCY),
        training_log=_read_training_log(paths["training_log"]),
        check_captions=read_scores(paths["check_captions_metrics"]),
        evaluate=read_scores(paths["evaluate_metrics"]),
        explain=read_scores(paths["explain_metrics"]),
        audit=read_scores(paths["audit_metrics"]),
        plots=Plots(
            check_captions=paths["check_captions_plots"],
            evaluate=paths["evaluate_plots"],
            explain=paths["explain_plots"],
            audit=paths["audit_plots"],
        ),
    )


def _frame(path: Path, schema: pa.Schema) -> pd.DataFrame:
    frame: pd.DataFrame = read_table(path, schema).to_pandas()
    return frame


def _read_training_log(path: Path) -> pd.DataFrame:
    """Read the training log.

    Raises
    ------
    PerceptError
        If it does not exist or is no CSV with a header.
    """
    remedy = "Run `dvc repro train` to write it."
    if not path.exists():
        raise PerceptError(f"{path} must exist; it does not. {remedy}")
    try:
        return pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise PerceptError(f"{path} must be a CSV with a header; {error}. {remedy}") from error
