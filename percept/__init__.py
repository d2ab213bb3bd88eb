"""Percept as a library: load an encoder that was exported, decode EEG, read a study's tables.

>>> import percept
>>> encoder = percept.load_encoder("my-encoder")
>>> decoded = encoder.decode(epochs)
>>> decoded.captions
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.decoding.decoder import Decoded as Decoded
    from tasks.decoding.decoder import Decoder as Decoder
    from tasks.decoding.decoder import load_encoder as load_encoder
    from tasks.decoding.study import Study as Study
    from tasks.decoding.study import load_study as load_study

_HOME = {
    "Decoded": "tasks.decoding.decoder",
    "Decoder": "tasks.decoding.decoder",
    "load_encoder": "tasks.decoding.decoder",
    "Study": "tasks.decoding.study",
    "load_study": "tasks.decoding.study",
}

__all__ = ["Decoded", "Decoder", "Study", "load_encoder", "load_study"]


def __getattr__(name: str) -> Any:
    """Import a public name with its first use: torch and MNE take seconds."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'percept' has no attribute {name!r}")
