"""Published definitions: the same numbers as scikit-image and SciPy give by the published formula."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import correlation
from scipy.stats import entropy
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torchvision import transforms
from torchvision.models import alexnet, efficientnet_b1, inception_v3, vit_h_14
from torchvision.models.feature_extraction import create_feature_extractor

from tasks.runtime.errors import PerceptError
from tasks.scores.feature_spaces import FeatureWeights, open_spaces
from tasks.scores.published import (
    n_way,
    pixel_correlations,
    standardised,
    structural_similarities,
    two_way,
)

NONE = dict.fromkeys(FeatureWeights.model_fields)


@pytest.fixture(scope="module")
def photographs(shared_data):
    files = sorted((shared_data / "coco_captions" / "images").glob("*.jpg"))[:8]
    return [str(file) for file in files]


@pytest.fixture(scope="module")
def drawn(photographs, tmp_path_factory):
    """Return a blurred copy of each photograph, as a render of it."""
    folder = tmp_path_factory.mktemp("drawn")
    files = []
    for photograph in photographs:
        picture = Image.open(photograph).convert("RGB")
        files.append(str(folder / f"{Path(photograph).stem}.png"))
        transforms.CenterCrop(min(picture.size))(picture).resize((24, 24)).save(files[-1])
    return files


def published_tensors(files, side_px):
    """Return pictures as the published code resizes them, their central squares."""
    tensors = []
    for file in files:
        picture = Image.open(file).convert("RGB")
        square = transforms.CenterCrop(min(picture.size))(picture)
        resize = transforms.Resize(side_px, transforms.InterpolationMode.BILINEAR)
        tensors.append(resize(transforms.ToTensor()(square)))
    return torch.stack(tensors)


def published_two_way(real, generated):
    """Return two-way identification as the published code does it, on flat features."""
    n = len(real)
    r = np.corrcoef(real, generated)[:n, n:]
    return np.mean(np.sum(r < np.diag(r), axis=0)) / (n - 1)


def test_pixel_scores_are_those_of_the_published_code(photographs, drawn):
    real, generated = (published_tensors(files, 425) for files in (photographs, drawn))
    pairs = list(zip(generated, real, strict=True))
    flat = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in pairs]
    ours = pixel_correlations(drawn, photographs)
    assert np.diag(ours) == pytest.approx(flat, abs=1e-5)
    grey = [[rgb2gray(p.permute(1, 2, 0).numpy()) for p in pair] for pair in pairs]
    theirs = [
        structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
        for a, b in grey
    ]
    assert structural_similarities(drawn, photographs) == pytest.approx(theirs, abs=1e-5)
    expected = published_two_way(real.flatten(1).numpy(), generated.flatten(1).numpy())
    assert two_way(ours, np.arange(len(drawn))).mean() == pytest.approx(expected, abs=1e-5)


def test_another_photograph_is_as_similar_as_published_reconstructions(photographs):
    """Structural similarity near .35, the published column: what the row of the table is there for."""
    others = photographs[1:] + photographs[:1]
    at_425 = structural_similarities(photographs, others).mean()
    assert at_425 > 0.2
    assert pixel_correlations(photographs, photographs).diagonal() == pytest.approx(1, abs=1e-5)


def random_state(network):
    """Return random weights of a true architecture, small enough that features stay finite."""
    with torch.device("meta"):
        shapes = network.state_dict() if isinstance(network, torch.nn.Module) else network()
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in shapes.items():
        if tensor.ndim > 1:  # He initialisation: signals neither die nor explode
            scale = (2 / tensor[0].numel()) ** 0.5
            state[name] = scale * torch.randn(tensor.shape, generator=generator)
        else:  # norms that change nothing
            one = name.endswith(("running_var", "weight"))
            state[name] = torch.full(tensor.shape, int(one), dtype=tensor.dtype)
    return state


def space_of(param, state, tmp_path):
    path = tmp_path / f"{param}.pth"
    torch.save(state, path)
    return open_spaces(FeatureWeights(**NONE | {param: path}))[param]


NORMAL = transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("param", "make", "side_px", "nodes"),
    [
        ("alexnet", alexnet, 256, {"features.4": "alexnet_2", "features.11": "alexnet_5"}),
        ("efficientnet", efficientnet_b1, 255, {"avgpool": "efficientnet"}),
        pytest.param(
            "inception_v3",
            lambda: inception_v3(init_weights=False, transform_input=True),
            342,
            {"avgpool": "inception_v3"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_features_are_those_of_the_published_layers(
    photographs, drawn, tmp_path, param, make, side_px, nodes
):
    photographs, drawn = photographs[:4], drawn[:4]
    network = make()
    network.load_state_dict(random_state(network))
    theirs = create_feature_extractor(network.eval(), list(nodes), suppress_diff_warning=True)
    state = network.state_dict()
    if param in ("alexnet", "efficientnet"):
        state = {name: t for name, t in state.items() if name.startswith("features.")}
    space = space_of(param, state, tmp_path)
    ours = [space.see(files) for files in (photographs, drawn)]
    with torch.inference_mode():
        expected = [theirs(NORMAL(published_tensors(f, side_px))) for f in (photographs, drawn)]
    own = np.arange(len(drawn))
    for node, layer in nodes.items():
        real, generated = (seen[node].flatten(1).double().numpy() for seen in expected)
        correlations = standardised(ours[1][layer]) @ standardised(ours[0][layer]).T
        distance = np.mean([correlation(a, b) for a, b in zip(real, generated, strict=True)])
        assert (1 - correlations.diagonal()).mean() == pytest.approx(distance, abs=1e-5)
        found = two_way(correlations, own).mean()
        assert found == pytest.approx(published_two_way(real, generated), abs=1e-5)


@pytest.mark.slow
def test_inception_v3_also_names_classes_of_pictures_that_nothing_normalises(photographs, tmp_path):
    network = inception_v3(init_weights=False, transform_input=False)
    network.load_state_dict(random_state(network))
    logits = space_of("inception_v3", network.state_dict(), tmp_path).see(photographs[:2])["logits"]
    up = torch.nn.Upsample(size=(299, 299), mode="bilinear", align_corners=False)
    for file, ours in zip(photographs[:2], logits, strict=True):
        whole = transforms.ToTensor()(Image.open(file).convert("RGB"))[None]
        with torch.inference_mode():
            theirs = network.eval()(up(whole))[0].softmax(0).numpy()
        assert entropy(torch.from_numpy(ours).softmax(0).numpy(), theirs) < 1e-6


def test_n_way_accuracy_is_the_expectation_of_the_published_draws():
    rng = np.random.default_rng(0)
    drawn, shown = rng.standard_normal((2, 6, 100))
    drawn[range(6), shown.argmax(axis=1)] += 2
    exact = n_way(drawn, shown, n=50, k=1).diagonal()
    for row, right, expected in zip(drawn, shown.argmax(axis=1), exact, strict=True):
        others = np.delete(row, right)
        hits = [row[right] > rng.choice(others, 49, replace=False).max() for _ in range(4000)]
        assert np.mean(hits) == pytest.approx(expected, abs=0.04)


def test_weights_of_clip_with_other_names_are_refused(tmp_path):
    with pytest.raises(PerceptError, match=r"must hold the weights of CLIP ViT-L/14 \(OpenAI\)"):
        space_of("clip_vit_l_14", {"vision_model.x.weight": torch.zeros(3, 3)}, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("param", "layer", "dim"),
    [("clip_vit_l_14", "clip_vit_l_14", 768), ("vit_h_14", "classes", 1000)],
)
def test_the_largest_networks_run_with_random_weights(photographs, tmp_path, param, layer, dim):
    from open_clip import CLIP, get_model_config

    with torch.device("meta"):
        if param == "vit_h_14":
            network = vit_h_14(image_size=518)
        else:
            network = CLIP(**get_model_config("ViT-L-14-quickgelu"))
    state = random_state(network)
    seen = space_of(param, state, tmp_path).see(photographs[:2])[layer]
    assert seen.shape == (2, dim)
    assert np.isfinite(seen).all()
