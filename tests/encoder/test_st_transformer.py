"""The network itself, and how its trials are varied."""

import pytest
import torch

from tasks.encoder.augmentation import EncodingModel, find_mates, vary
from tasks.encoder.params import AugmentationParams
from tasks.encoder.st_transformer import Sizes, STTransformer
from tests.encoder.test_checkpoints import SIZES

NONE = AugmentationParams(
    synthetic_share=0.0,
    repetition_mix=0.0,
    channel_dropout=0.0,
    time_shift_samples=0,
    noise=0.0,
    smoothing=0.0,
    smoothing_samples=5,
)


@pytest.fixture
def module():
    torch.manual_seed(0)
    module = STTransformer(Sizes(**SIZES)).eval()
    for buffer in (module.spatial, module.temporal, module.projection, module.heads.values):
        buffer.normal_()
    torch.nn.init.normal_(module.heads.keys)
    return module


def test_vectors_have_unit_norm_and_gradients_reach_every_channel(module):
    eeg = torch.randn(5, 3, 10, requires_grad=True)
    predicted = module(eeg, torch.tensor([0, 1, 0, 1, 0]))
    torch.testing.assert_close(predicted.norm(dim=2), torch.ones(5, 2))
    torch.autograd.backward(predicted[:, :, 0].sum())
    assert (eeg.grad.abs().sum(dim=2) > 0).all()


def test_training_starts_at_the_linear_latents(module):
    virtual, groups = torch.randn(4, 2, 10), torch.tensor([0, 1, 1, 0])
    linear = torch.einsum("nv,nvl->nl", virtual.flatten(1), module.projection[groups])
    torch.testing.assert_close(module.latents(virtual, groups), linear)
    module.residual.weight.data.normal_()
    assert not torch.allclose(module.latents(virtual, groups), linear)


def test_the_mate_of_a_trial_is_another_of_its_subject_and_stimulus():
    subjects = torch.tensor([0, 1, 0, 1, 0, 0])
    stimuli = torch.tensor([5, 5, 5, 2, 5, 2])
    mates = find_mates(subjects, stimuli)
    assert mates.tolist() == [2, 1, 4, 3, 0, 5]


def test_variation_does_what_its_params_say():
    torch.manual_seed(0)
    virtual, rows, mates = (
        torch.randn(6, 2, 10),
        torch.tensor([4, 0]),
        torch.tensor([2, 1, 4, 3, 0, 5]),
    )
    chosen = virtual[rows]
    torch.testing.assert_close(vary(chosen, None, NONE), chosen)
    always = NONE.model_copy(update={"repetition_mix": 1.0})
    mixed = vary(chosen, virtual[mates[rows]], always)
    torch.testing.assert_close(mixed, 0.5 * (virtual[[4, 0]] + virtual[[0, 2]]))
    silenced = vary(chosen, None, NONE.model_copy(update={"channel_dropout": 0.9}))
    assert ((silenced == 0).all(dim=2)).any()
    moved = vary(chosen, None, NONE.model_copy(update={"time_shift_samples": 3}))
    assert set(moved[0, 0].tolist()) <= set(virtual[4, 0].tolist())
    always = NONE.model_copy(update={"smoothing": 1.0, "smoothing_samples": 3})
    smooth = vary(chosen, None, always)
    torch.testing.assert_close(smooth[..., 1:-1], chosen.unfold(2, 3, 1).mean(dim=3))


def test_synthetic_latents_are_what_the_captions_evoke():
    torch.manual_seed(0)
    templates = torch.randn(2, 3, 4)
    encoding = EncodingModel(10 * torch.eye(3), torch.tensor([7, 8, 9]), templates)
    latents, stimuli = encoding.draw(4000)
    first = latents[stimuli == 8].mean(dim=0)
    torch.testing.assert_close(first, 10 * templates[:, 1].mean(dim=0), atol=0.8, rtol=0.0)
