"""The factors that captions vary in, and the decoder that finds all of them together."""

import numpy as np
import torch

from tasks.encoder.baselines.factor_map import FactorEncoder, FactorSizes
from tasks.encoder.factors import caption_factors


def test_places_of_captions_are_factors_and_what_they_decide_is_none():
    colours, animals, places = ("red", "blue"), ("ant", "dog", "cat"), ("left of", "above")
    made = [(c, a, p) for c in colours for a in animals for p in places] * 3
    texts = [
        [f"a {c} {a}", f"{'an' if a == 'ant' else 'a'} {a} in {c}", f"it is {p} the tree"]
        for c, a, p in made
    ]
    some = np.arange(12, 36)
    factors = caption_factors(texts, [a for _, a, _ in made], some, min_count=2)
    assert [int(f.max()) + 1 for f in factors] == [3, 2, 2]
    by_level = [
        {made[i][place] for i in some[f == 0]} for f, place in zip(factors, (1, 0, 2), strict=True)
    ]
    assert [len(said) for said in by_level] == [1, 1, 1]


def test_captions_that_share_no_frame_leave_the_concept():
    texts = [[f"w{i} v{i} and u{i}"] for i in range(30)]
    (concept,) = caption_factors(texts, ["cat", "dog", "car"] * 10, np.arange(30), min_count=2)
    np.testing.assert_array_equal(concept, [1, 2, 0] * 10)


def test_factors_that_overlap_are_told_apart_together():
    """The second factor drowns the first one, unless it is explained away."""
    module = FactorEncoder(
        FactorSizes(
            n_groups=1,
            n_channels=2,
            n_times=4,
            n_components=2,
            bin_samples=2,
            n_directions=4,
            levels=(2, 2),
            n_kinds=1,
            dim=4,
        )
    )
    module.spatial[0] = torch.eye(2)
    module.whitener[0] = torch.eye(4)
    weak = torch.tensor([[3.0, 3, 0, 0], [0, 3, 0, 0]])
    strong = torch.tensor([[0.0, 0, 0, 0], [-20, 9, 9, 9]])
    module.templates[0] = torch.cat([weak, strong])
    module.prior.copy_(torch.log(torch.full((4,), 0.5)))
    values = torch.stack([w + s for w in weak for s in strong])
    eeg = values.reshape(4, 2, 2).repeat_interleave(2, dim=2)
    found = module.levels(eeg, torch.zeros(4, dtype=torch.int64))
    assert found[:, :2].argmax(dim=1).tolist() == [0, 0, 1, 1]
    assert found[:, 2:].argmax(dim=1).tolist() == [0, 1, 0, 1]
    torch.testing.assert_close(found.sum(dim=1), torch.full((4,), 2.0))
