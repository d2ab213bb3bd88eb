"""Encoders on disk."""

import json

import numpy as np
import pytest
import torch

from tasks.encoder.checkpoints import DESCRIPTION, WEIGHTS, EncoderError, load_encoder, save_encoder
from tasks.encoder.st_transformer import Sizes, STTransformer

SIZES = {
    "n_groups": 2,
    "n_channels": 3,
    "n_times": 10,
    "n_kinds": 2,
    "dim": 4,
    "n_virtual": 2,
    "patch_samples": 4,
    "n_latents": 3,
    "width": 4,
    "n_layers": 1,
    "n_attention_heads": 2,
    "head_width": 4,
    "n_slots": 3,
    "dropout": 0.5,
}


@pytest.fixture
def module():
    torch.manual_seed(0)
    module = STTransformer(Sizes(**SIZES)).eval()
    for buffer in (module.spatial, module.temporal, module.projection, module.heads.values):
        buffer.normal_()
    torch.nn.init.normal_(module.heads.keys)
    return module


@pytest.fixture
def folder(tmp_path, module):
    description = {
        "architecture": "st_transformer",
        "sizes": SIZES,
        "kinds": ["a", "b"],
        "channels": ["E1", "E2", "E3"],
        "subjects": ["sub-01", "sub-02"],
        "per_subject": True,
        "n_times": 10,
    }
    save_encoder(tmp_path, module, description)
    return tmp_path


def test_what_was_saved_is_loaded(folder, module):
    encoder = load_encoder(folder)
    assert (encoder.kinds, encoder.channels) == (("a", "b"), ("E1", "E2", "E3"))
    eeg = np.random.default_rng(0).normal(size=(300, 3, 10)).astype(np.float32)
    subjects = ["sub-02", "sub-01"] * 150
    expected = module(torch.from_numpy(eeg), torch.tensor([1, 0] * 150)).detach().numpy()
    np.testing.assert_allclose(encoder.predict(eeg, subjects), expected, atol=1e-5)
    assert not np.allclose(encoder.predict(eeg, subjects[::-1]), expected, atol=1e-2)


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(EncoderError) as error:
        load_encoder(folder)
    assert str(error.value) == (
        f"{folder / name} must exist; it does not. Run `dvc repro --force train` to make it anew."
    )


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_a_truncated_file_is_an_error(folder, name):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EncoderError, match=r"must be whole; one cannot be read"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": "lstm"},
            "must name an architecture among st_transformer, linear, ridge, xdawn_lda, nice, atm, eegnet, eegconformer, atcnet, shallow, deep4; found 'lstm'",
        ),
        ({"sizes": SIZES | {"width": 6}}, "of the sizes in encoder.json; it does not."),
    ],
)
def test_another_architecture_is_refused(folder, changes, message):
    description = json.loads((folder / DESCRIPTION).read_text()) | changes
    (folder / DESCRIPTION).write_text(json.dumps(description))
    with pytest.raises(EncoderError) as error:
        load_encoder(folder)
    assert message in str(error.value)


def test_what_it_was_not_trained_for_is_refused(folder):
    encoder = load_encoder(folder)
    with pytest.raises(EncoderError, match=r"found 4 and 10\."):
        encoder.predict(np.zeros((1, 4, 10)), ["sub-01"])
    with pytest.raises(EncoderError, match=r"sub-01, sub-02; sub-03 is unknown to it"):
        encoder.predict(np.zeros((1, 3, 10)), ["sub-03"])
    encoder.require_channels(["E1", "E2", "E3"])
    with pytest.raises(EncoderError, match=r"missing: E3, unexpected: E4"):
        encoder.require_channels(["E1", "E2", "E4"])
    with pytest.raises(EncoderError, match=r"but the order differs"):
        encoder.require_channels(["E2", "E1", "E3"])
