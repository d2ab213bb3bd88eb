"""The example of docs/add_a_source.md works as it is printed."""

import re
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

from tasks.eeg.study import check_events, check_images, examine_recording, missing_images
from tasks.wiring.presets import splice
from tests.conftest import REPOSITORY
from tests.eeg.studies import save_picture

PAGE = REPOSITORY / "docs" / "add_a_source.md"
CHANNELS = ("Fz", "Cz", "Pz", "Oz")


@pytest.fixture
def example() -> types.ModuleType:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 50
    module = types.ModuleType("npz")
    exec(compile(code[1], str(PAGE), "exec"), module.__dict__)
    return module


def test_the_example_reads_a_study_that_ingest_accepts(
    example: types.ModuleType, tmp_path: Path
) -> None:
    for concept, name in (("cat", "felix"), ("dog", "rex")):
        (tmp_path / "images" / concept).mkdir(parents=True)
        save_picture(tmp_path / "images" / concept / f"{name}.jpg")
    eeg = np.random.default_rng(0).normal(scale=20, size=(4, 1000))
    shown = {"onset_s": np.array([0.5, 1.5]), "image": np.array(["rex", "felix"])}
    np.savez(tmp_path / "sub-01_ses-01.npz", eeg=eeg, **shown)

    params = example.NpzParams(name="npz", folder="npz", channels=CHANNELS, sfreq_hz=250.0)
    source = example.NpzSource(tmp_path, params)
    (recording,) = source.recordings()
    facts = examine_recording(source, recording)
    assert (facts.channels, facts.sfreq_hz, facts.duration_s) == (CHANNELS, 250.0, 4.0)
    events = {recording: source.events(recording)}
    assert [event.stimulus_id for event in events[recording]] == ["rex", "felix"]
    check_events(events, source.stimuli(), [facts])
    check_images(events, missing_images(source.stimuli()))
    np.testing.assert_allclose(source.read(recording).get_data(), eeg * 1e-6)


def test_the_preset_of_the_example_names_params_and_tells_the_source_what_it_needs(
    example: types.ModuleType,
) -> None:
    overlay = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert overlay is not None
    base = (REPOSITORY / "presets/base.yaml").read_text()
    params = yaml.safe_load(splice(base, textwrap.dedent("   " + overlay[1]), Path("base.yaml")))
    assert example.NpzParams.model_validate(params["ingest"]["source"]).channels == CHANNELS
    assert params["simulate"]["schedule"]["design"] == "none"
    assert params["caption"]["backend"] == "openai"
