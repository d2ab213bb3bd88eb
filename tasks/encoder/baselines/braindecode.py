"""Networks of braindecode (Schirrmeister et al., 2017, and many others), as backbones.

They were published for windows of one to four seconds. Kernels keep their length in seconds; where an
epoch of less than a second cannot hold them all, pooling is shortened, and the docstring says so.
"""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from torch import Tensor, nn

from tasks.encoder.baselines.shapes import EpochShape

N_FEATURES = 128  # of the last layer, which classifies in the publications


class Adapter(nn.Module):
    """A network that knows of no subjects."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        eeg: Float[Tensor, "n n_channels n_times"],
        group_index: Int[Tensor, " n"],  # noqa: ARG002  (the same weights for everybody)
    ) -> Float[Tensor, "n n_features"]:
        """Return its features."""
        features: Tensor = self.network(eeg)
        return features


def eegnet(epoch: EpochShape) -> nn.Module:
    """Build EEGNet-8,2 (Lawhern et al., 2018), with a first kernel of half a second."""
    from braindecode.models import EEGNet

    return Adapter(
        EEGNet(
            epoch.n_channels,
            N_FEATURES,
            epoch.n_times,
            kernel_length=epoch.samples(0.5),
            pool2_kernel_size=min(8, epoch.n_times // 4),
            final_layer_with_constraint=True,
        )
    )


def eegconformer(epoch: EpochShape) -> nn.Module:
    """Build EEG Conformer (Song et al., 2023): kernels of 0.1 s, windows of 0.3 s every 0.06 s."""
    from braindecode.models import EEGConformer

    kernel = epoch.samples(0.1)
    return Adapter(
        EEGConformer(
            n_outputs=N_FEATURES,
            n_chans=epoch.n_channels,
            n_times=epoch.n_times,
            filter_time_length=kernel,
            pool_time_length=min(epoch.samples(0.3), epoch.n_times - kernel + 1),
            pool_time_stride=epoch.samples(0.06),
        )
    )


def atcnet(epoch: EpochShape) -> nn.Module:
    """Build ATCNet (Altaheri et al., 2023), with three sliding windows in place of five.

    Pooling by 8 and 7 samples is shortened so that nine samples are left, the least it can read.
    """
    from braindecode.models import ATCNet

    pool = math.isqrt(epoch.n_times // 9)
    return Adapter(
        ATCNet(
            n_chans=epoch.n_channels,
            n_outputs=N_FEATURES,
            n_times=epoch.n_times,
            sfreq=epoch.sfreq_hz,
            input_window_seconds=epoch.n_times / epoch.sfreq_hz,
            conv_block_kernel_length_1=epoch.samples(0.256) | 1,  # odd: the same on both sides
            conv_block_kernel_length_2=epoch.samples(0.064) | 1,
            conv_block_pool_size_1=min(8, pool),
            conv_block_pool_size_2=min(7, pool),
            n_windows=3,
        )
    )


def shallow(epoch: EpochShape) -> nn.Module:
    """Build ShallowFBCSPNet (Schirrmeister et al., 2017): kernels of 0.1 s, windows of 0.3 s."""
    from braindecode.models import ShallowFBCSPNet

    kernel = epoch.samples(0.1)
    return Adapter(
        ShallowFBCSPNet(
            epoch.n_channels,
            N_FEATURES,
            epoch.n_times,
            filter_time_length=kernel,
            pool_time_length=min(epoch.samples(0.3), epoch.n_times - kernel + 1),
            pool_time_stride=epoch.samples(0.06),
        )
    )


def deep4(epoch: EpochShape) -> nn.Module:
    """Build Deep4Net (Schirrmeister et al., 2017), with kernels of 3 and pooling by 2 samples.

    The published kernels of 10 samples and pooling by 3, four times over, need 441 samples.
    """
    from braindecode.models import Deep4Net

    small = epoch.n_times < 441
    kernel, pool = (3, 2) if small else (10, 3)
    return Adapter(
        Deep4Net(
            epoch.n_channels,
            N_FEATURES,
            epoch.n_times,
            filter_time_length=kernel,
            filter_length_2=kernel,
            filter_length_3=kernel,
            filter_length_4=kernel,
            pool_time_length=pool,
            pool_time_stride=pool,
        )
    )
