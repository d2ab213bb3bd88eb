"""`dvc exp run -S` can change every param."""

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from tasks.wiring.presets import leaves


@pytest.fixture
def params(tmp_path, repository):
    file = tmp_path / "params.yaml"
    file.write_text((repository / "params.yaml").read_text())
    return file


def test_every_param_is_set_by_its_dotted_name(params):
    before = leaves(yaml.safe_load(params.read_text()))
    apply_overrides(params, [f"{name}=changed_{k}" for k, name in enumerate(before)])
    after = leaves(yaml.safe_load(params.read_text()))
    assert after == {name: f"changed_{k}" for k, name in enumerate(before)}


def test_numbers_lists_and_null_keep_their_types(params):
    overrides = [
        "train.optimiser.learning_rate=0.0005",
        "preprocess.filters.notch_hz=[60.0,120.0]",
        "preprocess.filters.high_pass_hz=null",
        "render.compile=true",
    ]
    apply_overrides(params, overrides)
    after = leaves(yaml.safe_load(params.read_text()))
    assert after["train.optimiser.learning_rate"] == 0.0005
    assert after["preprocess.filters.notch_hz"] == [60.0, 120.0]
    assert after["preprocess.filters.high_pass_hz"] is None
    assert after["render.compile"] is True
