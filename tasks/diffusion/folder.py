"""Where the weights of a diffusion pipeline lie, whether they are whole, and which they are."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from tasks._errors import PerceptError
from tasks.artifacts.files import fingerprint, sha256_of

SHIPPED = "shipped"
LOCAL_PREFIX = "local-dir:"
WEIGHT_SUFFIXES = (".safetensors", ".bin")


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
    for name, part in json.loads(index.read_text()).items():
        if isinstance(part, list) and part[0] is not None:
            _require_part(folder / name)
    return folder


def pipeline_fingerprint(folder: Path) -> str:
    """Return a hash of the names and bytes of all files of a pipeline but its model card."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md")
    return fingerprint([[p.relative_to(folder).as_posix(), sha256_of(p)] for p in files])


def picture_size_px(folder: Path) -> int:
    """Return the side of the square pictures that a pipeline draws unless told otherwise."""
    denoiser = next(folder / p for p in ("unet", "transformer") if (folder / p).is_dir())
    latent_size = int(json.loads((denoiser / "config.json").read_text())["sample_size"])
    blocks = json.loads((folder / "vae" / "config.json").read_text())["block_out_channels"]
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


def _from_hub(model: str) -> Path:
    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError) as error:
        raise PerceptError(
            f"`render.model` must be {SHIPPED!r}, a folder or a model in the local hub cache; "
            f"{model!r} is none of these. Run `hf download {model}` or correct it."
        ) from error
