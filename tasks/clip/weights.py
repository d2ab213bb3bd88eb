"""What a CLIP is made of: that its weights are there before it is built, and a fingerprint of all of it.

open_clip takes random weights where none are named, and goes on with a warning where weights were trained
with another activation: both are errors here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

from tasks.runtime.errors import PerceptError

LOCAL_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
OTHER_WEIGHTS_NAME = "open_clip_pytorch_model.bin"
_PROBES = ("a dog", "Zwölf naïve cats' 3.5-ft. umbrellas, at dusk!")


def require_weights(name: str, pretrained: str | None) -> None:
    """Make sure, without a download, that every file of a CLIP is at hand.

    Parameters
    ----------
    name : str
        ``local-dir:FOLDER``, ``hf-hub:REPOSITORY`` or a model name of open_clip.
    pretrained : str or None
        For a model name only: tag or file of the weights.

    Raises
    ------
    PerceptError
        If weights or configuration are missing, none are named, or they fit another architecture.
    """
    if name.startswith(LOCAL_PREFIX):
        _require_folder(Path(name.removeprefix(LOCAL_PREFIX)))
    elif name.startswith(HUB_PREFIX):
        repository = name.removeprefix(HUB_PREFIX)
        _require_cached(name, repository, [CONFIG_NAME])
        _require_cached(name, repository, [WEIGHTS_NAME, OTHER_WEIGHTS_NAME])
    elif pretrained is None:
        raise PerceptError(
            f"The CLIP {name!r} needs pretrained weights; none were named and open_clip would "
            f"take random ones. Name a tag or file, as in {name}/openai, or use {LOCAL_PREFIX}FOLDER."
        )
    else:
        _require_tag(name, pretrained)


def _require_folder(folder: Path) -> None:
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise PerceptError(
                f"The CLIP needs {folder / name}; it is missing. Run `percept pretrain` or point "
                "the param at a folder that open_clip wrote."
            )


def _require_tag(name: str, tag: str) -> None:
    config = open_clip.get_model_config(name)
    if config is None:
        raise PerceptError(
            f"The CLIP must be a model of open_clip, {LOCAL_PREFIX}FOLDER or {HUB_PREFIX}REPOSITORY; "
            f"{name!r} is none. `open_clip.list_models()` names the models."
        )
    found = open_clip.get_pretrained_cfg(name, tag)
    if not found:
        if Path(tag).is_file():
            return
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise PerceptError(
            f"The weights of {name} must be a tag ({tags}) or a file; {tag!r} is neither. Mend the param."
        )
    if bool(found.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = name.removesuffix("-quickgelu")
        other = f"{other}-quickgelu" if found.get("quick_gelu") else other
        raise PerceptError(
            f"The weights {tag} were trained with another activation than {name} has; vectors would "
            f"be wrong. Name {other}/{tag}."
        )
    if found.get("hf_hub"):
        repository, _, file = found["hf_hub"].rpartition("/")
        _require_cached(name, repository, [file] if file else [WEIGHTS_NAME, OTHER_WEIGHTS_NAME])
    elif constants.HF_HUB_OFFLINE and not _downloaded(found["url"]).is_file():
        raise PerceptError(
            f"The CLIP {name}/{tag} needs {_downloaded(found['url'])}; it is missing, and "
            "HF_HUB_OFFLINE forbids a download. Put the file there, or unset HF_HUB_OFFLINE once."
        )


def _downloaded(url: str) -> Path:
    """Return where open_clip keeps a file that is on no hub."""
    return Path("~/.cache/clip").expanduser() / Path(url).name


def _require_cached(name: str, repository: str, files: list[str]) -> None:
    """Make sure that one of some files is in the hub's cache, unless it may be downloaded."""
    if constants.HF_HUB_OFFLINE and not any(_cached(repository, file) for file in files):
        raise PerceptError(
            f"The CLIP {name} needs {' or '.join(files)} of {repository}; the hub's cache "
            f"{constants.HF_HUB_CACHE} has it not, and HF_HUB_OFFLINE forbids a download. Run "
            f"`HF_HUB_OFFLINE=0 hf download {repository} {files[0]}` where there is a network, or "
            f"name a folder: {LOCAL_PREFIX}FOLDER."
        )


def _cached(repository: str, file: str) -> Path | None:
    path = try_to_load_from_cache(repository, file)
    return Path(path) if isinstance(path, str) else None


def fingerprint_of(
    name: str, model: Any, tokenizer: Callable[..., torch.Tensor], precision: str
) -> str:
    """Hash all that decides a vector: architecture, weights, preprocessing, tokens and precision."""
    texts = tokenizer(list(_PROBES)).tolist()
    decisive = [_architecture(name), model.visual.preprocess_cfg, texts, precision]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode())
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _architecture(name: str) -> Any:
    if name.startswith(LOCAL_PREFIX):
        folder = Path(name.removeprefix(LOCAL_PREFIX))
        return json.loads((folder / CONFIG_NAME).read_text())["model_cfg"]
    if name.startswith(HUB_PREFIX):
        path = hf_hub_download(name.removeprefix(HUB_PREFIX), CONFIG_NAME)  # from the cache
        return json.loads(Path(path).read_text())["model_cfg"]
    return open_clip.get_model_config(name)
