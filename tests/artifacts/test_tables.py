"""Nothing but what the contract says is written or read, and never half of it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.artifacts import tables
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.oracle import ORACLE
from tasks.artifacts.tables import (
    ContractError,
    empty_table,
    key_of,
    read_table,
    table_writer,
    write_table,
)

TABLES = {name: a.schema for name, a in Artifacts.all().items() if a.schema is not None}


def oracle(trial_ids=("a", "b")):
    n = len(trial_ids)
    return pa.table(
        {
            "trial_id": list(trial_ids),
            "factor": ["concept"] * n,
            "predicted": ["dog"] * n,
            "actual": ["cat"] * n,
        }
    )


@pytest.mark.parametrize("name", TABLES)
def test_contracts_document_every_column_and_hold_their_key(name):
    schema = TABLES[name]
    assert set(key_of(schema)) <= set(schema.names)
    for field in schema:
        assert field.metadata[b"doc"], field.name
        has_unit = field.name.endswith(("_s", "_hz", "_px", "_uv"))
        assert not has_unit or field.metadata[b"unit"], f"{name}.{field.name} has no unit"


def test_round_trip_keeps_the_documentation(tmp_path):
    path = tmp_path / "oracle.parquet"
    write_table(oracle(), path, ORACLE)
    assert read_table(path, ORACLE).to_pylist() == oracle().to_pylist()
    assert pq.read_schema(path).field("predicted").metadata[b"doc"]


def test_columns_in_another_order_are_put_in_order(tmp_path):
    path = tmp_path / "oracle.parquet"
    write_table(oracle().select(["actual", "factor", "trial_id", "predicted"]), path, ORACLE)
    assert read_table(path, ORACLE).column_names == ORACLE.names


def test_same_table_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_table(oracle(), tmp_path / name, ORACLE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_duplicate_key(tmp_path):
    with pytest.raises(ContractError) as error:
        write_table(oracle(("a", "a")), tmp_path / "oracle.parquet", ORACLE)
    assert str(error.value) == (
        "oracle.parquet must be unique on ['trial_id', 'factor']; 2 rows hold 1 keys. "
        "Mend the stage that writes it."
    )
    assert list(tmp_path.iterdir()) == []


def test_missing_and_unexpected_columns(tmp_path):
    table = oracle().rename_columns(["trial_id", "factor", "guess", "actual"])
    with pytest.raises(ContractError, match=r"missing: \['predicted'\], unexpected: \['guess'\]"):
        write_table(table, tmp_path / "oracle.parquet", ORACLE)


def test_null(tmp_path):
    table = oracle().set_column(3, "actual", pa.array(["cat", None]))
    with pytest.raises(ContractError, match=r"oracle.parquet.actual must not be null; 1 rows are"):
        write_table(table, tmp_path / "oracle.parquet", ORACLE)


def test_wrong_type(tmp_path):
    table = oracle().set_column(3, "actual", pa.array([[1], [2]]))
    with pytest.raises(ContractError, match="must have the column types"):
        write_table(table, tmp_path / "oracle.parquet", ORACLE)


def test_truncated_file(tmp_path):
    path = tmp_path / "oracle.parquet"
    write_table(oracle(), path, ORACLE)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        ContractError,
        match=r"must be a whole Parquet file; its \d+ bytes cannot be read .* Run `dvc repro",
    ):
        read_table(path, ORACLE)


def test_missing_file(tmp_path):
    path = tmp_path / "oracle.parquet"
    with pytest.raises(ContractError) as error:
        read_table(path, ORACLE)
    assert (
        str(error.value)
        == f"{path} must exist; it does not. Run `dvc repro {path}` to make it anew."
    )


def test_failed_write_leaves_the_old_table(tmp_path, monkeypatch):
    path = tmp_path / "oracle.parquet"
    write_table(oracle(), path, ORACLE)

    def full(writer, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        write_table(oracle(("c",)), path, ORACLE)
    assert read_table(path, ORACLE).num_rows == 2
    assert [p.name for p in tmp_path.iterdir()] == ["oracle.parquet"]


def test_empty_table_is_valid(tmp_path):
    write_table(empty_table(ORACLE), tmp_path / "oracle.parquet", ORACLE)
    assert read_table(tmp_path / "oracle.parquet", ORACLE).num_rows == 0


LISTS = {
    name: schema
    for name, schema in TABLES.items()
    if any(pa.types.is_nested(field.type) for field in schema)
}


def long_vectors(n, schema, first=0):
    """A table of `n` vectors as its contract has it."""
    ids = [f"{i:06d}" for i in range(first, first + n)]
    vectors = [[float(i), 1.0] for i in range(first, first + n)]
    return pa.table({f.name: vectors if f.name == "vector" else ids for f in schema})


def test_every_table_of_lists_has_offsets_beyond_two_to_the_31():
    assert LISTS
    for name, schema in LISTS.items():
        for field in schema:
            assert not pa.types.is_list(field.type), f"{name}.{field.name}"


@pytest.mark.parametrize("name", LISTS)
def test_a_table_with_offsets_of_32_bits_is_still_read(tmp_path, name):
    schema = LISTS[name]
    table = long_vectors(3, schema)
    old = table.set_column(
        table.column_names.index("vector"), "vector", table["vector"].cast(pa.list_(pa.float32()))
    )
    pq.write_table(old, tmp_path / "old.parquet")
    write_table(table, tmp_path / "new.parquet", schema)
    found = read_table(tmp_path / "old.parquet", schema)
    assert pa.types.is_list(pq.read_schema(tmp_path / "old.parquet").field("vector").type)
    assert found == read_table(tmp_path / "new.parquet", schema)
    assert found["vector"].to_pylist() == [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]


def test_pieces_make_the_table_that_they_are_pieces_of(tmp_path, monkeypatch):
    schema = LISTS["text_vectors"]
    monkeypatch.setattr(tables, "ROW_GROUP_BYTES", 2**12)
    with table_writer(tmp_path / "pieces", schema) as write:
        for first in range(0, 900, 300):
            write(long_vectors(300, schema, first))
            assert not (tmp_path / "pieces").exists()
    assert read_table(tmp_path / "pieces", schema).equals(
        long_vectors(900, schema).cast(schema), check_metadata=False
    )
    metadata = pq.read_metadata(tmp_path / "pieces")
    sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    assert len(sizes) > 3
    assert max(sizes) <= 2**12


def test_a_key_that_two_pieces_share_is_refused_and_nothing_is_written(tmp_path):
    schema = LISTS["text_vectors"]

    def write_two():
        with table_writer(tmp_path / "pieces", schema) as write:
            write(long_vectors(3, schema))
            write(long_vectors(3, schema, 2))

    with pytest.raises(ContractError, match=r"must be unique on .*; 6 rows hold 5 keys"):
        write_two()
    assert list(tmp_path.iterdir()) == []
