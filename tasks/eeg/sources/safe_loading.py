"""Open the files of publishers without running what may be hidden in them.

A pickle can name any function of any module and have it called while it is read. Here it may name
only what numpy needs to rebuild arrays, and even that is done by the functions below, not numpy's.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from tasks.eeg.sources.protocol import SourceError

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"
REMEDY = "Copy it from its origin again."
# What the readers raise on broken bytes.
BROKEN = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def load_npy(path: Path) -> Any:
    """Open a ``.npy`` file: an array, a dict that ``np.save`` wrote, or a pickle with that suffix.

    Returns
    -------
    Any
        A read-only view of the file where it holds numbers. Otherwise what was pickled; a 0-d array
        of objects is replaced by its object.

    Raises
    ------
    SourceError
        If the file is missing or broken, or asks for anything but arrays and plain containers.
    """
    try:
        with path.open("rb") as handle:
            if handle.read(len(NPY_MAGIC)) != NPY_MAGIC:
                handle.seek(0)
                return _unpickle(handle, path)
            handle.seek(0)
            shape, dtype = _npy_header(handle)
            if dtype.hasobject:
                array = np.asarray(_unpickle(handle, path), dtype=object)
                return array.item() if shape == () else array.reshape(shape)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except BROKEN as error:
        raise SourceError(_broken(path, "a whole .npy file or pickle", error)) from error


def load_pth(path: Path) -> Any:
    """Open a file that ``torch.save`` wrote; tensors stay on disk until they are used.

    Files from before PyTorch 1.6 cannot be mapped and are read into memory.

    Returns
    -------
    Any
        Tensors, arrays and plain containers.

    Raises
    ------
    SourceError
        If the file is missing or broken, or asks for anything but these.
    """
    import torch

    try:
        with path.open("rb") as handle:
            mapped = handle.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except BROKEN as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked:
            raise SourceError(_refusal(path, asked[1])) from error
        raise SourceError(_broken(path, "a whole file of torch.save", error)) from error


class ArrayName:
    """Stands for ``numpy.ndarray`` in a pickle, where it is an argument and never to be called."""


def _reconstruct(_subtype: object, _shape: object, _dtype: object) -> np.ndarray:
    """Return the empty array that a pickle fills afterwards."""
    return np.ndarray((0,), np.int8)


def _scalar(dtype: np.dtype, data: bytes | str) -> Any:
    if dtype.itemsize == 0:
        return dtype.type()
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype)[0]


def _frombuffer(data: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes are encoded as {encoding!r}, not latin1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


ADMITTED: Mapping[tuple[str, str], Callable[..., Any]] = MappingProxyType(
    {
        ("numpy", "ndarray"): ArrayName,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy.core.multiarray", "scalar"): _scalar,
        ("numpy._core.multiarray", "scalar"): _scalar,
        ("numpy.core.numeric", "_frombuffer"): _frombuffer,
        ("numpy._core.numeric", "_frombuffer"): _frombuffer,
        ("_codecs", "encode"): _encode,
        ("codecs", "encode"): _encode,
        ("__builtin__", "bytes"): _no_bytes,  # protocol 2 calls it for b"" alone
    }
)
"""All that a pickle may name, and what it gets for it."""


class _ArrayUnpickler(pickle.Unpickler):
    """Refuses every name that is not admitted."""

    def __init__(self, handle: BinaryIO, path: Path) -> None:
        super().__init__(handle, encoding="latin1")  # as Python 2 pickled arrays
        self._path = path

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Return what stands for a name."""
        if (module, name) not in ADMITTED:
            raise SourceError(_refusal(self._path, f"{module}.{name}"))
        return ADMITTED[module, name]


def _unpickle(handle: BinaryIO, path: Path) -> Any:
    return _ArrayUnpickler(handle, path).load()


def _npy_header(handle: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type; the handle then stands at the first byte of the data."""
    version = np.lib.format.read_magic(handle)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(handle)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(handle)
    else:
        raise ValueError(f"its version {version} of the format is not known here")
    return shape, dtype


def _refusal(path: Path, asked: str) -> str:
    return (
        f"{path} must hold arrays and plain containers only; it asks for {asked}. "
        "Do not open it; get the file from its publisher again."
    )


def _broken(path: Path, what: str, error: BaseException) -> str:
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return f"{path} must be {what}; it cannot be read ({reason}). {REMEDY}"
