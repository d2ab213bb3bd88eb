"""The presets with authors' names: their loss is the authors' formula, their layers have the authors' sizes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from tasks.encoder.baselines.network import NetworkEncoder, NetworkSizes, prepare_network
from tasks.encoder.dataset import POSTERIOR17, decoded_channels, read_training_data
from tasks.encoder.params import TrainParams
from tasks.encoder.training import Run, seeded
from tasks.wiring.presets import merged, preset_names
from tests.conftest import REPOSITORY
from tests.encoder.small_study import make_small_study

PRESETS = REPOSITORY / "presets"
RECIPES = [
    name
    for name in preset_names(PRESETS)
    if name.startswith(("things_eeg2_", "eegcvpr_")) and name != "eegcvpr_paper"
]


def recipe(name):
    """Return the section `train` of a preset, with a batch and channels that fit the small study."""
    section = yaml.safe_load(merged(name, PRESETS))["train"]
    return TrainParams.model_validate(section | {"batch_size": 8, "channels": "all"})


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(name):
        params = recipe(name)
        data = read_training_data(*make_small_study().write(Path("study")), params=params)
        with seeded(0):
            return Run(*prepare_network(data, params), params), data

    return run


def both_ways(logits):
    """Return the published loss of CLIP: cross-entropy of rows and of columns, halved."""
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def batch(run, n=6):
    """Return stimuli that differ in every caption and in the picture, and what their heads predict."""
    generator = torch.Generator().manual_seed(0)
    n_kinds, _, dim = run.data.targets.shape
    captions = torch.randn(n_kinds, n, dim, generator=generator)
    length = run.module.image_head.pictures(run.data.images[:1]).shape[1]
    images = 3 * torch.randn(1, n, length, generator=generator)
    targets = F.normalize(torch.randn(run.data.targets.shape, generator=generator), dim=2)
    run.data.targets.copy_(targets)
    run.data.images.copy_(
        F.normalize(torch.randn(run.data.images.shape, generator=generator), dim=2)
    )
    return torch.arange(n), captions, images


def test_nice_normalises_both_sides_and_keeps_its_temperature(run):
    run, _ = run("things_eeg2_nice")
    stimuli, captions, images = batch(run)
    pictures = run.data.images[stimuli, 0]
    expected = both_ways(math.exp(math.log(1 / 0.07)) * F.normalize(images[0], dim=1) @ pictures.T)
    reading = run._loss(captions, None, None, stimuli, 0.0)
    found = run._loss(captions, images, None, stimuli, 0.0) - reading
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert not any(p is run.log_scale for p in run.trained)
    biases = [m.weight for m in run.module.modules() if isinstance(m, nn.Linear)]
    assert np.mean([float(b.detach().std()) for b in biases if b.numel() > 500]) == pytest.approx(
        0.02, rel=0.1
    )


def test_atm_takes_the_logit_scale_as_it_is_and_weighs_pictures_and_words(run):
    run, _ = run("things_eeg2_atm")
    stimuli, captions, images = batch(run)
    scale = math.log(1 / 0.07)
    words = [
        both_ways(scale * kind @ own[stimuli].T)
        for kind, own in zip(captions, run.data.targets, strict=True)
    ]
    pictures = both_ways(scale * images[0] @ run.data.images[stimuli, 0].T)
    expected = 0.99 * pictures + 0.01 * torch.stack(words).mean()
    found = run._loss(captions, images, None, stimuli, 0.0)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert any(p is run.log_scale for p in run.trained)


def test_ubp_maps_the_logit_scale_by_softplus(run):
    run, _ = run("things_eeg2_ubp")
    stimuli, captions, images = batch(run)
    scale = math.log1p(math.exp(math.log(1 / 0.07)))
    expected = both_ways(scale * images[0] @ run.data.images[stimuli, 0].T)
    reading = run._loss(captions, None, None, stimuli, 0.0)
    found = run._loss(captions, images, None, stimuli, 0.0) - reading
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_thought2text_adds_squared_error_and_cross_entropy(run):
    run, data = run("eegcvpr_thought2text")
    stimuli, captions, images = batch(run)
    concepts = torch.randn(len(stimuli), int(data.concept_index.max()) + 1)
    own = torch.from_numpy(data.concept_index)[stimuli]
    expected = F.mse_loss(images[0], run.data.images[stimuli, 0]) + F.cross_entropy(concepts, own)
    reading = run._loss(captions, None, None, stimuli, 0.0)
    found = run._loss(captions, images, concepts, stimuli, 0.0) - reading
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_and_words_leave_pictures_alone_where_they_have_no_weight(name, run):
    run, _ = run(name)
    rows = torch.arange(8)
    (fetched,) = run._fetched(rows)
    assert float(run._step(*fetched, 0)) > 0
    if not run.params.target.text:
        run.module.zero_grad()
        latents, stimuli = run._varied_latents(*next(run._fetched(rows)))
        captions, _, _ = run._heads(latents)
        torch.autograd.backward(run._loss(captions, None, None, stimuli, 0.0))
        backbone = [p for n, p in run.module.named_parameters() if n.startswith("backbone")]
        assert all(p.grad is None or not p.grad.any() for p in backbone)
        assert any(p.grad is not None and p.grad.any() for p in run.module.heads.parameters())


def built(backbone, n_channels, n_times, dim, sfreq_hz=250.0, dropout=0.5):
    return NetworkEncoder(
        NetworkSizes(
            backbone=backbone,
            n_groups=1,
            n_channels=n_channels,
            n_times=n_times,
            sfreq_hz=sfreq_hz,
            n_kinds=1,
            dim=dim,
            dropout=dropout,
            image_dim=dim,
        )
    )


def shapes(module, *kinds):
    return [tuple(m.weight.shape) for m in module.modules() if isinstance(m, kinds)]


def test_layers_have_the_published_sizes():
    nice = built("nice", 63, 250, 768)
    conv = nice.backbone
    assert (conv.kernel, conv.window, conv.stride) == (25, 51, 5)
    assert conv.temporal.weight.shape == (40, 25)
    assert conv.spatial.weight.shape == (40, 63 * 40)
    assert nice.image_head.project[0].weight.shape == (768, 1440)
    assert nice.image_head.project[1].weight.shape == (1, 768, 768)

    atm = built("atm", 63, 250, 1024)
    layer = atm.backbone.attention
    assert (layer.self_attn.num_heads, layer.linear1.out_features, layer.dropout.p) == (
        4,
        256,
        0.25,
    )
    assert atm.image_head.project[0].weight.shape == (1024, 1440)

    ubp = built("eeg_project", 17, 250, 1024, dropout=0.3)
    assert ubp.image_head.project[0].weight.shape == (1024, 17 * 250)
    assert ubp.image_head.project[1].dropout.p == 0.3

    channelnet = built("channelnet", 128, 440, 512, 1000.0)
    convolutions = shapes(channelnet.backbone, nn.Conv2d)
    assert convolutions[:4] == [(10, 1, 1, 33)] * 4
    assert convolutions[4:8] == [(50, 40, h, 1) for h in (128, 64, 42, 32)]
    assert convolutions[8:-1] == [(200, 200, 3, 3)] * 12
    assert convolutions[-1] == (50, 200, 3, 3)
    assert [layer[2].dilation for layer in channelnet.backbone.temporal] == [
        (1, d) for d in (1, 2, 4, 8)
    ]


def test_the_seventeen_channels_are_those_of_the_field_s_leaders():
    recorded = ("Fz", *POSTERIOR17[::-1], "TP9")
    assert len(POSTERIOR17) == 17
    assert decoded_channels(recorded, "posterior17") == tuple(range(1, 18))
