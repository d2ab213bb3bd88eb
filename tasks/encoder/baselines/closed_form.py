"""What decoders that are fitted by a formula share: one set of weights per group, bins of time, unit vectors."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.encoder.dataset import TrainingData, TrainingDataError
from tasks.encoder.params import TrainParams
from tasks.encoder.training import Trained, closed_form_log


@dataclass(frozen=True, kw_only=True)
class ClosedFormSizes:
    """What decides the shapes of every such decoder; each adds its own.

    Attributes
    ----------
    n_groups, n_channels, n_times : int
        Sets of weights, and shape of an epoch.
    bin_samples : int
        Length of the bins of time.
    n_kinds, dim : int
        Caption kinds and length of their vectors.
    """

    n_groups: int
    n_channels: int
    n_times: int
    bin_samples: int
    n_kinds: int
    dim: int

    @property
    def n_bins(self) -> int:
        """Whole bins of time in an epoch."""
        return self.n_times // self.bin_samples


@dataclass(frozen=True, kw_only=True)
class SpatialSizes(ClosedFormSizes):
    """The same, of a decoder that first brings the channels to a few components.

    Attributes
    ----------
    n_components : int
        Spatial components.
    """

    n_components: int

    def __post_init__(self) -> None:
        if self.n_components > self.n_channels:
            raise TrainingDataError(
                f"train.architecture.n_components must be at most the {self.n_channels} channels; it is "
                f"{self.n_components}. Lower it."
            )


class ClosedForm(nn.Module):
    """EEG to one unit vector per caption kind, by weights that are set and not trained.

    Parameters
    ----------
    sizes : ClosedFormSizes
        Shapes; the weights are buffers of zeros until they are fitted.
    """

    sizes: ClosedFormSizes

    def __init__(self, sizes: ClosedFormSizes) -> None:
        super().__init__()
        self.sizes = sizes

    def as_vectors(self, values: Float[Tensor, "n n_values"]) -> Float[Tensor, "n n_kinds dim"]:
        """Return the values of all kinds, side by side, as one unit vector per kind."""
        return F.normalize(values.reshape(len(values), self.sizes.n_kinds, -1), dim=2)


def shapes_of(data: TrainingData) -> dict[str, int]:
    """Return the sizes that the data decide."""
    _, n_channels, n_times = data.train.eeg.shape
    _, n_kinds, dim = data.targets.shape
    return {"n_channels": n_channels, "n_times": n_times, "n_kinds": n_kinds, "dim": dim}


def fitted(module: ClosedForm, data: TrainingData, params: TrainParams) -> Trained:
    """Return what `train` keeps of a decoder that is fitted: there is one epoch, 0."""
    return Trained(module.eval(), asdict(module.sizes), closed_form_log(module, data, params), 0)


def binned(
    eeg: Float[Tensor, "n n_channels n_times"], bin_samples: int
) -> Float[Tensor, "n n_values"]:
    """Return the means of bins of time, channel by channel."""
    return F.avg_pool1d(eeg, bin_samples).flatten(1)
