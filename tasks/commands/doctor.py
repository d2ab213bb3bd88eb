"""`percept doctor`: what the current params need and this machine lacks."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import PARAMS_FILE, PARAMS_HELP

if TYPE_CHECKING:
    from tasks.artifacts.catalogue import Artifacts
    from tasks.eeg.sources.registry import AnySourceParams

FREE_DISK_GB = 5.0
LISTED = 10  # names in a message

EXAMPLE = "percept doctor"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    doctor = commands.add_parser("doctor", help="say what is missing on this machine")
    doctor.add_argument("--params", type=Path, default=PARAMS_FILE, help=PARAMS_HELP)
    doctor.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    blocked = False
    for finding in examine(options.params):
        print(f"{finding.mark}  {finding.what}: {finding.text}", flush=True)
        blocked |= finding.blocks
    return int(blocked)


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    what
        The thing.
    text
        What was found and, where it is missing, what to do.
    mark
        ``ok``, ``--`` (missing, not needed) or ``!!`` (missing, needed).
    """

    what: str
    text: str
    mark: str

    @property
    def blocks(self) -> bool:
        """Whether the pipeline cannot run like this."""
        return self.mark == "!!"


def examine(params_file: Path, root: Path = Path()) -> Iterator[Finding]:
    """Look at everything the params need: data files, weights, key, device, disk.

    Yields
    ------
    Finding
        What is quickly told first; each as soon as it is known.
    """
    from tasks.artifacts.catalogue import Artifacts
    from tasks.wiring.contract import read_params

    params = read_params(params_file)
    artifacts = Artifacts(root)
    yield _disk(root)
    yield from _captioner(params, artifacts)
    yield from _weights(params, artifacts)
    yield from _image_prompt(params, artifacts)
    yield from _split(params)
    yield from _study(params, artifacts)
    yield from _parts(params, artifacts)
    yield from _params_findings(params_file)
    yield _device()


def _params_findings(params_file: Path) -> Iterator[Finding]:
    """Validate every section, so that a typing error shows before hours of work."""
    from tasks import STAGES
    from tasks.runtime.errors import PerceptError
    from tasks.runtime.progress import counting
    from tasks.wiring.contract import load_stage, params_for

    problems, looked_at = [], 0
    with counting("params of stages", len(STAGES), lambda: looked_at):
        for name in STAGES:
            try:
                params_for(load_stage(name), params_file)
            except PerceptError as error:
                problems.append(str(error))
            looked_at += 1
    if problems:
        yield Finding("params", " ".join(problems), "!!")
    else:
        yield Finding("params", f"{params_file} is complete and valid", "ok")


def _source(params: dict[str, Any]) -> AnySourceParams | None:
    """Return the params of the source; None where they are wrong, which the params findings say."""
    from pydantic import TypeAdapter, ValidationError

    from tasks.eeg.sources.registry import AnySourceParams

    try:
        source: AnySourceParams = TypeAdapter(AnySourceParams).validate_python(
            params.get("ingest", {}).get("source", {})
        )
    except ValidationError:
        return None
    return source


def _study(params: dict[str, Any], artifacts: Artifacts) -> Iterator[Finding]:
    """Name every file of the study that is missing, where it goes and where it comes from."""
    from tasks.eeg.sources.required_files import absent_files, missing_files

    source = _source(params)
    if source is None:
        return
    folder = artifacts.raw / source.folder
    if folder == artifacts.simulated and not folder.exists():
        yield Finding("recordings", f"{folder} will be simulated by `percept run simulate`", "ok")
        return
    missing = missing_files(source, folder)
    for need in missing:
        yield Finding("recordings", f"{folder / need.pattern} is missing; {need.origin}", "!!")
    absent = absent_files(source, folder)
    if absent:
        drops = params.get("ingest", {}).get("on_missing_recording") == "drop"
        text = (
            f"{len(absent)} files of {folder} are listed and not on this disk (links to nothing, empty files or "
            f"stand-ins): {', '.join(path.name for path in absent[:LISTED])}; "
        )
        if drops:
            yield Finding("recordings", f"{text}their recordings will be left out", "--")
        else:
            text += "fetch them, or set ingest.on_missing_recording to drop"
            yield Finding("recordings", text, "!!")
    if not missing and not absent:
        yield Finding("recordings", f"{folder} is there", "ok")


def _split(params: dict[str, Any]) -> Iterator[Finding]:
    """Say what no section can know alone: a subject that is left out has no filters of its own."""
    split = params.get("preprocess", {}).get("split", {})
    per_subject = params.get("train", {}).get("per_subject")
    if split.get("test_subject") and per_subject:
        text = (
            f"preprocess.split leaves {split.get('test_subject')} out, so that it has no filters of its "
            "own; set train.per_subject to false"
        )
        yield Finding("split", text, "!!")


