"""Feature spaces from files of weights: none is downloaded, none is guessed, and the arithmetic is the libraries'."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torchmetrics.functional.image import dists, learned_perceptual_image_patch_similarity, lpips
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchvision.models import alexnet, efficientnet_b1, resnet50, vgg16

from tasks.runtime.errors import PerceptError
from tasks.scores.distances import (
    SPLIT_SEED,
    Halves,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from tasks.scores.feature import feature_scores, spaces_table
from tasks.scores.feature_spaces import (
    FeatureWeights,
    dists_of,
    lpips_of,
    open_spaces,
)
from tasks.scores.judged import Pictures
from tasks.scores.params import ScoreParams
from tasks.simulation.judge import Judgement
from tests.qualified import is_qualified

PARAMS = ScoreParams(ks=(1,), n_resamples=50, n_permutations=99, confidence=0.95, seed=0)
NONE = dict.fromkeys(FeatureWeights.model_fields)


def random_state(network, part=""):
    """Return random weights of a true architecture, small enough that features stay finite."""
    with torch.device("meta"):
        shapes = network(weights=None).state_dict()
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in shapes.items():
        if not name.startswith(part) or name.startswith("fc."):
            continue
        if tensor.ndim > 1:  # He initialisation: signals neither die nor explode
            scale = (2 / tensor[0].numel()) ** 0.5
            state[name] = scale * torch.randn(tensor.shape, generator=generator)
        else:  # norms that change nothing
            one = name.endswith(("running_var", "weight"))
            state[name] = torch.full(tensor.shape, int(one), dtype=tensor.dtype)
    return state


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Return renders of two conditions and their stimuli: decoded is the stimulus with a little noise."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    shown = rng.integers(0, 255, (4, 6, 6, 3))
    rows, real = [], []
    for i, pixels in enumerate(shown):
        for condition, values in (
            ("true_captions", pixels),
            ("decoded", np.clip(pixels + rng.integers(-9, 9, pixels.shape), 0, 255)),
            ("shuffled_eeg", shown[i - 1]),
        ):
            path = folder / f"{condition}{i}.png"
            Image.fromarray(values.astype(np.uint8)).resize((48, 48)).save(path)
            rows.append((f"s{i}", f"t{i}", f"p{i % 3}", condition, 0, str(path)))
        path = folder / f"shown{i}.png"
        Image.fromarray(pixels.astype(np.uint8)).resize((48, 48)).save(path)
        real.append((f"s{i}", str(path)))
    columns = ["stimulus_id", "trial_id", "subject", "condition", "sample", "image_path"]
    judgement = Judgement({}, {})
    renders = Pictures(pd.DataFrame(rows, columns=columns), np.eye(12), judgement)
    stimuli = pd.DataFrame(real, columns=["stimulus_id", "image_path"])
    return renders, Pictures(stimuli, np.eye(4), judgement)


def known(pictures):
    """Return files that stand for the training stimuli."""
    rows = pictures[0].rows
    return rows.loc[rows["condition"] == "shuffled_eeg", "image_path"].tolist()


@pytest.mark.parametrize(
    ("param", "network", "layers"),
    [
        ("alexnet", alexnet, ["alexnet_2", "alexnet_5"]),
        ("efficientnet", efficientnet_b1, ["efficientnet"]),
        ("swav", resnet50, ["swav"]),
    ],
)
def test_a_space_whose_weights_are_here_is_scored(pictures, tmp_path, param, network, layers):
    state = random_state(network, "" if param == "swav" else "features.")
    if param == "swav":  # as published: with a prefix, and with heads that have no part in it
        state = {f"module.{name}": tensor for name, tensor in state.items()}
        state["module.prototypes.weight"] = torch.zeros(3, 128)
    path = tmp_path / f"{param}.pth"
    torch.save(state, path)
    weights = FeatureWeights(**NONE | {param: path})
    scores = feature_scores(*pictures, known(pictures), weights, PARAMS, n_halves=4)
    for layer in layers:
        true, decoded, shuffled = (
            scores[f"two_way_{layer}_{c}"] for c in ("true_captions", "decoded", "shuffled_eeg")
        )
        assert true.value == 1
        assert decoded.value > shuffled.value
        assert decoded.control == shuffled.value
        assert decoded.chance == 0.5
        assert f"Weights: {param}.pth, SHA-256 " in decoded.verdict
        own = scores[f"feature_distance_{layer}_true_captions"]
        assert own.value == pytest.approx(0, abs=1e-5)
        assert own.value < scores[f"feature_distance_{layer}_shuffled_eeg"].value
        assert decoded.resampled == "stimuli and 3 subjects"
    assert all(is_qualified(score) for score in scores.values())
    if param == "alexnet":
        own, other = (scores[f"lpips_alexnet_{c}"] for c in ("true_captions", "shuffled_eeg"))
        assert own.value == pytest.approx(0, abs=1e-6)
        assert own.value < scores["lpips_alexnet_decoded"].value < other.value
        assert own.value < own.chance
        assert own.lower_is_better
    named = {name for name in scores if name.startswith("two_way")}
    assert len(named) == 3 * len(layers)


def test_a_space_without_weights_is_not_scored_and_said_so(pictures):
    weights = FeatureWeights(**NONE)
    assert feature_scores(*pictures, known(pictures), weights, PARAMS, n_halves=4) == {}
    table = spaces_table(weights)
    assert set(table["param"]) == set(NONE)
    assert set(table["state"]) == {"not scored: no weights"}
    used = spaces_table(FeatureWeights(**NONE | {"swav": "here.pth"})).set_index("param")["state"]
    assert used["swav"] == "used"


def test_inception_scores_are_those_of_torch_fidelity(pictures, tmp_path):
    torch_fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with pytest.MonkeyPatch.context() as patch:  # its random start, instead of a download
        patch.setattr(torch_fidelity, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(
            torch_fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *a: None
        )
        torch.manual_seed(0)
        theirs = torch_fidelity.FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"])
    path = tmp_path / "inception.pth"
    torch.save(theirs.state_dict(), path)
    space = open_spaces(FeatureWeights(**NONE | {"inception": path}))["inception"]
    renders, stimuli = pictures
    files = stimuli.rows["image_path"].tolist()
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(f)) for f in files]))
    resized = torch.nn.functional.interpolate(
        pixels.permute(0, 3, 1, 2).float(), (299, 299), mode="bilinear"
    )
    pooled, _ = theirs(resized.round().to(torch.uint8))
    own = space.see(files)["inception"]
    assert own.shape == (4, 2048)
    assert np.corrcoef(own.ravel(), pooled.numpy().ravel())[0, 1] > 0.999
    scores = feature_scores(
        renders,
        stimuli,
        known(pictures),
        FeatureWeights(**NONE | {"inception": path}),
        PARAMS,
        n_halves=4,
    )
    for name in (
        "fid_inception",
        "kid_inception",
        "inception_score_inception",
        "two_way_inception",
    ):
        assert f"{name}_decoded" in scores
    assert scores["fid_inception_true_captions"].value == pytest.approx(0, abs=1e-4)
    assert scores["fid_inception_decoded"].value > 0
    found = scores["fid_inception_decoded"]
    assert "4 renders against 4 held-out stimuli, from which 4 training" in found.verdict
    # The training stimuli are the renders from shuffled EEG: the floor is their distance.
    assert found.ceiling == pytest.approx(scores["fid_inception_shuffled_eeg"].value, rel=1e-3)


def test_distances_of_few_pictures_are_those_of_the_libraries():
    rng = np.random.default_rng(0)
    real, drawn = (rng.standard_normal((n, 64)).astype(np.float32) + n / 40 for n in (20, 30))
    halves = Halves(4, 0.95, 0)

    class Ready(torch.nn.Module):
        num_features = 64

        def forward(self, features):
            return features

    metric = FrechetInceptionDistance(feature=Ready())
    metric.update(torch.from_numpy(real).double(), real=True)
    metric.update(torch.from_numpy(drawn).double(), real=False)
    ours = frechet_distance(real, drawn, halves).value
    assert ours == pytest.approx(float(metric.compute()), rel=1e-5)
    sets = [fid_features_to_statistics(torch.from_numpy(f)) for f in (real, drawn)]
    theirs = fid_statistics_to_metric(*sets, verbose=False)["frechet_inception_distance"]
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_kid_of_raw_features_is_that_of_torchmetrics():
    rng = np.random.default_rng(1)
    real, drawn = (rng.standard_normal((40, 32)).astype(np.float32) + s for s in (0, 0.5))

    class Ready(torch.nn.Module):
        num_features = 32

        def forward(self, features):
            return features

    metric = KernelInceptionDistance(feature=Ready(), subsets=300, subset_size=20)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(drawn), real=False)
    torch.manual_seed(0)
    ours = kernel_distance(real, drawn, Halves(300, 0.95, 0), gamma=None).value
    assert ours == pytest.approx(float(metric.compute()[0]), rel=0.1)


def test_inception_score_is_that_of_torch_fidelity():
    logits = 3 * torch.randn(40, 10, generator=torch.Generator().manual_seed(0))
    order = torch.from_numpy(np.random.default_rng(SPLIT_SEED).permutation(40))
    found = isc_features_to_metric(logits[order], splits=10, shuffle=False)
    theirs = found["inception_score_mean"]
    ours = inception_score(logits.double().softmax(1).numpy(), Halves(4, 0.95, 0)).value
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_lpips_and_dists_are_those_of_torchmetrics(pictures):
    a, b = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    of_alexnet, of_vgg = random_state(alexnet, "features."), random_state(vgg16, "features.")
    ours = lpips_of(of_alexnet)(a, b, normalize=True).reshape(-1)
    with torch.device("meta"):
        layers, deep = alexnet(weights=None).features, vgg16(weights=None)
    layers.load_state_dict(
        {k.removeprefix("features."): v for k, v in of_alexnet.items()}, assign=True
    )
    deep.features.load_state_dict(
        {k.removeprefix("features."): v for k, v in of_vgg.items()}, assign=True
    )
    with pytest.MonkeyPatch.context() as patch:  # the same backbone, instead of a download
        patch.setattr(lpips, "_get_tv_model_features", lambda net, pretrained: layers)
        patch.setattr(dists, "vgg16", lambda weights: deep)
        theirs = learned_perceptual_image_patch_similarity(a, b, "alex", "mean", normalize=True)
        theirs_dists = dists.deep_image_structure_and_texture_similarity(a, b)
    assert float(ours.mean()) == pytest.approx(float(theirs), rel=1e-5)
    assert float(ours.mean()) > 0
    assert dists_of(of_vgg)(a, b).numpy() == pytest.approx(theirs_dists.detach().numpy(), rel=1e-4)


def test_weights_that_are_not_there_are_asked_for(tmp_path):
    message = (
        "`evaluate.feature_weights.swav` must name a file of weights; nowhere.pth is none. Put the weights "
        "of ResNet-50 of SwAV there, or set it to null: its scores are left out then."
    )
    with pytest.raises(PerceptError, match=re.escape(message)):
        open_spaces(FeatureWeights(**NONE | {"swav": "nowhere.pth"}))


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "wrong.pth"
    torch.save({"features.0.weight": torch.zeros(3, 3)}, path)
    message = (
        "must hold the weights of AlexNet (torchvision); the file holds those of another network"
    )
    with pytest.raises(PerceptError, match=re.escape(message)):
        open_spaces(FeatureWeights(**NONE | {"alexnet": path}))


class Bomb:
    def __reduce__(self):
        return (print, ("code was run",))


def test_code_in_a_file_of_weights_is_never_run(tmp_path, capsys):
    path = tmp_path / "bomb.pth"
    torch.save({"features.0.weight": Bomb()}, path)
    for param in ("alexnet", "inception"):
        with pytest.raises(PerceptError, match="holds tensors and nothing else"):
            open_spaces(FeatureWeights(**NONE | {param: path}))
    assert "code was run" not in capsys.readouterr().out
