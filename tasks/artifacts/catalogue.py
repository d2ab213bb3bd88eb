"""Where each artefact lives. The only module that spells a file name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self, overload

import pyarrow as pa

from tasks.artifacts.contracts.averages import AVERAGES
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.events import EVENTS
from tasks.artifacts.contracts.image_gallery import IMAGE_GALLERY
from tasks.artifacts.contracts.image_predictions import IMAGE_PREDICTIONS
from tasks.artifacts.contracts.image_targets import IMAGE_TARGETS
from tasks.artifacts.contracts.image_vectors import IMAGE_VECTORS
from tasks.artifacts.contracts.judgements import JUDGEMENTS
from tasks.artifacts.contracts.oracle import ORACLE
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.quality import QUALITY
from tasks.artifacts.contracts.recordings import RECORDINGS
from tasks.artifacts.contracts.renders import RENDERS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.saliency import SALIENCY
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.topographies import TOPOGRAPHIES
from tasks.artifacts.contracts.trials import TRIALS


@dataclass(frozen=True)
class Artifact:
    """One file or folder of the catalogue: on an instance it reads as its path, on the class as itself.

    Attributes
    ----------
    path
        Relative to the root of the repository.
    schema
        Contract of the table; None where it is no table.
    given
        What no stage writes: raw data and shipped models.
    """

    path: str
    schema: pa.Schema | None = None
    given: bool = False

    @overload
    def __get__(self, catalogue: None, owner: type) -> Self: ...
    @overload
    def __get__(self, catalogue: "Artifacts", owner: type) -> Path: ...
    def __get__(self, catalogue: "Artifacts | None", owner: type) -> "Path | Self":
        return self if catalogue is None else catalogue.root / self.path


class Artifacts:
    """The catalogue: ``Artifacts().trials`` is a path, ``Artifacts.trials.schema`` its contract."""

    raw = Artifact("data/raw", given=True)
    clip_model = Artifact("data/models/clip", given=True)
    diffusion_model = Artifact("data/models/diffusion", given=True)
    judge_model = Artifact("data/models/judge", given=True)
    simulated = Artifact("data/raw/simulated")
    recordings = Artifact("data/interim/recordings.parquet", RECORDINGS)
    events = Artifact("data/interim/events.parquet", EVENTS)
    stimuli = Artifact("data/interim/stimuli.parquet", STIMULI)
    oracle = Artifact("data/interim/oracle.parquet", ORACLE)
    topographies = Artifact("data/interim/topographies.parquet", TOPOGRAPHIES)
    trials = Artifact("data/interim/trials.parquet", TRIALS)
    quality = Artifact("data/interim/quality.parquet", QUALITY)
    epochs = Artifact("data/interim/epochs")
    averages = Artifact("data/interim/averages.parquet", AVERAGES)
    captions = Artifact("data/processed/captions.parquet", CAPTIONS)
    caption_metrics = Artifact("reports/metrics/caption.json")
    text_vectors = Artifact("data/processed/text_vectors.parquet", TEXT_VECTORS)
    image_vectors = Artifact("data/processed/image_vectors.parquet", IMAGE_VECTORS)
    image_targets = Artifact("data/processed/image_targets.parquet", IMAGE_TARGETS)
    check_captions_metrics = Artifact("reports/metrics/check_captions.json")
    check_captions_plots = Artifact("reports/plots/check_captions")
    encoder = Artifact("data/processed/encoder")
    training_log = Artifact("reports/plots/training_log.csv")
    predictions = Artifact("data/processed/predictions.parquet", PREDICTIONS)
    retrievals = Artifact("data/processed/retrievals.parquet", RETRIEVALS)
    image_predictions = Artifact("data/processed/image_predictions.parquet", IMAGE_PREDICTIONS)
    image_gallery = Artifact("data/processed/image_gallery.parquet", IMAGE_GALLERY)
    renders = Artifact("data/processed/renders.parquet", RENDERS)
    render_images = Artifact("data/processed/render_images")
    judgements = Artifact("data/processed/judgements.parquet", JUDGEMENTS)
    evaluate_metrics = Artifact("reports/metrics/evaluate.json")
    evaluate_plots = Artifact("reports/plots/evaluate")
    saliency = Artifact("data/processed/saliency.parquet", SALIENCY)
    explain_metrics = Artifact("reports/metrics/explain.json")
    explain_plots = Artifact("reports/plots/explain")
    audit_metrics = Artifact("reports/metrics/audit.json")
    audit_plots = Artifact("reports/plots/audit")
    report_page = Artifact("reports/index.html")

    def __init__(self, root: Path = Path()) -> None:
        self.root = root

    @classmethod
    def all(cls) -> dict[str, Artifact]:
        """Return every artefact by name, in pipeline order."""
        return {name: value for name, value in vars(cls).items() if isinstance(value, Artifact)}

    def paths(self) -> dict[str, Path]:
        """Return the path of every artefact by its name."""
        return {name: self.root / artifact.path for name, artifact in self.all().items()}
