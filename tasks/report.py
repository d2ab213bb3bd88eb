"""Write the study as one self-contained page."""

from pathlib import Path

from pydantic import Field

from tasks.reporting.page import render_page
from tasks.reporting.sections import Selection
from tasks.reporting.study import read_study
from tasks.runtime.files import write_text
from tasks.runtime.params import Params


class ReportParams(Params):
    """What the report shows.

    Attributes
    ----------
    max_trials
        Trial cards at most.
    page_size
        Trial cards per page.
    top_row_pictures
        Pairs of shown and decoded picture at the top.
    caption_examples
        Stimuli shown with all their captions.
    thumbnail_px
        Longest side of embedded pictures; smaller ones keep their size.
    seed
        Of the order of trials and the choice of examples.
    """

    max_trials: int = Field(ge=1)
    page_size: int = Field(ge=1)
    top_row_pictures: int = Field(ge=0)
    caption_examples: int = Field(ge=0)
    thumbnail_px: int = Field(ge=16)
    seed: int = Field(ge=0)


def report(
    recordings: Path,
    stimuli: Path,
    trials: Path,
    quality: Path,
    averages: Path,
    captions: Path,
    retrievals: Path,
    renders: Path,
    render_images: Path,
    judgements: Path,
    saliency: Path,
    training_log: Path,
    evaluate_metrics: Path,
    evaluate_plots: Path,
    explain_metrics: Path,
    explain_plots: Path,
    audit_metrics: Path,
    audit_plots: Path,
    check_captions_metrics: Path,
    check_captions_plots: Path,
    raw: Path,
    *,
    report_page: Path,
    params: ReportParams,
) -> None:
    """Write the report.

    Parameters
    ----------
    recordings, stimuli, trials, quality, averages : Path
        Tables under contract.
    captions, retrievals, renders : Path
        Tables that may be empty: the page says so.
    render_images : Path
        Folder of the pictures that `renders` names.
    judgements, saliency : Path
        Tables that may be empty.
    training_log : Path
        CSV with one row per epoch.
    evaluate_metrics, evaluate_plots, explain_metrics, explain_plots, audit_metrics, audit_plots : Path
        Scores, and folders of figures (PNG) and of the numbers behind them (CSV).
    check_captions_metrics, check_captions_plots : Path
        Scores of the captions, and the folder of the numbers behind them (CSV).
    raw : Path
        Folder of the pictures that `stimuli` names.
    report_page : Path
        One HTML file that needs no other.
    params : ReportParams
        What is shown.
    """
    paths = dict(locals())  # the signature is the one list of what is read
    study = read_study(paths)
    write_text(report_page, render_page(study, Selection(**params.model_dump())))
