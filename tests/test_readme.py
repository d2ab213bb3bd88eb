"""The README shows what the committed metrics say, and names only what exists."""

import re

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import read_scores
from tasks.commands.showcase import END, START, score_table


def test_table_is_the_committed_metrics(repository):
    text = (repository / "README.md").read_text()
    shown = text.split(START)[1].split(END)[0].strip()
    assert shown == score_table(Artifacts(repository)), "run `percept showcase`"
    assert shown.count("\n") >= 8


def test_every_file_that_is_named_exists(repository):
    text = (repository / "README.md").read_text()
    made_by_a_run = {"reports/index.html"}
    named = set(
        re.findall(r"`((?:tasks|flows|data/models|docs|presets|params)[\w/.]*\.?\w*)`", text)
    )
    named |= set(re.findall(r"\]\(([\w/.]+)\)", text))
    missing = {name for name in named - made_by_a_run if not (repository / name).exists()}
    assert not missing


def test_every_preset_is_in_the_readme(repository):
    text = (repository / "README.md").read_text()
    for path in (repository / "presets").glob("*.yaml"):
        assert f"| `{path.stem}` |" in text


def test_likeness_to_training_is_what_the_audit_says(repository):
    text = " ".join((repository / "README.md").read_text().split())
    found = read_scores(Artifacts(repository).audit_metrics)["picture_similarity"].verdict
    least, most = re.findall(r"0\.\d{3}", found)[:2]
    assert (
        f"named in {least} of the trials with pictures least like any training picture, in {most} of those "
        "most like one"
    ) in text
