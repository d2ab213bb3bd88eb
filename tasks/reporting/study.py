"""Everything that the report reads, in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

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

    appraise: Path
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
    captions: pd.DataFrame
    retrievals: pd.DataFrame
    renders: pd.DataFrame
    judgements: pd.DataFrame
    saliency: pd.DataFrame
    training_log: pd.DataFrame
    appraise: Scores
    evaluate: Scores
    explain: Scores
    audit: Scores
    plots: Plots


def read_study(
    *,
    recordings: Path,
    stimuli: Path,
    trials: Path,
    quality: Path,
    captions: Path,
    retrievals: Path,
    renders: Path,
    judgements: Path,
    saliency: Path,
    training_log: Path,
    evaluate_metrics: Path,
    evaluate_plots: Path,
    explain_metrics: Path,
    explain_plots: Path,
    audit_metrics: Path,
    audit_plots: Path,
    appraise_metrics: Path,
    appraise_plots: Path,
) -> Study:
    """Read one run of the pipeline.

    Parameters
    ----------
    recordings, stimuli, trials, quality, captions, retrievals, renders, judgements, saliency : Path
        Tables under contract.
    training_log : Path
        CSV with one row per epoch.
    evaluate_metrics, evaluate_plots, explain_metrics, explain_plots, audit_metrics, audit_plots : Path
        Scores, and folders of figures (PNG) and of the numbers behind them (CSV).
    appraise_metrics, appraise_plots : Path
        Scores of the captions, and a folder of the numbers behind them (CSV).

    Raises
    ------
    PerceptError
        If a file is missing or breaks its contract.
    """
    return Study(
        recordings=_frame(recordings, RECORDINGS),
        stimuli=_frame(stimuli, STIMULI),
        trials=_frame(trials, TRIALS),
        quality=_frame(quality, QUALITY),
        captions=_frame(captions, CAPTIONS),
        retrievals=_frame(retrievals, RETRIEVALS),
        renders=_frame(renders, RENDERS),
        judgements=_frame(judgements, JUDGEMENTS),
        saliency=_frame(saliency, SALIENCY),
        training_log=_read_training_log(training_log),
        appraise=read_scores(appraise_metrics),
        evaluate=read_scores(evaluate_metrics),
        explain=read_scores(explain_metrics),
        audit=read_scores(audit_metrics),
        plots=Plots(appraise_plots, evaluate_plots, explain_plots, audit_plots),
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
