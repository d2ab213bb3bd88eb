"""Run the report on a made-up study."""

from tasks.artifacts.catalogue import Artifacts
from tasks.report import ReportParams, report
from tasks.reporting.study import Study, read_study
from tasks.wiring.contract import reads
from tests.reporting.documents import Document

PARAMS: dict[str, int] = {
    "max_trials": 20,
    "page_size": 6,
    "top_row_pictures": 4,
    "caption_examples": 3,
    "thumbnail_px": 64,
    "seed": 3,
}


def write_report(artifacts: Artifacts, **changes: int) -> str:
    """Run the stage and return the page."""
    report(
        **{name: getattr(artifacts, name) for name in reads(report)},
        report_page=artifacts.report_page,
        params=ReportParams(**PARAMS | changes),
    )
    return artifacts.report_page.read_text()


def read_report(artifacts: Artifacts, **changes: int) -> Document:
    """Run the stage and parse the page."""
    return Document(write_report(artifacts, **changes))


def load(artifacts: Artifacts) -> Study:
    """Read the study as the report does."""
    return read_study(artifacts.paths())
