"""The command line says what is wrong in one sentence and exits with 1."""

import pytest

from tasks.__main__ import main


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


def test_trace_without_trials_says_what_to_do(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["trace", "sub-01_ses-01_trial-0000"]) == 1
    assert "Run `dvc repro data/interim/trials.parquet` to make it anew" in capsys.readouterr().err
