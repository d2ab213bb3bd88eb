"""Every step between a raw recording and its epochs, as params."""

from typing import Literal

from tasks.eeg.quality import BadChannelParams, RejectParams
from tasks.eeg.repair import AutorejectParams, IcaParams, PyprepParams
from tasks.eeg.signal import FilterParams, WindowParams
from tasks.runtime.params import Params


class CleaningBadChannelParams(BadChannelParams):
    """What finds bad channels: the thresholds, and pyprep."""

    pyprep: PyprepParams | None


class CleaningRejectParams(RejectParams):
    """What drops trials: the thresholds, and autoreject."""

    autoreject: AutorejectParams | None


class CleaningParams(Params):
    """Every step between a raw recording and its epochs."""

    mains_hz: float
    filters: FilterParams
    window: WindowParams
    resample: Literal["continuous", "epochs"]  # the recording, or each epoch once it is cut
    baseline_s: tuple[float, float] | None  # mean to subtract; null leaves it
    reference: Literal["average", "recorded"]
    on_nan: Literal["raise", "interpolate"]
    detrend: Literal["constant", "linear"] | None  # of each epoch, once it is cut
    bad_channels: CleaningBadChannelParams
    ica: IcaParams | None
    reject: CleaningRejectParams

    @property
    def cut(self) -> WindowParams:
        """The window, widened to the baseline: what is cut, before the epochs are cropped to the window."""
        first, last = self.baseline_s or (self.window.tmin_s, self.window.tmax_s)
        ends = {"tmin_s": min(first, self.window.tmin_s), "tmax_s": max(last, self.window.tmax_s)}
        return self.window.model_copy(update=ends)

    @property
    def is_fitted(self) -> bool:
        """Whether a step is fitted, so that it must know the training trials."""
        return self.ica is not None or self.reject.autoreject is not None
