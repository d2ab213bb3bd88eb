"""The contrastive loss and the recall that chooses the epoch."""

import pytest
import torch
from torch.nn import functional as F

from tasks.encoder import losses
from tasks.encoder.losses import (
    info_nce_of_many,
    recall_at_1,
    same_captions,
    symmetric_info_nce,
)


@pytest.fixture
def vectors():
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(2, 5, 8, generator=generator), dim=2)


def test_it_is_clip_s_loss_where_all_captions_differ(vectors):
    predicted = F.normalize(vectors + 0.3 * vectors.flip(1), dim=2)
    scale = torch.tensor([7.4, 2.7])
    same = torch.eye(5, dtype=torch.bool).expand(2, 5, 5)
    logits = predicted @ vectors.transpose(1, 2) * scale[:, None, None]
    wanted = torch.arange(5)
    clip = [F.cross_entropy(k, wanted) + F.cross_entropy(k.T, wanted) for k in logits]
    loss = symmetric_info_nce(predicted, vectors, same, scale)
    torch.testing.assert_close(loss, sum(clip) / 4)


def test_equal_captions_are_not_each_other_s_negatives(vectors):
    vectors[:, 1] = vectors[:, 0]
    same = same_captions(vectors, torch.arange(5), 0.999)
    assert same[:, 0, 1].all()
    assert same.sum() == 2 * (5 + 2)
    predicted = vectors.clone().requires_grad_()
    torch.autograd.backward(symmetric_info_nce(predicted, vectors, same, torch.ones(2)))
    swapped = vectors[:, [1, 0, 2, 3, 4]].clone().requires_grad_()
    torch.autograd.backward(symmetric_info_nce(swapped, vectors, same, torch.ones(2)))
    torch.testing.assert_close(predicted.grad[:, 0], predicted.grad[:, 1])
    torch.testing.assert_close(predicted.grad, swapped.grad)


def test_recall_counts_a_duplicate_as_found(vectors):
    vectors[:, 1] = vectors[:, 0]
    stimuli = torch.tensor([1, 1, 3])
    predicted = vectors[:, [0, 3, 3]]
    torch.testing.assert_close(
        recall_at_1(predicted, vectors, stimuli, 0.999), torch.tensor([2 / 3, 2 / 3])
    )


def test_a_stimulus_is_never_its_own_negative_however_a_cosine_is_rounded(vectors):
    stimuli = torch.tensor([0, 1, 2, 3, 0])
    same = same_captions(vectors * 0.9, stimuli, 1.0)
    assert same.diagonal(dim1=1, dim2=2).all()
    assert same[:, 0, 4].all()
    loss = symmetric_info_nce(vectors, vectors, same, torch.ones(2))
    assert loss.isfinite()
    assert (recall_at_1(vectors, vectors * 0.9, torch.arange(5), 1.0) == 1).all()


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_the_loss_and_the_recall_of_many_trials_are_those_of_all_at_once(at_once, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    targets = F.normalize(torch.randn(2, 6, 8, generator=generator), dim=2)
    targets[0, 1] = targets[0, 0]
    stimuli = torch.tensor([0, 1, 2, 3, 4, 5, 0, 2, 1, 1, 3])
    predicted = F.normalize(torch.randn(2, 11, 8, generator=generator), dim=2)
    scale, wanted = torch.tensor([7.4, 2.7]), (predicted, targets[:, stimuli], stimuli)
    whole = info_nce_of_many(*wanted, scale, 0.999)
    recall = recall_at_1(predicted, targets, stimuli, 0.999)
    same = same_captions(targets[:, stimuli], stimuli, 0.999)
    assert whole == symmetric_info_nce(predicted, targets[:, stimuli], same, scale)
    monkeypatch.setattr(losses, "TRIALS_AT_ONCE", at_once)
    torch.testing.assert_close(info_nce_of_many(*wanted, scale, 0.999), whole)
    assert torch.equal(recall_at_1(predicted, targets, stimuli, 0.999), recall)


def test_soft_targets_share_by_likeness(vectors):
    """A caption near the own one attracts the prediction; the loss without it pushes both away."""
    vectors[:, 1] = F.normalize(vectors[:, 0] + 0.1 * vectors[:, 1], dim=1)
    same = torch.eye(5, dtype=torch.bool).expand(2, 5, 5)
    predicted = vectors.clone()
    predicted[:, 0] = vectors[:, 1]
    scale = torch.full((2,), 20.0)

    def loss(of, softness):
        return float(symmetric_info_nce(of, vectors, same, scale, softness))

    gap = [loss(predicted, softness) - loss(vectors, softness) for softness in (0.0, 0.5)]
    assert 0 < gap[1] < gap[0]
