"""A column, with its meaning and unit stored in the Parquet file itself."""

import pyarrow as pa


def field(name: str, dtype: pa.DataType, doc: str, *, unit: str = "") -> pa.Field:
    """Return a column that is never null and carries its meaning and unit."""
    return pa.field(name, dtype, nullable=False, metadata={"doc": doc, "unit": unit})


def contract(*fields: pa.Field, key: str) -> pa.Schema:
    """Return a schema whose rows are identified by the comma-separated columns in ``key``."""
    return pa.schema(list(fields), metadata={"key": key})
