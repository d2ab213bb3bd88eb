"""The trained encoder on disk, and what the stages after training see of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tasks.encoder.architectures import ARCHITECTURES
from tasks.encoder.dataset import TrainingData
from tasks.encoder.params import TrainParams
from tasks.runtime.device import compute_device, device_of, multiplying
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import link_or_copy, write_bytes, write_json

WEIGHTS = "encoder.safetensors"
DESCRIPTION = "encoder.json"
EPOCHS = "epochs"  # folder of the weights of every epoch, where they are kept
TRIALS_AT_ONCE = 256
REMEDY = "Run `dvc repro --force train` to make it anew."


class EncoderError(PerceptError):
    """An encoder cannot be loaded, or cannot read what it is given."""


@dataclass(frozen=True)
class Encoder:
    """A trained encoder.

    Attributes
    ----------
    module : torch.nn.Module
        EEG and group indices to unit vectors, differentiable.
    description : dict
        Content of the JSON file: architecture, sizes, params, channels and the like.
    """

    module: nn.Module
    description: Mapping[str, Any]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Caption kinds, in the order of the predicted vectors."""
        return tuple(self.description["kinds"])

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels, in the order of the rows of an epoch."""
        return tuple(self.description["channels"])

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects that it was trained on."""
        return tuple(self.description["subjects"])

    def subject_index(self, subjects: Sequence[str]) -> Int64[Tensor, " n"]:
        """Return what the module wants to know of each trial's subject.

        Raises
        ------
        EncoderError
            If filters are per subject and a subject is unknown.
        """
        if not self.description["per_subject"]:
            return torch.zeros(len(subjects), dtype=torch.int64)
        unknown = sorted(set(subjects) - set(self.subjects))
        if unknown:
            raise EncoderError(
                f"The encoder has filters for {', '.join(self.subjects)}; {', '.join(unknown)} is "
                "unknown to it. Train with this subject, or with train.per_subject: false."
            )
        return torch.tensor([self.subjects.index(s) for s in subjects], dtype=torch.int64)

    @torch.no_grad()
    def predict(
        self,
        eeg: Float[np.ndarray, "n n_channels n_times"],
        subjects: Sequence[str],
    ) -> Float32[np.ndarray, "n n_kinds dim"]:
        """Predict the unit vector of each kind for each trial.

        Parameters
        ----------
        eeg : numpy.ndarray
            Epochs with the channels and samples that the encoder was trained on.

        Raises
        ------
        EncoderError
            If the shape or a subject is not what the encoder knows.
        """
        return self._predict(self.module, eeg, subjects)

    @torch.no_grad()
    def predict_images(
        self,
        eeg: Float[np.ndarray, "n n_channels n_times"],
        subjects: Sequence[str],
    ) -> Float32[np.ndarray, "n image_dim"] | None:
        """Predict the unit vector of the picture for each trial; None where there is no image head.

        Raises
        ------
        EncoderError
            If the shape or a subject is not what the encoder knows.
        """
        if getattr(self.core, "image_head", None) is None:
            return None
        return self._predict(self.core.images, eeg, subjects)

    @torch.no_grad()
    def gallery(
        self, levels: Float32[np.ndarray, "n n_levels image_dim"]
    ) -> Float32[np.ndarray, "n dim"]:
        """Return the vectors that stand for pictures where `predict_images` is compared with them.

        Parameters
        ----------
        levels : numpy.ndarray
            Vectors of the pictures at every level of the image target.
        """
        device = device_of(self.module)
        parts = torch.split(torch.from_numpy(np.ascontiguousarray(levels)), TRIALS_AT_ONCE)
        found = torch.cat([self.core.image_head.pictures(part.to(device)).cpu() for part in parts])
        return np.asarray(found.numpy())

    @property
    def core(self) -> Any:
        """The module as it was trained, on the channels that it decodes."""
        return self.module.encoder if isinstance(self.module, _Chosen) else self.module

    def _predict(
        self,
        answer: Callable[[Tensor, Tensor], Tensor],
        eeg: Float[np.ndarray, "n n_channels n_times"],
        subjects: Sequence[str],
    ) -> np.ndarray:
        expected = (len(self.channels), self.description["n_times"])
        if eeg.shape[1:] != expected:
            raise EncoderError(
                f"Epochs must have {expected[0]} channels and {expected[1]} samples as in training; "
                f"found {eeg.shape[1]} and {eeg.shape[2]}. Use the same `preprocess` params as then, "
                "or run `dvc repro train`."
            )
        whole = torch.from_numpy(np.ascontiguousarray(eeg, np.float32))
        if isinstance(self.module, _Chosen) and answer is not self.module:
            whole = whole[:, self.module.channels.cpu()]
        return self._in_parts(answer, whole, self.subject_index(subjects), TRIALS_AT_ONCE).numpy()

    def _in_parts(
        self,
        answer: Callable[[Tensor, Tensor], Tensor],
        eeg: Float[Tensor, "n n_channels n_times"],
        index: Int64[Tensor, " n"],
        at_once: int,
    ) -> Tensor:
        """Predict some trials at once, and half as many where the memory of a GPU is too small."""
        device = device_of(self.module)
        parts = zip(torch.split(eeg, at_once), torch.split(index, at_once), strict=True)
        try:
            with multiplying("float32", device):
                found = [answer(*(p.to(device) for p in part)).cpu() for part in parts]
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
        else:
            return torch.cat(found)
        return self._in_parts(answer, eeg, index, at_once // 2)

    def require_channels(self, channels: Sequence[str]) -> None:
        """Check that epochs have the channels of training, in their order.

        Raises
        ------
        EncoderError
            If they have not.
        """
        if tuple(channels) != self.channels:
            missing = [c for c in self.channels if c not in channels]
            extra = [c for c in channels if c not in self.channels]
            raise EncoderError(
                "Epochs must have the channels that the encoder was trained on, in their order; "
                f"missing: {', '.join(missing) or 'none'}, unexpected: {', '.join(extra) or 'none'}"
                f"{'' if missing or extra else ', but the order differs'}. Run `dvc repro train`."
            )


def save_encoder(
    folder: Path,
    module: nn.Module,
    description: Mapping[str, Any],
    epochs: Sequence[Path] = (),
) -> None:
    """Write the weights and the description of an encoder.

    Parameters
    ----------
    folder : pathlib.Path
        Where the two files go.
    module : torch.nn.Module
        Any of the known architectures.
    description : dict
        Plain values, among them `architecture` and `sizes`.
    epochs : Sequence of pathlib.Path
        Weights of single epochs, to be copied into the folder `epochs`.
    """
    weights = {name: value.contiguous() for name, value in module.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(weights))
    write_json(folder / DESCRIPTION, dict(description))
    shutil.rmtree(folder / EPOCHS, ignore_errors=True)
    for path in epochs:
        link_or_copy(path, folder / EPOCHS / path.name)


def kept_epochs(folder: Path) -> list[int]:
    """Return the epochs whose weights were kept beside those that were chosen."""
    return sorted(int(path.stem) for path in (folder / EPOCHS).glob("*.safetensors"))


def load_encoder(folder: Path, epoch: int | None = None) -> Encoder:
    """Load an encoder for prediction.

    Parameters
    ----------
    folder : pathlib.Path
        As written by `save_encoder`.
    epoch : int or None
        The epoch whose weights to take, where they were kept; None for the chosen ones.

    Raises
    ------
    EncoderError
        If a file is missing or damaged, or the two do not belong together.
    """
    weights_file = WEIGHTS if epoch is None else f"{EPOCHS}/{epoch:04d}.safetensors"
    for name in (DESCRIPTION, weights_file):
        if not (folder / name).exists():
            raise EncoderError(f"{folder / name} must exist; it does not. {REMEDY}")
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        weights = load_file(folder / weights_file)
    except (SafetensorError, ValueError) as error:
        raise EncoderError(
            f"The files in {folder} must be whole; one cannot be read ({error}). {REMEDY}"
        ) from error
    module = _build(description, folder)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise EncoderError(
            f"{folder / WEIGHTS} must hold the weights of a {description['architecture']} of the "
            f"sizes in {DESCRIPTION}; it does not. {REMEDY}"
        ) from error
    whole = reading_recorded(module, description.get("decoded_channels"))
    return Encoder(whole.eval().requires_grad_(requires_grad=False), description)


class _Chosen(nn.Module):
    """An encoder of some channels that is given all of them.

    Parameters
    ----------
    channels : Sequence of int
        Their places among the recorded ones.
    """

    channels: Tensor

    def __init__(self, encoder: nn.Module, channels: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("channels", torch.tensor(channels))

    def forward(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int64[Tensor, " n"]
    ) -> Float[Tensor, "n n_kinds dim"]:
        """Predict from the chosen channels."""
        predicted: Tensor = self.encoder(eeg[:, self.channels], group_index)
        return predicted


def reading_recorded(module: nn.Module, decoded_channels: Sequence[int] | None) -> nn.Module:
    """Return an encoder that is given every recorded channel, where this process computes.

    Parameters
    ----------
    decoded_channels : Sequence of int or None
        Which these are; None for all.
    """
    whole = module if decoded_channels is None else _Chosen(module, decoded_channels)
    return whole.to(compute_device())


def _build(description: dict[str, Any], folder: Path) -> nn.Module:
    architecture = str(description.get("architecture"))
    if architecture not in ARCHITECTURES:
        raise EncoderError(
            f"{folder / DESCRIPTION} must name an architecture among {', '.join(ARCHITECTURES)}; found "
            f"{architecture!r}. {REMEDY}"
        )
    sizes = description["sizes"]
    try:
        return ARCHITECTURES[architecture].build(sizes)
    except TypeError as error:
        raise EncoderError(
            f"{folder / DESCRIPTION} must hold the sizes of a {architecture}; those in it "
            f"({', '.join(sizes)}) are of another architecture. {REMEDY}"
        ) from error


def description_of(data: TrainingData, params: TrainParams) -> dict[str, Any]:
    """Return what decoding must know.

    Parameters
    ----------
    data : TrainingData
        What an encoder was trained on.
    """
    return {
        "kinds": data.kinds,
        "subjects": data.subjects,
        "channels": data.info.channels,
        "per_subject": params.per_subject,
        "n_times": data.train.eeg.shape[2],
    }
