"""The README shows what the committed metrics say, and names only what exists."""

import re
import shlex
import shutil

import pytest
import yaml

from tasks import STAGES
from tasks.__main__ import make_parser
from tasks.artifacts.agreement import tolerance
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import read_scores, write_scores
from tasks.commands.showcase import END, START, disagreements, score_table
from tasks.wiring.presets import leaves, merged, preset_names


def shown_table(repository):
    return (repository / "README.md").read_text().split(START)[1].split(END)[0].strip()


def test_table_is_the_committed_metrics(repository):
    shown = shown_table(repository)
    assert not disagreements(shown, Artifacts(repository)), "run `percept showcase`"
    assert shown.count("\n") == 6


@pytest.fixture
def run(repository, tmp_path):
    """Return a function that changes a number of a score in a copy of the committed metrics."""
    artifacts = Artifacts(tmp_path)
    artifacts.evaluate_metrics.parent.mkdir(parents=True)
    for name in ("evaluate_metrics", "audit_metrics"):
        shutil.copy(getattr(Artifacts(repository), name), getattr(artifacts, name))

    def change(score, **numbers):
        scores = read_scores(artifacts.evaluate_metrics)
        write_scores(
            artifacts.evaluate_metrics,
            scores | {score: scores[score].model_copy(update=numbers)},
        )
        return artifacts

    return change


NAMED = "concept_recall_at_1_of_40"


@pytest.mark.parametrize("part", ["value", "low", "high", "chance", "ceiling"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_another_processor_agrees_with_the_table_and_a_changed_score_does_not(
    repository, run, part, sign
):
    shown = score_table(Artifacts(repository))
    score = read_scores(Artifacts(repository).evaluate_metrics)[NAMED]
    number, allowed = getattr(score, part), tolerance(score, part)
    assert not disagreements(shown, run(NAMED, **{part: number + sign * 0.6 * allowed}))
    (line,) = disagreements(shown, run(NAMED, **{part: number + sign * (3 * allowed + 0.001)}))
    assert f"`{NAMED}`" in line


def test_a_row_that_differs_is_no_rounding(repository, run):
    shown = score_table(Artifacts(repository))
    assert len(disagreements(shown, run(NAMED, ceiling=None))) == 1
    assert disagreements(shown.rsplit("\n", 1)[0], Artifacts(repository))
    assert (
        len(
            disagreements(
                shown.replace("Names the object", "Names the colour"), Artifacts(repository)
            )
        )
        == 1
    )


def test_every_file_that_is_named_exists(repository):
    text = (repository / "README.md").read_text()
    made_by_a_run = {"reports/index.html"}
    named = set(
        re.findall(r"`((?:tasks|flows|data/models|docs|presets|params)[\w/.]*\.?\w*)`", text)
    )
    named |= set(re.findall(r"\]\(([\w/.]+)\)", text))
    missing = {name for name in named - made_by_a_run if not (repository / name).exists()}
    assert not missing


def test_every_preset_is_on_its_page(repository):
    text = (repository / "docs/presets.md").read_text()
    table = text.split("| preset | study |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.M)) == preset_names(
        repository / "presets"
    )


def test_likeness_to_training_is_what_the_audit_says(repository):
    text = " ".join((repository / "README.md").read_text().split())
    score = read_scores(Artifacts(repository).audit_metrics)["picture_similarity"]
    found = re.search(
        r"named in (0\.\d{3}) of the trials with pictures least like any training picture, in (0\.\d{3}) of "
        "those most like one",
        text,
    )
    shown = [float(number) for number in found.groups()]
    measured = [float(number) for number in re.findall(r"0\.\d{3}", score.verdict)[:2]]
    assert shown == pytest.approx(measured, abs=tolerance(score) + 0.001)


def test_every_deployment_that_is_named_exists(repository):
    served = {"reproduce", "stage-<stage>", *(f"stage-{name}" for name in STAGES)}
    pages = [repository / "README.md", *(repository / "docs").rglob("*.md")]
    named = {n for page in pages for n in re.findall(r"`percept/([^`]+)`", page.read_text())}
    assert "reproduce" in named
    assert named <= served
    source = (repository / "flows/serve.py").read_text()
    assert 'f"stage-{name}"' in source
    assert 'to_deployment("reproduce"' in source


def test_stages_that_are_said_to_compute_on_a_gpu_ask_for_the_device(repository):
    """That they use it is tested on a GPU (tests/encoder/test_gpu.py) and with a stand-in (test_train.py)."""
    page = (repository / "docs/environment.md").read_text()
    (row,) = re.findall(r"`PERCEPT_DEVICE` \| (.*?):", page)
    asking = {"embed": "clip/model", "evaluate": "clip/model", "render": "diffusion/renderer"}
    asking |= {"train": "encoder/training"}
    asking |= dict.fromkeys(["retrieve", "explain", "audit"], "encoder/checkpoints")
    assert set(re.findall(r"`(\w+)`", row)) == set(asking)
    for module in asking.values():
        assert "compute_device()" in (repository / f"tasks/{module}.py").read_text()


def commands_of(page):
    """Return the lines of the blocks of shell of a page, without comments."""
    blocks = re.findall(r"```\n(.*?)```", page.read_text(), re.S)
    lines = (line.partition("#")[0].strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line.startswith(("make ", "percept ", "dvc "))]


def test_every_command_of_the_readme_would_be_understood(repository):
    targets = re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(), re.M)
    params = leaves(yaml.safe_load((repository / "params.yaml").read_text()))
    commands = commands_of(repository / "README.md")
    assert {command.split()[0] for command in commands} == {"make", "percept", "dvc"}
    for program, *words in map(shlex.split, commands):
        if program == "make":
            assert set(words) <= set(targets)
        elif program == "percept":
            assert make_parser().parse_args(words).command
            assert words[0] != "preset" or words[1] in preset_names(repository / "presets")
        else:
            changed = [word.partition("=")[0] for word in words if "=" in word]
            assert set(changed) <= set(params)
            assert words[:2] in (["exp", "run"], ["exp", "show"]) or words == ["repro"]


def test_every_score_of_the_table_falls_to_guessing_with_the_eeg_of_another_trial(repository):
    assert "With the EEG of another trial each of these scores falls to guessing." in (
        repository / "README.md"
    ).read_text().replace("\n", " ")
    scores = read_scores(Artifacts(repository).evaluate_metrics)
    names = re.findall(r"`(\w+)` \|", shown_table(repository))
    assert len(names) == 5
    for name in names:
        assert scores[name].control < scores[name].chance + 0.02 < scores[name].low, name


def test_what_captions_cost_at_most_is_what_the_preset_says(repository):
    (said,) = re.findall(r"for (\d+) dollars at most", (repository / "README.md").read_text())
    params = yaml.safe_load(merged("bids", repository / "presets"))
    assert params["caption"]["openai"]["max_cost_usd"] == float(said)


def test_which_objects_a_row_asks_about_is_as_said(repository):
    assert (
        "The objects of rows 1 and 4 were, those of row 3 were not; rows 2 and 5 ask about both."
        in (repository / "README.md").read_text().replace("\n", " ")
    )
    scores = read_scores(Artifacts(repository).evaluate_metrics)
    asked = [scores[name].n for name in re.findall(r"`(\w+)` \|", shown_table(repository))]
    assert asked[1] == asked[0] + asked[2]
    assert asked[4] > asked[3]
