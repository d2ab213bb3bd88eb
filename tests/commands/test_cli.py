"""The command line says what is wrong in one sentence and exits with 1."""

import re
import shlex

import pytest

from tasks import STAGES
from tasks.__main__ import COMMANDS, EXIT_CODES, main, make_parser, parsers
from tasks.commands.run import _headline
from tasks.wiring.contract import read_params


def test_unknown_preset(capsys, tmp_path, monkeypatch, repository):
    monkeypatch.chdir(repository)
    before = (repository / "params.yaml").read_text()
    assert main(["preset", "no_such"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("percept: A preset must be one of ")
    assert "simulated" in error
    assert "'no_such' is none" in error
    assert (repository / "params.yaml").read_text() == before


def test_unknown_stage_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["run", "nothing"])
    assert stopped.value.code == 2
    assert "simulate" in capsys.readouterr().err


def test_run_without_params_says_what_to_do(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert main(["run", "simulate"]) == 1
    assert (
        "params.yaml must exist; it does not. `percept preset simulated --params params.yaml` writes it."
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "words", [["params", "embed.model"], ["doctor"], ["run", "simulate"], ["captions", "dry-run"]]
)
def test_the_command_that_a_missing_params_file_recommends_writes_that_file(
    words, capsys, tmp_path, monkeypatch, repository
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "presets").symlink_to(repository / "presets")
    assert main([*words, "--params", "my study.yaml"]) == 1
    said = capsys.readouterr().err
    command = re.search("`percept (.*)` writes it", said)[1]
    assert main(shlex.split(command)) == 0
    assert "Next: percept doctor --params 'my study.yaml'" in capsys.readouterr().out
    assert [path.name for path in tmp_path.glob("*.yaml")] == ["my study.yaml"]
    assert read_params(tmp_path / "my study.yaml")["simulate"]


def test_trace_without_trials_says_what_to_do(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["trace", "sub-01_ses-01_trial-0000"]) == 1
    assert "Run `dvc repro data/interim/trials.parquet` to make it anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["docter"], "doctor"),
        (["run", "preproces"], "preprocess"),
        (["doctor", "--parms", "x"], "--params"),
    ],
)
def test_a_word_that_is_not_known_is_answered_with_the_nearest_one(words, meant, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert f"Did you mean {meant}?" in capsys.readouterr().err


def test_every_command_has_an_example_that_can_be_parsed_and_every_argument_a_help():
    parser = make_parser()
    every = [
        each for each in parsers(parser) if each.epilog and each.epilog.startswith("example: ")
    ]
    assert len(every) == len(COMMANDS)
    for each in every:
        words = shlex.split(each.epilog.removeprefix("example: "))
        assert parser.parse_args(words[1:]).command
        assert each.prog == " ".join(words[:2])
    without = [
        (each.prog, action.dest)
        for each in parsers(parser)
        for action in each._actions
        if not action.help and action.metavar not in ("COMMAND", "STEP", "ACTION")
    ]
    assert without == []


def test_version_exit_codes_and_completion_are_printed(capsys):
    for words in (["--version"], ["--help"], ["--print-completion", "bash"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert re.search(r"^percept \d", said)
    assert " ".join(EXIT_CODES.split()) in " ".join(said.split())
    assert all(name.replace("_", "-") in said for name in COMMANDS)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_announced_by_its_place_and_what_it_does(stage):
    headline = _headline(stage)
    assert headline.startswith(f"[{STAGES.index(stage) + 1} of {len(STAGES)}] {stage}: ")
    assert len(headline.split(": ", 1)[1].split()) > 3
    assert not headline.endswith(".")
