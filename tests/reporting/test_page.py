"""The page holds everything that was found, escaped, accessible and in one file."""

import contextlib
import csv
import io
import itertools
import json
import re
from pathlib import Path

import pytest

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import write_scores
from tasks.reporting.accuracy import subject_rows
from tasks.reporting.cards import draw_sample
from tasks.reporting.sections import SECTIONS, Selection, Shown
from tests.reporting.documents import Document
from tests.reporting.fabricated import copy_study, get, put
from tests.reporting.runs import PARAMS, load, read_report, write_report

ANCHORS = [section.anchor for section in SECTIONS]
OPTIONAL_TABLES = ("captions", "retrievals", "renders", "judgements", "saliency")


@pytest.fixture(scope="module")
def page(template: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Document:
    root = tmp_path_factory.mktemp("page")
    with contextlib.chdir(root):
        return read_report(copy_study(template, Path()))


def test_sections_stand_in_order_and_are_reached_from_the_navigation(page: Document) -> None:
    assert [section.attributes["id"] for section in page.all("section")] == ANCHORS
    links = [e.attributes["href"] for e in page.all("a") if "nav" in e.path]
    assert links == [f"#{anchor}" for anchor in ANCHORS]


def test_no_two_sections_use_the_same_name(artifacts: Artifacts) -> None:
    study = load(artifacts)
    selection = Selection(**PARAMS)
    shown = Shown(study, draw_sample(study, selection.max_trials, selection.seed), selection)
    names = [name for section in SECTIONS for name in section.content(shown)]
    assert len(names) == len(set(names))


def test_ids_are_unique_and_every_reference_has_its_target(page: Document) -> None:
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for name in ("aria-labelledby", "for"):
            if name in element.attributes:
                assert element.attributes[name] in ids
        href = element.attributes.get("href") or ""
        assert not href.startswith("#") or href[1:] in ids


def test_headings_begin_with_one_h1_and_skip_no_level(page: Document) -> None:
    levels = [int(e.tag[1]) for e in page.elements if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_picture_is_described_and_every_control_labelled(page: Document) -> None:
    assert page.all("img")
    assert all(image.attributes.get("alt") for image in page.all("img"))
    for drawing in page.all("svg"):
        hidden = drawing.attributes.get("aria-hidden") == "true" or "ul" in drawing.path
        assert hidden or drawing.attributes.get("aria-label")
    labels = {label.attributes["for"] for label in page.all("label")}
    controls = page.all("input") + page.all("select")
    assert controls
    assert {control.attributes["id"] for control in controls} == labels


def test_the_page_is_one_file(artifacts: Artifacts) -> None:
    source = write_report(artifacts)
    for element in Document(source).elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = element.attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (element.tag, value)
    assert not re.search(r"https?://|url\(|@import|<link", source)


def test_the_page_names_no_absolute_path(artifacts: Artifacts, tmp_path: Path) -> None:
    assert str(tmp_path) not in write_report(artifacts)


def test_texts_from_tables_stay_text(artifacts: Artifacts) -> None:
    attack = '<script>alert(\'x\')</script><img src=x onerror="alert(1)"> & "quoted"'
    for name, column in (("captions", "text"), ("renders", "prompt"), ("trials", "concept")):
        rows = get(artifacts, name)
        put(artifacts, name, [row | {column: attack} for row in rows])
    page = read_report(artifacts)
    scripts = [e for e in page.all("script") if e.attributes.get("type") != "application/json"]
    assert len(scripts) == 1
    assert page.all("script")[-1].text == scripts[0].text
    assert not [e for e in page.elements if "onerror" in e.attributes]
    index = json.loads(page.one("script", id="trials").text)
    assert attack in index["texts"]
    assert {trial["concept"] for trial in index["trials"]} == {attack}


def test_the_csv_of_the_scores_is_the_metrics_file(page: Document, artifacts: Artifacts) -> None:
    for name, path in (
        ("scores.csv", artifacts.evaluate_metrics),
        ("maps.csv", artifacts.explain_metrics),
        ("controls.csv", artifacts.audit_metrics),
    ):
        rows = list(csv.DictReader(io.StringIO(page.download(name))))
        metrics = json.loads(path.read_text())
        assert [row["name"] for row in rows] == list(metrics)
        for row in rows:
            for field, value in metrics[row["name"]].items():
                assert row[field] == ("" if value is None else str(value))


def test_other_tables_download_as_they_are(page: Document, artifacts: Artifacts) -> None:
    quality = load(artifacts).quality
    assert page.download("quality.csv") == quality.to_csv(index=False, lineterminator="\n")
    log = artifacts.training_log.read_text()
    assert len(page.download("training_log.csv").splitlines()) == len(log.splitlines())


def test_every_score_and_verdict_is_shown(page: Document, artifacts: Artifacts) -> None:
    study = load(artifacts)
    shown = {code.text for code in page.all("code")}
    assert set(study.evaluate) | set(study.explain) <= shown
    trust = page.one("section", id="trust").text
    assert all(score.verdict in trust for score in study.audit.values())


def test_trials_are_data_and_each_picture_stands_once(page: Document, artifacts: Artifacts) -> None:
    index = json.loads(page.one("script", id="trials").text)
    assert len(index["trials"]) == 20
    assert page.one("ul", id="cards").attributes["data-page-size"] == "6"
    thumbnails = json.loads(page.one("script", id="thumbnails-0").text)
    assert all(uri.startswith("data:image/webp;base64,") for uri in thumbnails)
    shown = {trial["shown"] for trial in index["trials"]}
    assert len(shown) == len({trial["shown"] for trial in index["trials"]}) < 20
    assert len(index["texts"]) == len(set(index["texts"]))
    first = index["trials"][0]
    card = next(
        c
        for c in draw_sample(load(artifacts), 20, PARAMS["seed"]).cards
        if c.trial_id == first["id"]
    )
    assert [index["texts"][row[1]] for row in first["captions"]] == [
        pair.retrieved for pair in card.captions
    ]
    assert [row[4] for row in first["captions"]] == [pair.rank for pair in card.captions]


@pytest.mark.parametrize(
    ("empty", "sentence"),
    [
        (("renders", "judgements"), "No pictures were rendered for this study"),
        (
            ("retrievals", "renders", "judgements"),
            "No held-out trial has captions or pictures yet.",
        ),
        (OPTIONAL_TABLES, "No captions were written for this study."),
    ],
)
def test_missing_tables_are_said_in_a_sentence(
    artifacts: Artifacts, empty: tuple[str, ...], sentence: str
) -> None:
    for name in empty:
        put(artifacts, name, [])
    page = read_report(artifacts)
    assert any(sentence in e.text for e in page.all("p", **{"class": "missing"}))
    assert [section.attributes["id"] for section in page.all("section")] == ANCHORS


def test_missing_scores_and_figures_are_said_in_a_sentence(artifacts: Artifacts) -> None:
    for name in ("check_captions", "evaluate", "explain", "audit"):
        write_scores(getattr(artifacts, f"{name}_metrics"), {})
        for plot in getattr(artifacts, f"{name}_plots").iterdir():
            plot.unlink()
    artifacts.training_log.write_text("epoch,train_loss\n0,1.5\n")
    missing = [
        e.text
        for e in read_report(artifacts, page_size=20).all("p", **{"class": "missing"})
        if "hidden" not in e.attributes
    ]
    assert missing == [
        "The audit left no controls for this study, so the scores below stand unchecked.",
        "Accuracy was not measured for this study.",
        "No scores were computed for this study.",
        "No example of a failure signature was found.",
        "The captions of this study were not checked.",
        "No scalp maps were drawn for this study.",
        "No scores of the maps were computed for this study.",
        "The training log holds too few epochs for a curve.",
    ]


def test_every_score_of_a_block_design_bears_its_mark(
    template: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    artifacts = copy_study(template, Path())
    mixed = read_report(artifacts)
    assert "block design" not in marks_of(mixed)
    concepts = sorted({row["concept"] for row in get(artifacts, "trials")})
    blocked = [r | {"block": concepts.index(r["concept"])} for r in get(artifacts, "trials")]
    put(artifacts, "trials", blocked)
    page = read_report(artifacts)
    rows = list(csv.DictReader(io.StringIO(page.download("scores.csv"))))
    assert {row["caution"] for row in rows} == {"block design"}
    n_by_subject = len(subject_rows(load(artifacts)))
    assert n_by_subject == 4  # three subjects, and all of them
    assert marks_of(page).count("block design") == len(rows) + n_by_subject + len(["first tile"])


def marks_of(page: Document) -> list[str]:
    return [element.text for element in page.all("span", **{"class": "tag"})]
