"""Feature spaces of published scores, each from a file of weights that lies here; none is ever downloaded.

The layers and sizes are those of Scotti et al. (NeurIPS 2023, "MindEye"): AlexNet after its second and its
fifth convolution, Inception v3, EfficientNet-B1 and the ResNet-50 of SwAV before their last layer, and the
image embedding of OpenAI's CLIP ViT-L/14. FID, KID and the inception score are defined with another
Inception, that of 2015-12-05; the inception score of CATVis (arXiv 2507.11522) with Inception v3 on pictures in
0..1 that nothing normalises. ViT-H/14 names classes, as in DreamDiffusion (arXiv 2306.16934).
"""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from open_clip import CLIP, get_model_config
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchmetrics.functional.image.dists import _PATH_WEIGHT_DISTS, DISTSNetwork, L2pooling
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models import alexnet, efficientnet_b1, inception_v3, resnet50, vgg16, vit_h_14
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import InterpolationMode, pil_to_tensor

from tasks.artifacts.pictures import open_rgb
from tasks.runtime.errors import PerceptError
from tasks.runtime.params import Params
from tasks.scores.published import squares

Weights = Mapping[str, Tensor]
Features = Mapping[str, Float[np.ndarray, "n dim"]]
Compare = Callable[[Sequence[str], Sequence[str]], Float[np.ndarray, " n"]]
"""Distance of each pair of picture files."""

