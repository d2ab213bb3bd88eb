"""Rows of numbers that lie in files and are read when they are asked for: memory does not grow with their number."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int

from tasks.runtime.errors import PerceptError


class StoredRowsError(PerceptError):
    """A file holds fewer numbers than it did when it was opened."""


@dataclass(frozen=True)
class StoredRows:
    """Rows of one shape in files; where it is indexed, they are read into a fresh array.

    They are read and not mapped: what a process has seen of a map counts as its memory for as long as the
    system has room for it.

    Attributes
    ----------
    paths : Sequence of pathlib.Path
        The files.
    file : numpy.ndarray
        Which of them each row lies in.
    offset : numpy.ndarray
        Where it begins there, in bytes.
    row_shape : tuple of int
        Shape of a row, of 32-bit floats.
    columns : tuple of int or None
        What is taken of a row's first axis; None for all.
    """

    paths: Sequence[Path]
    file: Int[np.ndarray, " n_rows"]
    offset: Int[np.ndarray, " n_rows"]
    row_shape: tuple[int, ...]
    columns: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.file)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all rows together."""
        first, *others = self.row_shape
        return (len(self), first if self.columns is None else len(self.columns), *others)

    def of(self, chosen: Bool[np.ndarray, " n_rows"]) -> StoredRows:
        """Return some of the rows, unread."""
        return replace(self, file=self.file[chosen], offset=self.offset[chosen])

    def __getitem__(
        self, chosen: slice | Int[np.ndarray, " n"] | Bool[np.ndarray, " n_rows"]
    ) -> Float32[np.ndarray, "n ..."]:
        file, offset = self.file[chosen], self.offset[chosen]
        found = np.empty((len(file), *self.row_shape), np.float32)
        row_bytes = found[:1].nbytes
        order = np.lexsort((offset, file))
        for path, run in _runs(self.paths, file, offset, order, row_bytes):
            _fill(found, run, path, int(offset[run[0]]))
        return found if self.columns is None else np.ascontiguousarray(found[:, self.columns])


def _runs(
    paths: Sequence[Path],
    file: Int[np.ndarray, " n"],
    offset: Int[np.ndarray, " n"],
    order: Int[np.ndarray, " n"],
    row_bytes: int,
) -> Iterator[tuple[Path, Int[np.ndarray, " n_run"]]]:
    """Yield places in the answer that follow on one another there and in a file, in the order of the files."""
    follows = (
        (np.diff(order) == 1) & (np.diff(file[order]) == 0) & (np.diff(offset[order]) == row_bytes)
    )
    for run in np.split(order, np.flatnonzero(~follows) + 1):
        if len(run):
            yield paths[file[run[0]]], run


def _fill(
    found: Float32[np.ndarray, "n ..."], run: Int[np.ndarray, " n_run"], path: Path, offset: int
) -> None:
    left = found[run[0] : run[-1] + 1].data.cast("B")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while left:
            n_bytes = os.preadv(descriptor, [left], offset)
            if not n_bytes:
                raise StoredRowsError(
                    f"{path} must stay as it was when it was opened; it ends {len(left)} bytes too early. Let "
                    "nothing change it while a stage reads it, and run again."
                )
            left, offset = left[n_bytes:], offset + n_bytes
    finally:
        os.close(descriptor)
