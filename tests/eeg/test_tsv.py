"""One way to read tab-separated tables, as people write them."""

import re
from pathlib import Path

import pytest

from tasks.eeg.sources.protocol import SourceError
from tasks.eeg.sources.tsv import read_rows
from tests.rooms import ROOT

COLUMNS = ("onset", "name")
TABLE = "onset\tnote\tname\n1\tn/a\tcup\n2\tn/a\tcar\n"
ROWS = [("1", "cup"), ("2", "car")]


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode("utf-8"),
        TABLE.encode("utf-8-sig"),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("\n", "\r").encode(),
        f"{TABLE}\n\n".encode(),
        TABLE.replace("1\tn/a", '1\t5" screen').encode(),
        TABLE.replace("1\tn/a", '1\t"left').encode(),
        TABLE.replace("n/a", "x" * 200_000).encode(),
    ],
    ids=["plain", "bom", "crlf", "cr", "blank", "inch", "quote", "long"],
)
def test_tables_as_people_write_them_keep_every_row(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.tsv"
    path.write_bytes(content)
    assert read_rows(path, COLUMNS, "Mend it.") == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TABLE.replace("cup", "café").encode("latin-1"), "byte 25 is 0xe9, which is none there"),
        (TABLE.encode("utf-16"), "must be text in UTF-8; its byte 0 is 0xff"),
        (TABLE.replace("note", "onset").encode(), r"columns \['onset', 'name'\] once; \['onset'\]"),
        (b"", r"\['onset', 'name'\] are missing from \[\]"),
        (f"{TABLE}\n3\tn/a\n".encode(), "must have 3 columns in every line; line 5 has fewer"),
    ],
    ids=["latin-1", "utf-16", "twice", "empty", "short"],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "events.tsv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as error:
        read_rows(path, COLUMNS, "Mend it.")
    assert str(error.value).startswith(f"{path} must ")
    assert str(error.value).endswith(" Mend it.")


def test_nobody_else_reads_tab_separated_text() -> None:
    reading = re.compile(r"""split\("\\t"\)|(delimiter|sep)="\\t"|excel-tab|read_table\(.*\.tsv""")
    files = [path for room in ("tasks", "flows") for path in (ROOT / room).rglob("*.py")]
    found = {str(f.relative_to(ROOT)) for f in files if reading.search(f.read_text())}
    assert found == {"tasks/eeg/sources/tsv.py"}
