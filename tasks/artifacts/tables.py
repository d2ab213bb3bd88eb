"""Read and write Parquet tables under contract."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import atomic_path

ROW_GROUP_BYTES = 2**26  # of a table in memory; what a reader of one row group holds
ROWS_AT_MOST = 2**20  # of a row group
REPAIR = "Mend the stage that writes it."


class ContractError(PerceptError):
    """A table does not satisfy its contract."""


def check(table: pa.Table, schema: pa.Schema, name: str, remedy: str) -> pa.Table:
    """Return ``table`` with exactly the columns, in order, and types of ``schema``.

    Parameters
    ----------
    table
        What was read or is about to be written.
    schema
        The contract: columns with types, nullability, meaning and unit; its metadata names the key.
    name
        The file's name, for the message.
    remedy
        What the reader of the message shall do.

    Raises
    ------
    ContractError
        If a column is missing, unexpected, of another type or null, or if the key is not unique.
    """
    table = _columns(table, schema, name, remedy)
    _require_unique(table, key_of(schema), name, remedy)
    return table


def _columns(table: pa.Table, schema: pa.Schema, name: str, remedy: str) -> pa.Table:
    """Return ``table`` as `check` does, whatever its keys are."""
    missing = [n for n in schema.names if n not in table.column_names]
    extra = [n for n in table.column_names if n not in schema.names]
    if missing or extra:
        raise ContractError(
            f"{name} must have exactly the columns {schema.names}; "
            f"missing: {missing or 'none'}, unexpected: {extra or 'none'}. {remedy}"
        )
    table = _typed(table.select(schema.names), schema, name, remedy)
    for field in schema:
        nulls = table[field.name].null_count
        if nulls and not field.nullable:
            raise ContractError(f"{name}.{field.name} must not be null; {nulls} rows are. {remedy}")
    return table


def _require_unique(table: pa.Table, key: list[str], name: str, remedy: str) -> None:
    n_keys = table.group_by(key).aggregate([]).num_rows
    if n_keys != table.num_rows:
        raise ContractError(
            f"{name} must be unique on {key}; {table.num_rows} rows hold {n_keys} keys. {remedy}"
        )


def key_of(schema: pa.Schema) -> list[str]:
    """Return the names of the columns that identify a row under ``schema``."""
    return list(schema.metadata[b"key"].decode().split(","))


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Write a table piece by piece, so that a crash never leaves half a file.

    Of what was written, only the keys stay in memory. Row groups hold at most `ROW_GROUP_BYTES`, so that readers
    need no more for one, however long the table is.

    Yields
    ------
    callable
        Validates a piece and appends it. There is no file before the block has ended well.

    Raises
    ------
    ContractError
        If a piece does not satisfy the contract, or the key is not unique over all pieces.
    """
    keys = [schema.empty_table().select(key_of(schema))]

    def write(piece: pa.Table) -> None:
        piece = _columns(piece, schema, path.name, REPAIR)
        n_rows = ROW_GROUP_BYTES * piece.num_rows // max(1, piece.nbytes)
        writer.write_table(piece, row_group_size=max(1, min(n_rows, ROWS_AT_MOST)))
        keys.append(piece.select(key_of(schema)))

    with atomic_path(path) as partial:
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            yield write
        _require_unique(pa.concat_tables(keys), key_of(schema), path.name, REPAIR)


def write_table(table: pa.Table, path: Path, schema: pa.Schema) -> None:
    """Validate ``table``, then write it so that a crash never leaves half a file.

    Raises
    ------
    ContractError
        If the table does not satisfy its contract; nothing is written then.
    """
    with table_writer(path, schema) as write:
        write(table)


def read_table(path: Path, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """Read a table and validate it against its contract.

    Parameters
    ----------
    columns
        Return these columns alone; the whole table is validated all the same.

    Raises
    ------
    ContractError
        If the file is missing, cannot be read as Parquet, or breaks its contract.
    """
    remedy = f"Run `dvc repro {path}` to make it anew."
    if not path.exists():
        raise ContractError(f"{path} must exist; it does not. {remedy}")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowIOError, OSError) as error:
        size = path.stat().st_size
        raise ContractError(
            f"{path} must be a whole Parquet file; its {size} bytes cannot be read ({error}). {remedy}"
        ) from error
    table = check(table, schema, path.name, remedy)
    return table if columns is None else table.select(columns)


def empty_table(schema: pa.Schema) -> pa.Table:
    """Return a table of no rows under ``schema``: "not known for this study"."""
    return schema.empty_table()


def _typed(table: pa.Table, schema: pa.Schema, name: str, remedy: str) -> pa.Table:
    """Cast ``table`` to ``schema`` without losing a value."""
    try:
        return pa.table(
            [table[f.name].cast(f.type) for f in schema],
            schema=schema.with_metadata(schema.metadata),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        found = {f.name: str(f.type) for f in table.schema}
        wanted = {f.name: str(f.type) for f in schema}
        raise ContractError(
            f"{name} must have the column types {wanted}; found {found} ({error}). {remedy}"
        ) from error
