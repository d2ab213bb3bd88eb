"""A trained encoder as one differentiable score per caption kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import numpy as np
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from jaxtyping import Float, Float32

from tasks.runtime.device import device_of, multiplying

GradientMethod = Literal["gradient", "gradient_x_input", "integrated_gradients"]
Vectors = Float[np.ndarray, "n dim"]
Epochs = Float32[np.ndarray, "n_trials n_channels n_times"]


class Network(Protocol):
    """What is needed of a trained encoder."""

    @property
    def module(self) -> torch.nn.Module:
        """See `Heads`."""

    @property
    def kinds(self) -> Sequence[str]:
        """See `Heads`."""

    def subject_index(self, subjects: Sequence[str]) -> torch.Tensor:
        """See `Heads`."""


@dataclass(frozen=True)
class Heads:
    """A trained network, seen as one differentiable score per caption kind.

    Attributes
    ----------
    module : torch.nn.Module
        Maps EEG (n, n_channels, n_times) and subject indices (n,) to unit vectors (n, n_kinds, dim).
    kinds : Sequence[str]
        In the order of the module's heads.
    subject_index : callable
        Names of subjects to subject indices.
    batch_size : int
        Trials at once.
    """

    module: torch.nn.Module
    kinds: Sequence[str]
    subject_index: Callable[[Sequence[str]], torch.Tensor]
    batch_size: int

    @classmethod
    def of(cls, encoder: Network, batch_size: int) -> Self:
        """Return the heads of an encoder, in evaluation mode."""
        return cls(encoder.module.eval(), encoder.kinds, encoder.subject_index, batch_size)

    def predict(self, eeg: Epochs, subjects: Sequence[str]) -> dict[str, Vectors]:
        """Return the output of each head."""
        index = self.subject_index(subjects)
        device = device_of(self.module)
        with torch.inference_mode(), multiplying("float32", device):
            parts = [
                self.module(torch.from_numpy(eeg[rows]).to(device), index[rows].to(device)).cpu()
                for rows in self._batches(len(eeg))
            ]
        vectors = torch.cat(parts).numpy()
        return {kind: vectors[:, head] for head, kind in enumerate(self.kinds)}

    def gradients(
        self,
        eeg: Epochs,
        subjects: Sequence[str],
        directions: Vectors,
        kind: str,
        method: GradientMethod,
        n_steps: int,
    ) -> Epochs:
        """Attribute the product of a head's output with one direction per trial to the trial's EEG.

        Parameters
        ----------
        subjects : Sequence[str]
            One per trial.
        directions : Float[np.ndarray, "n_trials dim"]
            What the output is multiplied by.
        kind : str
            Caption kind of the head.
        method : {"gradient", "gradient_x_input", "integrated_gradients"}
            Of captum. Integrated gradients start from the mean epoch.
        """
        head = list(self.kinds).index(kind)

        def score(eeg: torch.Tensor, subject: torch.Tensor, toward: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.module(eeg, subject)[:, head]
            return (output * toward).sum(dim=-1)

        device = device_of(self.module)
        attribute = _captum(method, score, torch.from_numpy(eeg.mean(axis=0)).to(device), n_steps)
        index, toward = self.subject_index(subjects), torch.from_numpy(np.float32(directions))
        with multiplying("float32", device):
            parts = [
                attribute(
                    torch.from_numpy(eeg[rows]).to(device),
                    (index[rows].to(device), toward[rows].to(device)),
                )
                for rows in self._batches(len(eeg))
            ]
        return np.asarray(torch.cat(parts).detach().cpu().numpy())

    def randomised(self, seed: int) -> Self:
        """Return the same network with the numbers of each learnt or fitted tensor shuffled.

        After Adebayo et al. (2018, "Sanity checks for saliency maps"): a map that survives this says
        nothing of what was learnt.
        """
        module = deepcopy(self.module)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in module.state_dict().values():
                if tensor.is_floating_point():
                    order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
                    tensor.copy_(tensor.flatten()[order].reshape(tensor.shape))
        return replace(self, module=module)

    def _batches(self, n_trials: int) -> list[slice]:
        return [
            slice(start, start + self.batch_size) for start in range(0, n_trials, self.batch_size)
        ]


Attribute = Callable[[torch.Tensor, tuple[torch.Tensor, ...]], torch.Tensor]


def _captum(
    method: GradientMethod, score: Callable[..., torch.Tensor], baseline: torch.Tensor, n_steps: int
) -> Attribute:
    if method == "gradient":
        return lambda eeg, extra: Saliency(score).attribute(
            eeg.requires_grad_(), abs=False, additional_forward_args=extra
        )
    if method == "gradient_x_input":
        return lambda eeg, extra: InputXGradient(score).attribute(
            eeg.requires_grad_(), additional_forward_args=extra
        )
    return lambda eeg, extra: IntegratedGradients(score).attribute(
        eeg,
        baseline[None],
        additional_forward_args=extra,
        n_steps=n_steps,
        internal_batch_size=len(eeg),
    )
