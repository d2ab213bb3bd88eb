"""What was fetched is whole, checked, and never fetched twice."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.__main__ import main
from tasks.fetching import archives
from tasks.fetching.downloads import FetchError
from tasks.fetching.fetch import fetch_study
from tasks.fetching.studies import STUDIES, RemoteFile, RemoteStudy
from tests.fetching.file_server import FileServer, serving

CONTENT = {"sub-01/ses-01/raw_eeg_test.npy": os.urandom(60_000), "sub-01/note.txt": b"read me"}
METADATA = os.urandom(300_000)


def zipped(content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return data.getvalue()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as found:
        found.files = {"/metadata": METADATA, "/1": zipped(CONTENT), "/2": zipped(CONTENT)}
        yield found


def study_at(server: FileServer, known_hash: str | None = None) -> RemoteStudy:
    return RemoteStudy(
        "free",
        (RemoteFile(f"{server.url}/metadata", "images/metadata.npy", known_hash),),
        {
            n: (RemoteFile(f"{server.url}/{n}", f"raw/sub-0{n}.zip", unpack_to="raw"),)
            for n in (1, 2)
        },
    )


def fetch(server: FileServer, folder: Path, known_hash: str | None = None) -> int:
    return fetch_study(study_at(server, known_hash), folder, [1], pause_s=0)


def message(server: FileServer, folder: Path, known_hash: str | None = None) -> str:
    with pytest.raises(FetchError) as error:
        fetch(server, folder, known_hash)
    return str(error.value)


def test_a_study_is_fetched_unpacked_recorded_and_not_fetched_again(
    server: FileServer, tmp_path: Path
) -> None:
    assert fetch(server, tmp_path) == 2
    assert (tmp_path / "images/metadata.npy").read_bytes() == METADATA
    for name, data in CONTENT.items():
        assert (tmp_path / "raw" / name).read_bytes() == data
    assert not (tmp_path / "raw/sub-01.zip").exists()
    record = json.loads((tmp_path / "fetched.json").read_text())
    assert record["images/metadata.npy"] == {
        "url": f"{server.url}/metadata",
        "sha256": hashlib.sha256(METADATA).hexdigest(),
        "n_bytes": len(METADATA),
        "checked_against": "first download",
        "files": {"images/metadata.npy": len(METADATA)},
    }
    assert sorted(record["raw/sub-01.zip"]["files"]) == sorted(f"raw/{name}" for name in CONTENT)
    server.asked.clear()
    assert fetch(server, tmp_path) == 0
    assert server.asked == []


def test_a_dropped_connection_is_taken_up_where_it_dropped(
    server: FileServer, tmp_path: Path
) -> None:
    server.drop_after, server.drops = 131_072, 2
    fetch(server, tmp_path)
    assert (tmp_path / "images/metadata.npy").read_bytes() == METADATA
    ranges = [wanted for path, wanted in server.asked if path == "/metadata"]
    assert ranges == ["bytes=0-0", "", "bytes=131072-", "bytes=262144-"]


def test_a_server_without_versions_and_ranges_sends_it_all_again(
    server: FileServer, tmp_path: Path
) -> None:
    server.drop_after, server.drops, server.ranges, server.etag = 100_000, 1, False, ""
    fetch(server, tmp_path)
    assert (tmp_path / "images/metadata.npy").read_bytes() == METADATA


@pytest.mark.parametrize("etag", ['"second"', ""])
def test_a_file_that_changed_meanwhile_is_fetched_anew(
    server: FileServer, tmp_path: Path, etag: str
) -> None:
    partial = tmp_path / "images/metadata.npy.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"old" * 1000)
    version = {"n_bytes": 5_000 if not etag else len(METADATA), "etag": '"first"' if etag else ""}
    partial.with_name(partial.name + ".json").write_text(json.dumps(version))
    server.etag = etag
    fetch(server, tmp_path)
    assert (tmp_path / "images/metadata.npy").read_bytes() == METADATA


def test_a_killed_fetch_goes_on_from_its_last_byte(server: FileServer, tmp_path: Path) -> None:
    server.files["/metadata"] = big = os.urandom(30_000_000)
    script = (
        "import sys\nfrom pathlib import Path\nfrom tasks.fetching import downloads\n"
        "import time\nurl, path = sys.argv[1:]\n"
        "d = downloads.ResumingDownloader(Path(path), lambda n: time.sleep(0.1))\n"
        "d(url, path + '.done', None)\n"
    )
    partial = tmp_path / "images/metadata.npy.partial"
    command = [sys.executable, "-c", script, f"{server.url}/metadata", str(partial)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 2_000_000):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_bytes = partial.stat().st_size
    assert 0 < n_bytes < len(big)
    server.asked.clear()
    fetch(server, tmp_path)
    assert (tmp_path / "images/metadata.npy").read_bytes() == big
    assert ("/metadata", f"bytes={n_bytes}-") in server.asked


def test_a_connection_that_keeps_dropping_is_given_up(server: FileServer, tmp_path: Path) -> None:
    server.drop_after, server.drops = 1, 100
    text = message(server, tmp_path)
    assert text.startswith(
        f"{server.url}/metadata must be fetched whole; the connection dropped 6 times in a row after "
        "0 bytes ("
    )
    assert text.endswith("Run the same command again: it goes on from there.")


def test_an_unreachable_server_is_named(server: FileServer, tmp_path: Path) -> None:
    server.status = 503
    assert message(server, tmp_path) == (
        f"{server.url}/metadata must be reachable; 6 times it was not (status 503). "
        "Mend the connection and run the same command again."
    )


def test_a_file_that_is_gone_is_named(server: FileServer, tmp_path: Path) -> None:
    del server.files["/metadata"]
    assert message(server, tmp_path) == (
        f"{server.url}/metadata must be there for anybody; its server answers 404 Not Found. "
        "See whether the publisher has moved it."
    )


def test_another_checksum_than_the_publishers_is_refused(
    server: FileServer, tmp_path: Path
) -> None:
    path = tmp_path / "images/metadata.npy"
    assert message(server, tmp_path, "md5:" + "0" * 32) == (
        f"{path} must have the checksum md5:{'0' * 32}; what {server.url}/metadata sends has "
        "another. The publisher has changed it, or it was damaged on its way: fetch it again, and "
        f"delete its entry in {tmp_path / 'fetched.json'} if the change is known."
    )
    assert not path.exists()
    known = "md5:" + hashlib.md5(METADATA).hexdigest()
    fetch(server, tmp_path, known)
    record = json.loads((tmp_path / "fetched.json").read_text())
    assert record["images/metadata.npy"]["checked_against"] == "publisher"


def test_a_file_must_be_the_one_that_was_first_recorded(server: FileServer, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    (tmp_path / "images/metadata.npy").unlink()
    server.files["/metadata"], server.etag = os.urandom(1000), '"second"'
    digest = hashlib.sha256(METADATA).hexdigest()
    assert f"must have the checksum sha256:{digest}; what" in message(server, tmp_path)


def test_the_disk_is_looked_at_first(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage(0, 0, 100_000))
    assert message(server, tmp_path) == (
        f"{tmp_path} must have 0.0 GB free to fetch and unpack what is missing; it has 0.0 GB. "
        "Free the disk, or name fewer subjects."
    )
    assert [wanted for _, wanted in server.asked] == ["bytes=0-0"] * 2
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_leads_out_of_its_folder_is_refused(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["/1"] = zipped({"../../evil.py": b"x"})
    assert message(server, tmp_path) == (
        f"{tmp_path / 'raw/sub-01.zip'} must unpack into its folder; '../../evil.py' leads out of "
        "it. Do not use this archive."
    )


def test_what_is_no_archive_is_said_so(server: FileServer, tmp_path: Path) -> None:
    server.files["/1"] = b"<html>sign in</html>"
    assert message(server, tmp_path) == (
        f"{tmp_path / 'raw/sub-01.zip'} must be a whole ZIP archive; it cannot be unpacked (File is "
        "not a zip file). Delete it and run the same command again."
    )


METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@settings(max_examples=200, deadline=None)
@given(
    method=st.sampled_from(METHODS),
    places=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3),
    bit=st.integers(0, 7),
    kept=st.floats(0, 1) | st.just(1.0),
)
def test_a_damaged_archive_is_one_sentence_and_nothing_damaged_is_kept(
    method: int, places: list[float], bit: int, kept: float
) -> None:
    content = {"sub-01/eeg.npy": bytes(range(256)) * 8, "sub-01/note.txt": b"read me"}
    data = bytearray(zipped(content, method))
    for place in places:
        data[int(place * len(data))] ^= 1 << bit
    with TemporaryDirectory() as name:
        archive, folder = Path(name, "sub-01.zip"), Path(name, "raw")
        archive.write_bytes(data[: round(kept * len(data))])
        said = ""
        try:
            archives.unpack(archive, folder, lambda n: None)
        except FetchError as error:
            said = str(error)
        assert not said or said.startswith((f"{archive} must ", f"{folder} must "))
        found = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert all(file in content.values() for file in found)
        assert said or len(found) == len(content)


@pytest.mark.parametrize(
    "member", ["", ".", "./", "/", "..", "a/../../b", "C:/b", "\\\\host\\b", "a\0b", "a//"]
)
def test_a_member_that_is_no_file_below_the_folder_is_refused_or_no_file(
    server: FileServer, tmp_path: Path, member: str
) -> None:
    """A name that ends in a slash is a folder, of which nothing is unpacked."""
    info = zipfile.ZipInfo("placeholder")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        info.filename = member
        archive.writestr(info, b"")
    server.files["/1"] = data.getvalue()
    said = ""
    try:
        fetch(server, tmp_path)
    except FetchError as error:
        said = str(error)
    assert not said or said.startswith(f"{tmp_path / 'raw/sub-01.zip'} must unpack into its folder")
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert files <= {"images/metadata.npy", "raw/sub-01.zip", "fetched.json", "raw/a"}


def test_an_unknown_subject_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fetch", "things_eeg2", "--subjects", "11", "--folder", str(tmp_path)]
    assert main(arguments) == 1
    assert capsys.readouterr().err == (
        "percept: Subjects must be among 1, 2, 3, 4, 5, 6, 7, 8, 9, 10; 11 are not. Name others.\n"
    )


def test_a_broken_record_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "fetched.json").write_text("{")
    assert message(server, tmp_path).startswith(
        f"{tmp_path / 'fetched.json'} must be JSON as it was written; it is not ("
    )


def test_every_file_goes_where_its_source_looks_for_it() -> None:
    files = STUDIES["things_eeg2"].files([3])
    assert {file.path for file in files} == {
        "image_set/image_metadata.npy",
        "image_set/test_images.zip",
        "image_set/training_images.zip",
        "raw_data/sub-03.zip",
    }
    assert len(STUDIES["things_eeg2"].files(None)) == 13
