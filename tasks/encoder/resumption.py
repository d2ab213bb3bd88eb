"""The state of a training run between epochs: a killed run goes on where it was."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import atomic_path, write_bytes

CACHE = Path("data/cache/train")


class ResumptionError(PerceptError):
    """A saved state of training cannot be used."""


@dataclass(frozen=True)
class SavedRun:
    """Where the state of one run, known by a fingerprint of its inputs and params, is kept.

    Attributes
    ----------
    folder : pathlib.Path
        Of this run alone.
    """

    folder: Path

    @property
    def path(self) -> Path:
        """The file of it."""
        return self.folder / "state.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state by tensors and plain values."""
        with atomic_path(self.path) as partial:
            torch.save(state, partial)

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None if there is none.

        Raises
        ------
        ResumptionError
            If the file cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise ResumptionError(
                f"{self.path} must be a whole state of training; its {self.path.stat().st_size} "
                "bytes cannot be read. Delete it and run `dvc repro train` to train from the start."
            ) from error
        return state

    def keep(self, epoch: int, weights: dict[str, Tensor]) -> None:
        """Keep the weights of one epoch beside the state."""
        write_bytes(
            self.folder / "epochs" / f"{epoch:04d}.safetensors",
            save({name: value.cpu().contiguous() for name, value in weights.items()}),
        )

    def kept(self) -> list[Path]:
        """Return the files of the epochs that were kept, in order."""
        return sorted((self.folder / "epochs").glob("*.safetensors"))

    def remove(self) -> None:
        """Forget the run."""
        shutil.rmtree(self.folder, ignore_errors=True)
