"""`percept params` says of every param what it means, may be and is."""

import pytest
import yaml

from tasks import STAGES
from tasks.__main__ import main
from tasks.wiring.presets import leaves, merged, preset_names
from tasks.wiring.reference import UNITS, Param, reference
from tests.conftest import REPOSITORY, preset

FOLDER = REPOSITORY / "presets"


@pytest.fixture(scope="module")
def params() -> list[Param]:
    return reference(STAGES, FOLDER)


def test_every_param_has_a_meaning(params):
    for param in params:
        words = [word.strip(",;:") for word in param.meaning.split()]
        assert [word for word in words if word not in UNITS.values()], param
        assert param.values, param


@pytest.mark.parametrize("name", preset_names(FOLDER))
def test_every_param_of_every_preset_is_in_it(params, name):
    known = {param.name for param in params}
    for key in leaves(preset(name)):
        parts = key.split(".")
        assert {".".join(parts[:n]) for n in range(2, len(parts) + 1)} & known, key


def test_every_param_is_named_once_for_each_kind_of_its_section(params):
    names = [(param.name, param.tag) for param in params]
    assert len(names) == len(set(names))
    shared = {
        "evaluate.model",
        "check_captions.model",
        "check_captions.precision",
        "check_captions.max_tokens",
    }
    assert not {name for name, _ in names} & shared


def test_units_bounds_choices_and_presets(params):
    said = {(p.name, p.tag): (p.meaning, p.values, p.presets) for p in params}
    meaning, values, presets = said["train.optimiser.learning_rate", None]
    assert (meaning, values) == ("peak of the schedule", "number above 0")
    assert presets["tiny"] == 0.001
    assert presets["things_eeg2_nice"] == 0.0002
    assert "things_eeg2" not in presets
    (dropout,) = [kind for name, kind in said if name == "train.architecture.dropout"]
    assert dropout[1].startswith("paper_transformer, nice, atm, eeg_project")
    assert said["train.architecture.dropout", dropout][2]["things_eeg2_ubp"] == 0.3
    assert said["preprocess.baseline_s", None][1] == "null or list of 2: number (s)"
    assert said["train.caption_kinds", None][1] == "all or list of: text"
    assert said["caption.max_tokens", None][1] == "whole number above 2"
    assert said["render.n_samples", None][1] == "whole number above 0"
    eegcvpr, imagenet = (("ingest.source.name", name) for name in ("eegcvpr", "eeg_imagenet"))
    assert said["ingest.source.unit", eegcvpr] == (
        "or uV; of the numbers in the file",
        "one of uV, standardised",
        {"eegcvpr": "standardised"},
    )
    assert said["ingest.source.unit", imagenet][1:] == (
        "one of V, uV, standardised",
        {"eeg_imagenet": "V"},
    )
    concept = ("preprocess.split.strategy", "concept")
    assert said["preprocess.split.validation_fraction", concept] == (
        "of the concepts",
        "number at least 0 and below 1",
        {},
    )
    factors = ("simulate.brain.kind", "factors")
    assert said["simulate.brain.strength_uv", factors][1] == "for each name: number at least 0 (uV)"


def test_the_command_prints_what_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    file = tmp_path / "mine.yaml"
    file.write_text(merged("things_eeg2", FOLDER))
    assert main(["params", "preprocess.window.onset*", "--params", str(file)]) == 0
    assert capsys.readouterr().out == (
        "preprocess.window.onset_step_s: 0.001\n"
        "    s; onsets are rounded to multiples of this, whatever the rate\n"
        "    number (s)\n"
        "    presets: things_eeg2 0.001\n"
    )
    assert main(["params", "preprocess.split.validation_fraction", "--params", str(file)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith("validation_fraction: (not in use)  [preprocess.split.strategy: image]")
    official = next(line for line in out if line.endswith("strategy: official]"))
    assert official.startswith("preprocess.split.validation_fraction: 0.05  [")
    assert main(["params", "*.ks"]) == 0
    assert capsys.readouterr().out.startswith("evaluate.ks: [1, 5, 10]\n")


def test_no_such_param_is_refused(monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    assert main(["params", "train.learning_rat_"]) == 1
    assert capsys.readouterr().err == (
        "percept: NAME-PATTERN must be part of the name of a param; 'train.learning_rat_' is part of "
        "none. `percept params` prints them all.\n"
    )


def test_the_base_says_nothing_that_depends_on_its_value():
    """A comment that begins with "or" names the choices less the present one: another value makes it wrong."""
    lines = (FOLDER / "base.yaml").read_text().splitlines()
    assert not [line for line in lines if "# or " in line]
    assert yaml.safe_load("\n".join(lines))
