"""`report` writes one page: the same study gives the same bytes, and bad input one clear sentence."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks._errors import PerceptError
from tasks._wiring import reads, writes
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.tables import ContractError
from tasks.report import ReportParams, report
from tests.reporting.fabricated import copy_study, fabricate, get
from tests.reporting.runs import PARAMS, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

USE_THE_PAGE = """
<script>
const find = (id) => document.getElementById(id);
const cards = () => [...document.querySelectorAll("#cards > .card")];
const set = (id, value) => {
  find(id).value = value;
  find("filters").dispatchEvent(new Event("input"));
  return cards();
};
const seen = [];
seen.push(cards().length, !find("filters").hidden, find("previous").disabled);
const first = cards()[0];
find("next").click();
seen.push(cards()[0] !== first, find("page").textContent);
seen.push(set("outcome", "hit").every((card) => card.dataset.outcome === "hit"));
seen.push(find("page").textContent.startsWith("Page 1 of"));
set("outcome", "");
seen.push(set("subject", "sub-02").every((card) => card.dataset.subject === "sub-02"));
set("subject", "");
set("within", "concept");
const concept = first.dataset.concept;
seen.push(set("search", concept.toUpperCase()).every((card) => card.dataset.concept === concept));
set("search", "no such thing");
seen.push(cards().length, find("count").textContent, find("pager").hidden);
document.title = JSON.stringify(seen);
</script>
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return fabricate(tmp_path_factory.mktemp("study"))


@pytest.fixture
def artifacts(template: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    monkeypatch.chdir(tmp_path)
    return copy_study(template, Path())


def test_signature_is_the_contract() -> None:
    names = "recordings stimuli trials quality captions appraise_metrics appraise_plots retrievals renders render_images judgements"
    names += " saliency training_log evaluate_metrics evaluate_plots explain_metrics explain_plots"
    assert reads(report) == [*names.split(), "audit_metrics", "audit_plots", "raw"]
    assert writes(report) == ["report_page"]


def test_the_same_study_gives_the_same_bytes(artifacts: Artifacts) -> None:
    assert write_report(artifacts) == write_report(artifacts)


def test_another_seed_shows_other_trials(artifacts: Artifacts) -> None:
    assert write_report(artifacts) != write_report(artifacts, seed=4)


def test_params_have_no_defaults_and_no_extras() -> None:
    with pytest.raises(ValidationError, match="thumbnail_px"):
        ReportParams(**{k: v for k, v in PARAMS.items() if k != "thumbnail_px"})
    with pytest.raises(ValidationError, match="theme"):
        ReportParams(**PARAMS, theme=1)


def test_a_picture_that_is_gone_is_named(artifacts: Artifacts) -> None:
    for render in get(artifacts, "renders"):
        Path(render["image_path"]).write_bytes(b"no picture")
    message = r"\.png must be a picture that a table names; it is missing or cannot be read\. Run `dvc repro`"
    with pytest.raises(PerceptError, match=message):
        write_report(artifacts)
    assert not artifacts.report_page.exists()


def test_a_broken_table_is_named(artifacts: Artifacts) -> None:
    artifacts.trials.write_bytes(artifacts.trials.read_bytes()[:100])
    with pytest.raises(ContractError, match=r"trials\.parquet must be a whole Parquet file"):
        write_report(artifacts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"training_log\.csv must exist; it does not\. Run `dvc repro train` to write it\."),
        ("", r"training_log\.csv must be a CSV with a header; .* Run `dvc repro train`"),
    ],
)
def test_a_broken_training_log_is_named(
    artifacts: Artifacts, content: str | None, message: str
) -> None:
    artifacts.training_log.unlink()
    if content is not None:
        artifacts.training_log.write_text(content)
    with pytest.raises(PerceptError, match=message):
        write_report(artifacts)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_search_filter_and_pages_work_in_a_browser(artifacts: Artifacts, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(write_report(artifacts).replace("</body>", f"{USE_THE_PAGE}</body>"))
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    options += f" --disable-component-update --disable-sync --user-data-dir={tmp_path / 'profile'}"
    dump = subprocess.run(
        [str(CHROMIUM), *options.split(), "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    title = dump[dump.index("<title>") + 7 : dump.index("</title>")]
    assert title == ('[6,true,true,true,"Page 2 of 4",true,true,true,true,0,"0 of 20 trials",true]')
