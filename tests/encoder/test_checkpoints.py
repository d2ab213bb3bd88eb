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


REMEDY = "Run `dvc repro --force train` to make it anew."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": "lstm"},
            "{folder}/encoder.json must name an architecture among st_transformer, linear, ridge, "
            "xdawn_lda, paper_transformer, nice, atm, eeg_project, channelnet, eegnet, eegconformer, "
            "atcnet, shallow, deep4; found 'lstm'.",
        ),
        (
            {"architecture": "ridge"},
            "{folder}/encoder.json must hold the sizes of a ridge; those in it (dim, dropout, "
            "head_width, n_attention_heads, n_channels, n_groups, n_kinds, n_latents, n_layers, n_slots, "
            "n_times, n_virtual, patch_samples, width) are of another architecture.",
        ),
        (
            {"sizes": SIZES | {"width": 6}},
            "{folder}/encoder.safetensors must hold the weights of a st_transformer of the sizes in "
            "encoder.json; it does not.",
        ),
        (
            {
                "architecture": "ridge",
                "sizes": {
                    "n_groups": 1,
                    "n_channels": 3,
                    "n_times": 10,
                    "bin_samples": 2,
                    "n_kinds": 2,
                    "dim": 4,
                },
            },
            "{folder}/encoder.safetensors must hold the weights of a ridge of the sizes in "
            "encoder.json; it does not.",
        ),
    ],
)
def test_another_architecture_is_refused(folder, changes, message):
    description = json.loads((folder / DESCRIPTION).read_text()) | changes
    (folder / DESCRIPTION).write_text(json.dumps(description))
    with pytest.raises(EncoderError) as error:
        load_encoder(folder)
    assert str(error.value) == f"{message.format(folder=folder)} {REMEDY}"


@pytest.mark.parametrize(
    ("channels", "found"),
    [
        (["E1", "E2", "E4"], "missing: E3, unexpected: E4"),
        (["E1", "E2"], "missing: E3, unexpected: none"),
        (["E2", "E1", "E3"], "missing: none, unexpected: none, but the order differs"),
    ],
)
def test_other_channels_are_refused(folder, channels, found):
    encoder = load_encoder(folder)
    encoder.require_channels(["E1", "E2", "E3"])
    with pytest.raises(EncoderError) as error:
        encoder.require_channels(channels)
    assert str(error.value) == (
        "Epochs must have the channels that the encoder was trained on, in their order; "
        f"{found}. Run `dvc repro train`."
    )


def test_what_it_was_not_trained_for_is_refused(folder):
    encoder = load_encoder(folder)
    with pytest.raises(EncoderError) as error:
        encoder.predict(np.zeros((1, 4, 10)), ["sub-01"])
    assert str(error.value) == (
        "Epochs must have 3 channels and 10 samples as in training; found 4 and 10. "
        "Use the same `preprocess` params as then, or run `dvc repro train`."
    )
    with pytest.raises(EncoderError) as error:
        encoder.predict(np.zeros((1, 3, 10)), ["sub-03"])
    assert str(error.value) == (
        "The encoder has filters for sub-01, sub-02; sub-03 is unknown to it. Train with this "
        "subject, or with train.per_subject: false."
    )


def test_an_encoder_of_some_channels_is_given_all_of_them(folder, module):
    description = json.loads((folder / DESCRIPTION).read_text())
    description |= {"channels": ["E1", "E2", "E3", "E4"], "decoded_channels": [0, 1, 3]}
    (folder / DESCRIPTION).write_text(json.dumps(description))
    eeg = np.random.default_rng(0).normal(size=(5, 4, 10)).astype(np.float32)
    chosen = torch.from_numpy(eeg[:, [0, 1, 3]])
    expected = module(chosen, torch.zeros(5, dtype=torch.int64)).detach().numpy()
    encoder = load_encoder(folder)
    np.testing.assert_allclose(encoder.predict(eeg, ["sub-01"] * 5), expected, atol=1e-5)


def test_prediction_takes_fewer_trials_at_once_where_memory_is_too_small(folder, monkeypatch):
    encoder = load_encoder(folder)
    eeg, subjects = np.random.default_rng(0).normal(size=(9, 3, 10)), ["sub-01"] * 9
    expected = encoder.predict(eeg, subjects)
    forward, sizes = type(encoder.module).forward, []

    def small(self, eeg, index):
        sizes.append(len(eeg))
        if len(eeg) > 2:
            raise torch.OutOfMemoryError
        return forward(self, eeg, index)

    monkeypatch.setattr(type(encoder.module), "forward", small)
    np.testing.assert_allclose(encoder.predict(eeg, subjects), expected, atol=1e-6)
    assert max(sizes[-5:]) <= 2
