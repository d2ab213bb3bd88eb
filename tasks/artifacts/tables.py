"""Read and write Parquet tables under contract."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import atomic_path


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
    key = key_of(schema)
    n_keys = table.group_by(key).aggregate([]).num_rows
    if n_keys != table.num_rows:
        raise ContractError(
            f"{name} must be unique on {key}; {table.num_rows} rows hold {n_keys} keys. {remedy}"
        )
    return table


def key_of(schema: pa.Schema) -> list[str]:
    """Return the names of the columns that identify a row under ``schema``."""
    return list(schema.metadata[b"key"].decode().split(","))


def write_table(table: pa.Table, path: Path, schema: pa.Schema) -> None:
    """Validate ``table``, then write it so that a crash never leaves half a file.

    Raises
    ------
    ContractError
        If the table does not satisfy its contract; nothing is written then.
    """
    table = check(table, schema, path.name, "Mend the stage that writes it.")
    with atomic_path(path) as partial:
        pq.write_table(table, partial, compression="zstd")


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
