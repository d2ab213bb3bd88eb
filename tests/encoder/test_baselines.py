"""Every baseline through the same harness."""

import json
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from tasks.encoder.architectures import ARCHITECTURES
from tasks.encoder.baselines.network import BACKBONES, NetworkEncoder, NetworkSizes
from tasks.encoder.baselines.nice import TSConv
from tasks.encoder.baselines.shapes import EpochShape
from tasks.encoder.checkpoints import load_encoder
from tasks.encoder.params import Architecture
from tasks.train import train
from tests.encoder.small_study import CONCEPTS, changed, make_small_study

BASELINES = [name for name in ARCHITECTURES if name != "st_transformer"]


@pytest.fixture(autouse=True)
def _one_thread(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    n_threads = torch.get_num_threads()
    monkeypatch.setenv("PERCEPT_THREADS", "1")
    yield
    torch.set_num_threads(n_threads)


def test_params_and_registry_name_the_same_architectures():
    kinds = get_args(get_args(Architecture)[0])
    named = [name for kind in kinds for name in get_args(kind.model_fields["name"].annotation)]
    assert sorted(named) == sorted(ARCHITECTURES)


@pytest.mark.parametrize("architecture", BASELINES)
def test_it_learns_is_saved_and_decodes_held_out_pictures(architecture, tmp_path):
    study = make_small_study()
    params = changed(architecture=architecture, max_epochs=12, patience=12, learning_rate=0.02)
    encoder, log = tmp_path / "encoder", tmp_path / "log.csv"
    train(*study.write(tmp_path), encoder=encoder, training_log=log, params=params)

    assert json.loads((encoder / "encoder.json").read_text())["architecture"] == architecture
    test = study.trials[study.trials["split"] == "test"]
    eeg = np.stack(
        [study.eeg[s][o] for s, o in zip(test.subject, test.presentation_order, strict=True)]
    )
    loaded = load_encoder(encoder)
    predicted = loaded.predict(eeg, test["subject"].tolist())
    np.testing.assert_allclose(np.linalg.norm(predicted, axis=2), 1, atol=1e-5)
    one_by_one = loaded.predict(eeg[:1], test["subject"].tolist()[:1])
    np.testing.assert_allclose(one_by_one, predicted[:1], atol=1e-5)
    snaps = study.captions["kind"] == "ObjectSnap"
    words = dict(zip(study.captions["text"][snaps], study.text_vectors[snaps], strict=True))
    nearest = (predicted[:, 0] @ np.stack([words[c] for c in CONCEPTS]).T).argmax(axis=1)
    assert np.mean(np.array(CONCEPTS)[nearest] == test["concept"]) > 0.6


def test_nice_is_the_published_order_of_convolution_and_mean():
    torch.manual_seed(0)
    ours = TSConv(EpochShape(n_channels=5, n_times=100, sfreq_hz=250.0, n_groups=1)).eval()
    temporal, spatial, out = (
        nn.Conv2d(1, 40, (1, 25)),
        nn.Conv2d(40, 40, (5, 1)),
        nn.Conv2d(40, 40, 1),
    )
    published = nn.Sequential(
        temporal,
        nn.AvgPool2d((1, 51), (1, 5)),
        nn.BatchNorm2d(40),
        nn.ELU(),
        spatial,
        nn.BatchNorm2d(40),
        nn.ELU(),
        out,
    ).eval()
    for conv, linear in ((temporal, ours.temporal), (out, ours.out)):
        conv.weight.data.copy_(linear.weight.view_as(conv.weight))
        conv.bias.data.copy_(linear.bias)
    by_channel = ours.spatial.weight.view(40, 5, 40).permute(0, 2, 1)[..., None]
    spatial.weight.data.copy_(by_channel)
    spatial.bias.data.copy_(ours.spatial.bias)
    eeg = torch.randn(3, 5, 100)
    expected = published(eeg[:, None])[:, :, 0].transpose(1, 2)
    torch.testing.assert_close(ours(eeg, torch.zeros(3, dtype=torch.int64)), expected)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_networks_read_other_shapes_and_subjects_do_not_mix(backbone):
    torch.manual_seed(0)
    sizes = NetworkSizes(backbone, 2, 17, 64, 128.0, 3, 6, 0.5)
    module = NetworkEncoder(sizes).eval()
    module.scale[1] = 10.0
    eeg = torch.randn(4, 17, 64)
    first, second = (module(eeg, torch.full((4,), group)) for group in (0, 1))
    assert first.shape == (4, 3, 6)
    assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("still", [[3], list(range(17))])
def test_channels_that_stand_still_in_one_subject_spoil_no_vector(backbone, still):
    eeg = np.random.default_rng(0).normal(size=(8, 17, 100)).astype(np.float32)
    groups = np.repeat([0, 1], 4)
    eeg[4:, still] = 7.0
    module = NetworkEncoder(NetworkSizes(backbone, 2, 17, 100, 100.0, 2, 8, 0.0)).eval()
    module.standardise_by(eeg, groups)
    with torch.no_grad():
        assert module(torch.from_numpy(eeg), torch.from_numpy(groups)).isfinite().all()
