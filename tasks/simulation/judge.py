"""The judge: a small classifier that names what a picture of a scene shows.

It was trained apart from the CLIP and the generator, so that neither is graded by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from tasks.runtime.errors import PerceptError

CONFIG_NAME = "judge.json"
WEIGHTS_NAME = "judge.safetensors"
_BATCH_SIZE = 256


@dataclass(frozen=True)
class Judgement:
    """What the judge sees in some pictures.

    Attributes
    ----------
    labels : Mapping[str, tuple[str, ...]]
        Factor (concept, colour, size, relation, theme) to the likeliest value per picture.
    probabilities : Mapping[str, Float[np.ndarray, "n n_values"]]
        Factor to the probability of each value, in the order of `Judge.vocabulary`.
    """

    labels: Mapping[str, tuple[str, ...]]
    probabilities: Mapping[str, Float[np.ndarray, "n n_values"]]


class JudgeNetwork(nn.Module):
    """Four strided convolutions and one linear head per factor.

    Parameters
    ----------
    n_values : Mapping[str, int]
        Factor to the number of its values.
    """

    def __init__(self, n_values: Mapping[str, int]) -> None:
        super().__init__()
        widths = (3, 24, 48, 64, 96)
        blocks: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            blocks += [nn.Conv2d(narrow, wide, 5, stride=2, padding=2), nn.BatchNorm2d(wide)]
            blocks += [nn.ReLU()]
        self.trunk = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(96 * 4 * 4, 128), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(128, n) for name, n in n_values.items()})

    def forward(self, pictures: Float[Tensor, "n 3 64 64"]) -> dict[str, Float[Tensor, "n k"]]:
        """Return the logits of each factor for pictures in -1..1."""
        features = self.trunk(pictures)
        return {name: head(features) for name, head in self.heads.items()}


class Judge:
    """The trained classifier with its vocabulary.

    Parameters
    ----------
    vocabulary : Mapping[str, tuple[str, ...]]
        Factor to its values, in the order of the head's outputs.
    size_px : int
        Side to which pictures are resized.
    """

    def __init__(
        self, network: JudgeNetwork, vocabulary: Mapping[str, tuple[str, ...]], size_px: int
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.vocabulary = vocabulary
        self.size_px = size_px

    @classmethod
    def load(cls, folder: Path) -> Judge:
        """Load the judge from its folder.

        Parameters
        ----------
        folder : pathlib.Path
            Holds ``judge.json`` and ``judge.safetensors``.

        Raises
        ------
        PerceptError
            If one of the two is missing.
        """
        for name in (CONFIG_NAME, WEIGHTS_NAME):
            if not (folder / name).is_file():
                raise PerceptError(
                    f"The judge needs {folder / name}; it is missing. Run `percept pretrain`."
                )
        config = json.loads((folder / CONFIG_NAME).read_text())
        vocabulary = {name: tuple(values) for name, values in config["vocabulary"].items()}
        network = JudgeNetwork({name: len(values) for name, values in vocabulary.items()})
        network.load_state_dict(load_file(folder / WEIGHTS_NAME))
        return cls(network.float(), vocabulary, config["size_px"])

    def predict(self, pictures: Sequence[Image.Image]) -> Judgement:
        """Say what each picture shows."""
        chunks = [
            self._logits(pictures[start : start + _BATCH_SIZE])
            for start in range(0, len(pictures), _BATCH_SIZE)
        ]
        probabilities: dict[str, Float[np.ndarray, "n n_values"]] = {}
        for name, values in self.vocabulary.items():
            parts = [np.zeros((0, len(values)), np.float32)]
            parts += [chunk[name].softmax(dim=-1).numpy() for chunk in chunks]
            probabilities[name] = np.concatenate(parts)
        labels = {
            name: tuple(self.vocabulary[name][index] for index in values.argmax(axis=1))
            for name, values in probabilities.items()
        }
        return Judgement(labels, probabilities)

    @torch.inference_mode()
    def _logits(self, pictures: Sequence[Image.Image]) -> dict[str, Tensor]:
        side = (self.size_px, self.size_px)
        resized = [picture.convert("RGB").resize(side) for picture in pictures]
        pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in resized]))
        logits: dict[str, Tensor] = self.network(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
        return logits
