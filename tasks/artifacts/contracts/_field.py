"""A column, with its meaning and unit stored in the Parquet file itself."""

import pyarrow as pa

VECTOR = pa.large_list(pa.float32())
"""Of a column of vectors: offsets of 64 bits, since 2^31 numbers are 279,620 trials of ten heads of 768."""


def field(name: str, dtype: pa.DataType, doc: str, *, unit: str = "") -> pa.Field:
    """Return a column that is never null and carries its meaning and unit."""
    return pa.field(name, dtype, nullable=False, metadata={"doc": doc, "unit": unit})


def contract(*fields: pa.Field, key: str) -> pa.Schema:
    """Return a schema whose rows are identified by the comma-separated columns in ``key``."""
    return pa.schema(list(fields), metadata={"key": key})
