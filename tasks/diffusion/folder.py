"""Where the weights of a diffusion pipeline lie, whether they are whole, and which they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import fingerprint, sha256_of

SHIPPED = "shipped"
LOCAL_PREFIX = "local-dir:"
WEIGHT_SUFFIXES = (".safetensors", ".bin")
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


def find_pipeline(model: str, shipped: Path) -> Path:
    """Return the folder of a diffusion pipeline after a look at its parts.

    Parameters
    ----------
    model : str
        ``shipped``, a folder (also as ``local-dir:PATH``), or a name on the Hugging Face hub whose
        files are in the local cache.
    shipped : Path
        The folder that ``shipped`` stands for.

    Raises
    ------
    PerceptError
        If the folder, its model_index.json or the weights of a part are missing.
    """
    folder = shipped if model == SHIPPED else Path(model.removeprefix(LOCAL_PREFIX))
    if not folder.is_dir() and model != SHIPPED and not model.startswith(LOCAL_PREFIX):
        folder = _from_hub(model)
    index = folder / "model_index.json"
    if not index.is_file():
        raise PerceptError(
            f"A diffusion pipeline needs {index}; it does not exist. "
            "Check out data/models, run `percept pretrain`, or correct `render.model`."
        )
    for name, part in read_json(index).items():
        if isinstance(part, list) and part[0] is not None:
            _require_part(folder / name)
    return folder


def require_text_to_image(folder: Path) -> None:
    """Refuse a pipeline that does not draw pictures from text.

    Raises
    ------
    PerceptError
        If its class is none of those that diffusers knows for this.
    """
    from diffusers.pipelines import auto_pipeline

    tasks = ("TEXT2IMAGE", "IMAGE2IMAGE", "INPAINT")  # the latter are loaded as the first
    known = {
        pipeline.__name__
        for task in tasks
        for pipeline in getattr(auto_pipeline, f"AUTO_{task}_PIPELINES_MAPPING").values()
    }
    found = read_json(folder / "model_index.json").get("_class_name")
    if found not in known:
        raise PerceptError(
            f"`render.model` must draw pictures from text, as StableDiffusionPipeline does; {folder} "
            f"is a {found}. Choose a text-to-image model."
        )


def weights_variant(folder: Path) -> str | None:
    """Return ``fp16`` where a pipeline was downloaded in that variant alone, else None."""
    denoiser = denoiser_of(folder)
    names = [p.name for p in denoiser.iterdir() if p.suffix in WEIGHT_SUFFIXES]
    return "fp16" if names and all(".fp16." in name for name in names) else None


def denoiser_of(folder: Path) -> Path:
    """Return the folder of the network that denoises."""
    return next(folder / p for p in ("unet", "transformer") if (folder / p).is_dir())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a pipeline.

    Raises
    ------
    PerceptError
        If it is none.
    """
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise PerceptError(f"{path} must be JSON; it is not ({error}). Get it anew.") from error
    if not isinstance(content, dict):
        raise PerceptError(
            f"{path} must hold a JSON object; it holds a {type(content).__name__}. Get it anew."
        )
    return content


def pipeline_fingerprint(folder: Path) -> str:
    """Return a hash of the names and bytes of all files of a pipeline but its model card."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md")
    return fingerprint([[p.relative_to(folder).as_posix(), sha256_of(p)] for p in files])


def picture_size_px(folder: Path) -> int:
    """Return the side of the square pictures that a pipeline draws unless told otherwise."""
    latent_size = int(read_json(denoiser_of(folder) / "config.json").get("sample_size", 128))
    blocks = read_json(folder / "vae" / "config.json")["block_out_channels"]
    return latent_size * int(2 ** (len(blocks) - 1))


def _require_part(part: Path) -> None:
    if not part.is_dir():
        raise PerceptError(
            f"A diffusion pipeline needs every part of its model_index.json; {part} does not exist. "
            "Get the whole pipeline."
        )
    is_network = (part / "config.json").is_file()
    if is_network and not any(p.suffix in WEIGHT_SUFFIXES for p in part.iterdir()):
        raise PerceptError(
            f"Every network of a diffusion pipeline needs weights; {part} holds no "
            f"{' or '.join(WEIGHT_SUFFIXES)} file. Get the whole pipeline."
        )
    for index in part.glob("*.index.json"):
        for name in sorted(set(read_json(index).get("weight_map", {}).values())):
            if not (part / name).is_file():
                raise PerceptError(
                    f"{index} names {name}, which must lie beside it; it does not. "
                    "Get the whole pipeline."
                )
    if part.name.startswith("tokenizer") and not any((part / n).is_file() for n in VOCABULARIES):
        raise PerceptError(
            f"A tokenizer needs its vocabulary; {part} holds none of {', '.join(VOCABULARIES)}. "
            "Get the whole pipeline."
        )


def _from_hub(model: str) -> Path:
    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError) as error:
        raise PerceptError(
            f"`render.model` must be {SHIPPED!r}, a folder or a model in the local hub cache; "
            f"{model!r} is none of these. Run `hf download {model}` (a gated one wants its licence "
            "accepted and `hf auth login` first) or correct it."
        ) from error
