"""`report` writes one page: the same study gives the same bytes, and bad input one clear sentence."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.tables import ContractError
from tasks.report import ReportParams, report
from tasks.reporting.accuracy import confidences
from tasks.reporting.cards import draw_sample
from tasks.reporting.definitions import TERMS
from tasks.reporting.sections import SECTIONS
from tasks.runtime.errors import PerceptError
from tasks.wiring.contract import reads, writes
from tests.reporting.fabricated import copy_study, fabricate, get, put
from tests.reporting.runs import PARAMS, load, write_report

WIDTHS_PX = (1440, 1024, 390)
MAX_NUMBERS = 60
"""That a reader meets before the first click."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return fabricate(tmp_path_factory.mktemp("study"))


@pytest.fixture
def artifacts(template: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    monkeypatch.chdir(tmp_path)
    return copy_study(template, Path())


def test_signature_is_the_contract() -> None:
    names = "recordings stimuli trials quality averages captions retrievals renders render_images"
    names += " judgements saliency training_log evaluate_metrics evaluate_plots explain_metrics explain_plots"
    names += " audit_metrics audit_plots check_captions_metrics check_captions_plots raw"
    assert reads(report) == names.split()
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
    message = (
        r"\.png must be a whole picture .*\(delete it if a stage drew it\), then run `dvc repro`"
    )
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
def test_search_filter_and_pages_work_in_a_browser(
    artifacts: Artifacts, tmp_path: Path, browser: Any
) -> None:
    write_report(artifacts)
    page = browser.new_page()
    page.goto(f"{artifacts.report_page.resolve().as_uri()}#pictures")
    cards = page.locator("#cards > .card")
    assert cards.count() == 6
    assert page.locator("#previous").is_disabled()
    first = cards.first.locator("code").inner_text()
    page.locator("#next").click()
    assert page.locator("#page").inner_text() == "Page 2 of 4"
    assert cards.first.locator("code").inner_text() != first
    page.locator("#outcome").select_option("hit")
    assert page.locator("#page").inner_text().startswith("Page 1 of")
    assert attributes(cards, "data-outcome") == {"hit"}
    page.locator("#outcome").select_option("")
    page.locator("#subject").select_option("sub-02")
    assert attributes(cards, "data-subject") == {"sub-02"}
    page.locator("#subject").select_option("")
    page.locator("#within").select_option("concept")
    concept = str(cards.first.get_attribute("data-concept"))
    page.locator("#search").fill(concept.upper())
    assert attributes(cards, "data-concept") == {concept}
    page.locator("#search").fill("")
    page.locator("#within").select_option("object")
    page.locator("#rank").select_option("0")
    beyond = page.locator("#count").inner_text()
    page.locator("#rank").select_option("5")
    within = page.locator("#count").inner_text()
    assert int(beyond.split()[0]) + int(within.split()[0]) == 20
    page.locator("#search").fill("no such thing")
    assert (cards.count(), page.locator("#count").inner_text()) == (0, "0 of 20 trials")
    assert page.locator("#pager").is_hidden()
    assert page.locator("#none").is_visible()
    page.locator("#search").fill("")
    page.locator("#rank").select_option("")
    sure = {True: 0, False: 0}
    for wanted in ("0.5", "-0.5"):
        page.locator("#confidence").select_option(wanted)
        sure[float(wanted) > 0] = int(page.locator("#count").inner_text().split()[0])
    drawn = draw_sample(load(artifacts), PARAMS["max_trials"], PARAMS["seed"]).cards
    of_all = confidences(artifacts.evaluate_plots)
    known = [of_all[card.trial_id] for card in drawn]
    assert sure == {
        True: sum(value >= 0.5 for value in known),
        False: sum(value < 0.5 for value in known),
    }
    page.locator("#confidence").select_option("")
    page.locator("#concept").select_option(concept)
    assert attributes(cards, "data-concept") == {concept}


@pytest.mark.browser
def test_a_script_in_a_caption_stays_text(artifacts: Artifacts, browser: Any) -> None:
    attack = "</script><script>document.title = 'taken'</script><img src=x onerror=\"alert(1)\">"
    for name, column in (("captions", "text"), ("renders", "prompt"), ("trials", "concept")):
        put(artifacts, name, [row | {column: attack} for row in get(artifacts, name)])
    write_report(artifacts)
    page = browser.new_page()
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog))
    page.goto(f"{artifacts.report_page.resolve().as_uri()}#pictures")
    assert attack in page.locator("#cards dd").first.inner_text()
    assert page.title().startswith("Percept: ")
    assert page.locator("img[onerror]").count() == 0
    assert not dialogs


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_passes_axe(artifacts: Artifacts, browser: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")
    write_report(artifacts)
    for width in WIDTHS_PX:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(artifacts.report_page.resolve().as_uri())
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        for step in ("", "document.querySelectorAll('details').forEach(each => each.open = true)"):
            page.evaluate(step)
            found = axe.Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            assert page.evaluate(overflow) == 0


@pytest.mark.browser
def test_the_first_screen_holds_few_numbers_and_the_rest_is_one_click_away(
    artifacts: Artifacts, browser: Any
) -> None:
    write_report(artifacts)
    page = browser.new_page()
    page.goto(artifacts.report_page.resolve().as_uri())
    numbers = re.findall(r"\d[\d.,]*", page.locator("main").inner_text())
    assert 0 < len(numbers) <= MAX_NUMBERS
    for anchor in (section.anchor for section in SECTIONS[1:]):
        chapter = page.locator(f"#{anchor} > details.chapter")
        assert chapter.get_attribute("open") is None
        page.locator(f"nav a[href='#{anchor}']").click()
        page.wait_for_function(f"document.querySelector('#{anchor} > details').open")


@pytest.mark.browser
def test_a_definition_is_one_click_or_key_away(artifacts: Artifacts, browser: Any) -> None:
    write_report(artifacts)
    page = browser.new_page()
    page.goto(artifacts.report_page.resolve().as_uri())
    definition, word = page.locator("#term-chance"), page.locator(".tiles .term", has_text="Chance")
    assert word.get_attribute("title") in definition.inner_text() + TERMS["chance"].definition
    for open_it in (word.click, lambda: word.press("Enter")):
        assert not definition.is_visible()
        open_it()
        assert definition.inner_text() == f"Chance. {TERMS['chance'].definition}"
        page.keyboard.press("Escape")


@pytest.mark.browser
def test_everything_is_on_paper(artifacts: Artifacts, browser: Any) -> None:
    write_report(artifacts)
    page = browser.new_page()
    page.goto(artifacts.report_page.resolve().as_uri())
    page.emulate_media(media="print")
    for anchor in (section.anchor for section in SECTIONS):
        height = page.locator(f"#{anchor}").bounding_box()["height"]
        assert height > 200, anchor


@pytest.mark.browser
def test_the_page_is_used_by_keyboard_alone(artifacts: Artifacts, browser: Any) -> None:
    write_report(artifacts)
    page = browser.new_page()
    page.goto(artifacts.report_page.resolve().as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#pictures > details > summary").focus()
    page.keyboard.press("Enter")
    page.locator("#next").focus()
    page.keyboard.press("Enter")
    assert page.locator("#page").inner_text() == "Page 2 of 4"
    page.locator("#cards summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#cards details").first.get_attribute("open") is not None


def attributes(cards: Any, name: str) -> set[str | None]:
    return {card.get_attribute(name) for card in cards.all()}
