"""The contrastive loss and the recall that chooses the epoch."""

import pytest
import torch
from torch.nn import functional as F

from tasks.encoder.losses import recall_at_1, same_captions, symmetric_info_nce


@pytest.fixture
def vectors():
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(2, 5, 8, generator=generator), dim=2)


def test_it_is_clip_s_loss_where_all_captions_differ(vectors):
    predicted = F.normalize(vectors + 0.3 * vectors.flip(1), dim=2)
    scale = torch.tensor([2.0, 1.0])
    same = torch.eye(5, dtype=torch.bool).expand(2, 5, 5)
    logits = predicted @ vectors.transpose(1, 2) * scale.exp()[:, None, None]
    wanted = torch.arange(5)
    clip = [F.cross_entropy(k, wanted) + F.cross_entropy(k.T, wanted) for k in logits]
    loss = symmetric_info_nce(predicted, vectors, same, scale)
    torch.testing.assert_close(loss, sum(clip) / 4)


def test_equal_captions_are_not_each_other_s_negatives(vectors):
    vectors[:, 1] = vectors[:, 0]
    same = same_captions(vectors.transpose(0, 1), 0.999)
    assert same[:, 0, 1].all()
    assert same.sum() == 2 * (5 + 2)
    predicted = vectors.clone().requires_grad_()
    torch.autograd.backward(symmetric_info_nce(predicted, vectors, same, torch.zeros(2)))
    swapped = vectors[:, [1, 0, 2, 3, 4]].clone().requires_grad_()
    torch.autograd.backward(symmetric_info_nce(swapped, vectors, same, torch.zeros(2)))
    torch.testing.assert_close(predicted.grad[:, 0], predicted.grad[:, 1])
    torch.testing.assert_close(predicted.grad, swapped.grad)


def test_recall_counts_a_duplicate_as_found(vectors):
    vectors[:, 1] = vectors[:, 0]
    same = same_captions(vectors.transpose(0, 1), 0.999)
    stimuli = torch.tensor([1, 1, 3])
    predicted = vectors[:, [0, 3, 3]]
    torch.testing.assert_close(
        recall_at_1(predicted, vectors, same, stimuli), torch.tensor([2 / 3, 2 / 3])
    )


def test_soft_targets_share_by_likeness(vectors):
    """A caption near the own one attracts the prediction; the loss without it pushes both away."""
    vectors[:, 1] = F.normalize(vectors[:, 0] + 0.1 * vectors[:, 1], dim=1)
    same = torch.eye(5, dtype=torch.bool).expand(2, 5, 5)
    predicted = vectors.clone()
    predicted[:, 0] = vectors[:, 1]
    scale = torch.full((2,), 3.0)

    def loss(of, softness):
        return float(symmetric_info_nce(of, vectors, same, scale, softness))

    gap = [loss(predicted, softness) - loss(vectors, softness) for softness in (0.0, 0.5)]
    assert 0 < gap[1] < gap[0]