def _parts(params: dict[str, Any], artifacts: Artifacts) -> Iterator[Finding]:
    """Say what the parts of the split hold, and what later stages would refuse of them."""
    from tasks.commands.outlook import expect
    from tasks.eeg.sources.required_files import missing_files

    source = _source(params)
    if source is None:
        return
    folder = artifacts.raw / source.folder
    if folder.exists() and not missing_files(source, folder):
        for mark, text in expect(params, source, artifacts):
            yield Finding("parts", text, mark)


def _captioner(params: dict[str, Any], artifacts: Artifacts) -> Iterator[Finding]:
    section = params.get("caption", {})
    files = {"file": "captions.json", "human": str(section.get("human_file"))}
    backend = section.get("backend")
    has_key = bool(os.environ.get("OPENAI_API_KEY"))
    if backend in ("openai", "openai_batch"):
        text = "OPENAI_API_KEY is set" if has_key else "set OPENAI_API_KEY in the environment"
        yield Finding("caption key", text, "ok" if has_key else "!!")
    else:
        yield Finding("caption key", f"not needed by backend {backend}", "ok")
    if backend == "concept":
        yield from _kinds(params)
    if backend in files:
        folder = artifacts.raw / str(params.get("ingest", {}).get("source", {}).get("folder"))
        path = folder / files[backend]
        text = (
            "is there"
            if path.is_file()
            else "is missing; docs/real_recordings.md says what it holds"
        )
        yield Finding("captions", f"{path} {text}", "ok" if path.is_file() else "!!")


def _kinds(params: dict[str, Any]) -> Iterator[Finding]:
    """Say which kinds are asked for that the concept's name alone does not give."""
    from tasks.language.captioners.concept import ConceptCaptioner

    written = ConceptCaptioner.kinds
    asked = {
        "render.composition.kinds": params.get("render", {}).get("composition", {}).get("kinds"),
        "train.caption_kinds": params.get("train", {}).get("caption_kinds"),
    }
    for where, kinds in asked.items():
        if isinstance(kinds, list) and (missing := [k for k in kinds if k not in written]):
            text = f"{where} names {', '.join(missing)}; caption.backend concept writes {', '.join(written)} alone"
            yield Finding("caption kinds", text, "!!")


def _weights(params: dict[str, Any], artifacts: Artifacts) -> Iterator[Finding]:
    wanted = (("embed", artifacts.clip_model), ("render", artifacts.diffusion_model))
    for stage, folder in wanted:
        model = str(params.get(stage, {}).get("model", ""))
        local = folder if model == "shipped" else Path(model.removeprefix("local-dir:"))
        if any(local.rglob("*.safetensors")):
            yield Finding(f"{stage} weights", f"{local} is there", "ok")
        elif model == "shipped" or model.startswith("local-dir:"):
            text = f"{local} holds no weights; check out data/models or run `percept pretrain`"
            yield Finding(f"{stage} weights", text, "!!")
        else:
            yield Finding(f"{stage} weights", f"{model} is loaded from the hub's cache", "--")
    judge = any(artifacts.judge_model.rglob("*.safetensors"))
    text = "is there" if judge else "holds no weights; check out data/models"
    yield Finding("judge weights", f"{artifacts.judge_model} {text}", "ok" if judge else "!!")


def _image_prompt(params: dict[str, Any], artifacts: Artifacts) -> Iterator[Finding]:
    """Say whether an IP-Adapter, its image encoder and the generator are there and fit one another."""
    section = params.get("render", {})
    if not (section.get("image_prompt") or {}).get("adapter"):
        return
    from pydantic import ValidationError

    from tasks.diffusion.adapter import ImagePromptParams, find_image_encoder
    from tasks.diffusion.folder import find_pipeline
    from tasks.runtime.errors import PerceptError

    try:
        wanted = ImagePromptParams.model_validate(section["image_prompt"])
        pipeline = find_pipeline(str(section.get("model")), artifacts.diffusion_model)
        encoder = find_image_encoder(wanted, pipeline)
    except ValidationError:
        return  # said by the params findings
    except PerceptError as error:
        yield Finding("image prompt", str(error), "!!")
    else:
        yield Finding("image prompt", f"{wanted.adapter} and {encoder} fit {pipeline}", "ok")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", torch.cuda.get_device_name(0), "ok")
    return Finding("GPU", "none; the simulated study does not need one", "--")


def _disk(root: Path) -> Finding:
    free_gb = shutil.disk_usage(root.resolve()).free / 1e9
    enough = free_gb >= FREE_DISK_GB
    text = f"{free_gb:.0f} GB free" + ("" if enough else f"; free at least {FREE_DISK_GB:.0f} GB")
    return Finding("disk", text, "ok" if enough else "!!")