PAIR_PX = 256
"""Side at which LPIPS and DISTS compare pictures."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HEADS_OF_SWAV = ("projection_head.", "prototypes.", "fc.")


class FeatureWeights(Params):
    """Files of weights, .pth or .safetensors; null: the scores of that network are not made.

    Attributes
    ----------
    alexnet, efficientnet, vgg16 : Path or None
        ``alexnet``, ``efficientnet_b1`` and ``vgg16`` of torchvision.
    inception : Path or None
        Inception of 2015-12-05, as torch-fidelity and torchmetrics have it.
    swav : Path or None
        ResNet-50 of SwAV.
    inception_v3, vit_h_14 : Path or None
        ``inception_v3`` and ``vit_h_14`` of torchvision, the weights that are default there.
    clip_vit_l_14 : Path or None
        OpenAI's CLIP ViT-L/14, with the names of open_clip; its image tower is enough.
    """

    alexnet: Path | None
    inception: Path | None
    efficientnet: Path | None
    swav: Path | None
    vgg16: Path | None
    inception_v3: Path | None
    clip_vit_l_14: Path | None
    vit_h_14: Path | None


NEEDED: Mapping[str, tuple[str, str]] = {
    "alexnet": ("AlexNet (torchvision)", "two-way identification in layers 2 and 5, LPIPS"),
    "inception": ("Inception of 2015-12-05 (torch-fidelity)", "FID, KID, IS, two-way"),
    "efficientnet": ("EfficientNet-B1 (torchvision)", "two-way identification, distance"),
    "swav": ("ResNet-50 of SwAV", "two-way identification, distance"),
    "vgg16": ("VGG-16 (torchvision)", "DISTS"),
    "inception_v3": ("Inception v3 (torchvision)", "two-way identification, IS as CATVis has it"),
    "clip_vit_l_14": ("CLIP ViT-L/14 (OpenAI)", "two-way identification, distance"),
    "vit_h_14": ("ViT-H/14 (torchvision)", "50-way classification"),
}
"""Param to the network whose weights it names, and the scores that need it."""


@dataclass(frozen=True)
class Space:
    """One network that sees pictures.

    Attributes
    ----------
    source : str
        File of weights and the start of its SHA-256, for the verdicts.
    see : callable
        Picture files to features by the name of the layer; of Inception also ``logits``, of ViT-H/14 the
        logits of its ``classes``.
    """

    source: str
    see: Callable[[Sequence[str]], Features]


def open_spaces(weights: FeatureWeights) -> dict[str, Space]:
    """Return the spaces whose weights are named, by param.

    Raises
    ------
    PerceptError
        If a file is missing, cannot be read safely, or holds another network.
    """
    makers = {
        "alexnet": _alexnet,
        "inception": _inception,
        "efficientnet": _efficientnet,
        "swav": _swav,
        "inception_v3": _inception_v3,
        "clip_vit_l_14": _clip,
        "vit_h_14": _vit,
    }
    spaces = {}
    for name, make in makers.items():
        path = getattr(weights, name)
        if path is not None:
            see = make(load_weights(path, name), name)
            spaces[name] = Space(describe(path), see)
    return spaces


def open_comparisons(weights: FeatureWeights) -> dict[str, tuple[str, Compare]]:
    """Return learned distances of pairs whose weights are named: name to source and function.

    Raises
    ------
    PerceptError
        As `open_spaces`.
    """
    found: dict[str, tuple[str, Compare]] = {}
    if weights.alexnet is not None:
        lpips = lpips_of(load_weights(weights.alexnet, "alexnet"))
        found["lpips_alexnet"] = (describe(weights.alexnet), _pairs(_signed(lpips)))
    if weights.vgg16 is not None:
        dists = dists_of(load_weights(weights.vgg16, "vgg16"))
        found["dists"] = (describe(weights.vgg16), _pairs(dists))
    return found


def describe(path: Path) -> str:
    """Return the name of a file and the start of its SHA-256."""
    with path.open("rb") as file:
        return f"{path.name}, SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def load_weights(path: Path, name: str) -> dict[str, Tensor]:
    """Read weights, and nothing that could carry code.

    Parameters
    ----------
    path : Path
        A .safetensors file, or one that `torch.load` reads as tensors alone.
    name : str
        Of the param, for errors.

    Raises
    ------
    PerceptError
        If there is no such file or it holds other things than tensors.
    """
    param = f"evaluate.feature_weights.{name}"
    if not path.is_file():
        raise PerceptError(
            f"`{param}` must name a file of weights; {path} is none. Put the weights of "
            f"{NEEDED[name][0]} there, or set it to null: its scores are left out then."
        )
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise PerceptError(
            f"`{param}` must name a file that holds tensors and nothing else; {path} does not "
            f"({str(error).splitlines()[0]}). Save its state_dict anew."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise PerceptError(
            f"`{param}` must name a state_dict; {path} holds something else. Save it anew."
        )
    return state


def _fill(
    network: Callable[..., nn.Module], weights: Weights, name: str, part: str = ""
) -> nn.Module:
    """Make a network, or a part of one, of these weights: all that it has, and none that it has not."""
    with torch.device("meta"):  # no memory, no random numbers: the weights come from the file
        whole = network(weights=None)
    module: nn.Module = getattr(whole, part) if part else whole
    own = {
        key.removeprefix(f"{part}."): t.float() if t.is_floating_point() else t
        for key, t in weights.items()
        if key.startswith(part)
    }
    try:
        module.load_state_dict(own, assign=True)
    except RuntimeError as error:
        raise _another_network(name, error) from error
    return module.requires_grad_(False).eval()


def _layers(network: Callable[..., nn.Module], weights: Weights, name: str) -> nn.Sequential:
    """Make the convolutions of a network, which are all that is looked at."""
    layers = _fill(network, weights, name, "features")
    if not isinstance(layers, nn.Sequential):
        raise TypeError(f"the convolutions of {name} are no sequence")
    return layers


def _another_network(name: str, error: RuntimeError) -> PerceptError:
    return PerceptError(
        f"`evaluate.feature_weights.{name}` must hold the weights of {NEEDED[name][0]}; the file "
        f"holds those of another network ({' '.join(str(error).split())[:120]}). Name the right file."
    )


def _alexnet(weights: Weights, name: str) -> Callable[[Sequence[str]], Features]:
    layers = _layers(alexnet, weights, name)

    def see(pictures: Tensor) -> dict[str, Tensor]:
        second = layers[:5](pictures)
        return {"alexnet_2": second, "alexnet_5": layers[5:12](second)}

    return _over_files(see, 256)


def _efficientnet(weights: Weights, name: str) -> Callable[[Sequence[str]], Features]:
    layers = _layers(efficientnet_b1, weights, name)
    return _over_files(lambda p: {"efficientnet": layers(p).mean(dim=(2, 3))}, 255)


def _swav(weights: Weights, name: str) -> Callable[[Sequence[str]], Features]:
    def headless(weights: None) -> nn.Module:
        whole: nn.Module = resnet50(weights=weights)
        whole.fc = nn.Identity()
        return whole

    own = {key.removeprefix("module."): tensor for key, tensor in weights.items()}
    own = {key: t for key, t in own.items() if not key.startswith(_HEADS_OF_SWAV)}
    network = _fill(headless, own, name)
    return _over_files(lambda p: {"swav": network(p)}, 224)


def _inception_v3(weights: Weights, name: str) -> Callable[[Sequence[str]], Features]:
    """With its input transformed as torchvision does for features, and as it is for ``logits``."""

    def extractor(node: str, *, transform_input: bool) -> nn.Module:
        make = partial(inception_v3, init_weights=False, transform_input=transform_input)
        network = _fill(make, weights, name)
        part: nn.Module = create_feature_extractor(
            network, {node: node}, suppress_diff_warning=True
        )
        return part

    pooled = extractor("avgpool", transform_input=True)
    plain = extractor("fc", transform_input=False)
    features = _over_files(lambda p: {"inception_v3": pooled(p)["avgpool"]}, 342)

    def see(files: Sequence[str]) -> Features:
        with torch.inference_mode():
            logits = [
                plain(F.interpolate(picture / 255, (299, 299), mode="bilinear"))["fc"]
                for picture in _whole(files)
            ]
        return {**features(files), "logits": torch.cat(logits).numpy()}

    return see


def _clip(weights: Weights, name: str) -> Callable[[Sequence[str]], Features]:
    def vit_l_14(weights: None) -> nn.Module:  # noqa: ARG001  (as torchvision's are called)
        whole: nn.Module = CLIP(**get_model_config("ViT-L-14-quickgelu"))
        return whole

    tower = _fill(vit_l_14, weights, name, "visual")
    normal = (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
    return _over_files(lambda p: {"clip_vit_l_14": tower(p)}, 224, normal)


def _vit(weights: Weights, name: str) -> Callable[[Sequence[str]], Features]:
    network = _fill(partial(vit_h_14, image_size=518), weights, name)
    return _over_files(lambda p: {"classes": network(p)}, 518, mode=InterpolationMode.BICUBIC)


def _inception(weights: Weights, name: str) -> Callable[[Sequence[str]], Features]:
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # torch-fidelity opens files unsafely: write a safe one
        path = Path(folder) / "weights.pth"
        torch.save(dict(weights), path)
        try:
            network = FeatureExtractorInceptionV3(
                "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
            )
        except RuntimeError as error:
            raise _another_network(name, error) from error

    def see(files: Sequence[str]) -> Features:
        with torch.inference_mode():
            seen = [network(picture.to(torch.uint8)) for picture in _whole(files)]
        pooled, logits = (torch.cat(part).numpy() for part in zip(*seen, strict=True))
        return {"inception": pooled, "logits": logits}

    return see


def lpips_of(weights: Weights) -> nn.Module:
    """Return LPIPS (Zhang et al. 2018) of torchmetrics on an AlexNet with these weights.

    Parameters
    ----------
    weights : Mapping[str, Tensor]
        State of torchvision's ``alexnet``; the linear layers come with torchmetrics.
    """
    backbone = _layers(alexnet, weights, "alexnet")
    lpips = _LPIPS(net="alex", pnet_rand=True)
    for layers in lpips.net.children():
        for place, layer in layers.named_children():
            layer.load_state_dict(backbone[int(place)].state_dict())
    network: nn.Module = lpips
    return network


class _Dists(DISTSNetwork):  # type: ignore[misc]  # torchmetrics is not typed
    """DISTS (Ding et al. 2020) of torchmetrics, whose own constructor downloads its VGG-16."""

    def __init__(self, layers: nn.Sequential) -> None:
        nn.Module.__init__(self)
        for stage, (first, last, width) in enumerate(
            ((0, 4, 0), (5, 9, 64), (10, 16, 128), (17, 23, 256), (24, 30, 512)), start=1
        ):
            pooling = [L2pooling(channels=width)] if width else []
            self.add_module(f"stage{stage}", nn.Sequential(*pooling, *layers[first:last]))
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(_DEVIATION).view(1, -1, 1, 1))
        self.chns = [3, 64, 128, 256, 512, 512]
        learned = torch.load(_PATH_WEIGHT_DISTS, map_location="cpu", weights_only=True)
        for name in ("alpha", "beta"):
            self.register_parameter(name, nn.Parameter(learned[name], requires_grad=False))


def dists_of(weights: Weights) -> nn.Module:
    """Return DISTS of torchmetrics on a VGG-16 with these weights.

    Parameters
    ----------
    weights : Mapping[str, Tensor]
        State of torchvision's ``vgg16``; the two vectors of weights come with torchmetrics.
    """
    network: nn.Module = _Dists(_layers(vgg16, weights, "vgg16")).eval()
    return network


def _signed(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda first, second: network(first, second, normalize=True)


def _pairs(distance: Callable[[Tensor, Tensor], Tensor]) -> Compare:
    def compare(drawn: Sequence[str], shown: Sequence[str]) -> Float[np.ndarray, " n"]:
        pairs = zip(squares(drawn, PAIR_PX), squares(shown, PAIR_PX), strict=True)
        with torch.inference_mode():
            found = [distance(*pair).reshape(-1) for pair in pairs]
        return np.asarray(torch.cat(found).numpy(), np.float64)

    return compare


def _over_files(
    see: Callable[[Tensor], Mapping[str, Tensor]],
    side_px: int,
    normal: tuple[Sequence[float], Sequence[float]] = (_MEAN, _DEVIATION),
    mode: InterpolationMode = InterpolationMode.BILINEAR,
) -> Callable[[Sequence[str]], Features]:
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in normal)

    def of(files: Sequence[str]) -> Features:
        with torch.inference_mode():
            seen = [see((p - mean) / deviation) for p in squares(files, side_px, mode)]
        return {name: torch.cat([s[name].flatten(1) for s in seen]).numpy() for name in seen[0]}

    return of


def _whole(files: Sequence[str]) -> Iterator[Tensor]:
    """Yield each picture as it is, (1, 3, height, width) in 0..255: its network resizes it itself."""
    for file in files:
        yield pil_to_tensor(open_rgb(Path(file))).float()[None]
