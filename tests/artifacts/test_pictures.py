"""One way to open a picture, for every stage."""

import ast
import hashlib
import io
import struct
import subprocess
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.artifacts.pictures import (
    FORMATS,
    MAX_PIXELS,
    UnreadablePictureError,
    examine,
    open_rgb,
    read_picture,
    size_in_header,
    texts_of,
)
from tests.rooms import ROOT

RAMP = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
COLOURS = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x112] = orientation
    return block


def png(width: int, height: int) -> bytes:
    """Return a black PNG of one bit per pixel; small, however many pixels it states."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")


UPRIGHT = {
    1: COLOURS,
    2: COLOURS[:, ::-1],
    3: COLOURS[::-1, ::-1],
    4: COLOURS[::-1],
    5: COLOURS.swapaxes(0, 1),
    6: np.rot90(COLOURS, -1),
    7: COLOURS[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(COLOURS),
}
"""What is seen of `COLOURS` stored with an EXIF orientation."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_a_picture_is_turned_as_its_exif_says(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    path = tmp_path / f"turned.{suffix}"
    lossless = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(COLOURS).save(path, exif=exif(orientation), **lossless)
    seen = UPRIGHT[orientation]
    np.testing.assert_array_equal(np.asarray(open_rgb(path)), seen)
    assert examine(path) == (seen.shape[1], seen.shape[0])


def test_an_exif_block_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "broken_exif.png"
    Image.fromarray(COLOURS).save(path, exif=b"Exif\x00\x00no block")
    np.testing.assert_array_equal(np.asarray(open_rgb(path)), COLOURS)


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_sixteen_bits_are_scaled(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(RAMP).save(path)
    seen = np.asarray(open_rgb(path))
    np.testing.assert_array_equal(seen, np.repeat((RAMP >> 8)[..., None], 3, axis=2))


def test_other_modes_become_rgb_and_what_is_transparent_shows_the_colours_below(
    tmp_path: Path,
) -> None:
    picture = Image.fromarray(COLOURS)
    clear = picture.convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    np.testing.assert_array_equal(np.asarray(open_rgb(tmp_path / "clear.png")), COLOURS)
    few = picture.quantize(16)
    few.save(tmp_path / "palette.png", transparency=0)
    np.testing.assert_array_equal(
        np.asarray(open_rgb(tmp_path / "palette.png")), np.asarray(few.convert("RGB"))
    )
    Image.new("CMYK", (8, 8), (0, 200, 200, 0)).save(tmp_path / "ink.jpg")
    red, green, blue = np.asarray(open_rgb(tmp_path / "ink.jpg")).reshape(-1, 3).mean(axis=0)
    assert red > 200 > 100 > max(green, blue)
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    assert open_rgb(tmp_path / "moving.gif").getpixel((4, 4)) == (255, 0, 0)


def test_the_format_is_known_where_the_file_holds_these_pixels(tmp_path: Path) -> None:
    for name, mode, block, known in (
        ("plain.png", "RGB", None, "PNG"),
        ("turned.png", "RGB", exif(6), None),
        ("grey.png", "L", None, None),
    ):
        Image.fromarray(COLOURS).convert(mode).save(tmp_path / name, exif=block)
        assert open_rgb(tmp_path / name).format == known


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its format is none of these"),
        (b"<html>404</html>", "its format is none of these"),
        (EPS, "its format is none of these"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 100, "its format is none of these"),
        (png(12_000, 12_000), "144000000 pixels"),
        (png(60_000, 60_000), "decompression bomb"),
        (b"BM" + b"\xff" * 60, "BMP"),
    ],
)
def test_what_cannot_be_decoded_is_one_sentence_with_its_name(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    for look in (open_rgb, examine, size_in_header):
        with pytest.raises(UnreadablePictureError, match=reason) as error:
            look(path)
        assert str(error.value).startswith(
            f"{path} must be a whole picture (JPEG, PNG, WEBP, GIF, BMP, "
        )
        assert str(error.value).count(". ") == 1


def test_pixels_without_a_white_are_refused_where_they_are_ingested(tmp_path: Path) -> None:
    for dtype in (np.float32, np.int32):
        Image.fromarray(RAMP.astype(dtype)).save(tmp_path / "deep.tif")
        for look in (open_rgb, examine):
            with pytest.raises(UnreadablePictureError, match="32 bits per channel"):
                look(tmp_path / "deep.tif")


def test_a_picture_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePictureError, match=r"gone\.png must be a whole picture"):
        open_rgb(tmp_path / "gone.png")


def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail(f"started {args}"))
    (tmp_path / "x.eps").write_bytes(EPS)
    with pytest.raises(UnreadablePictureError):
        open_rgb(tmp_path / "x.eps")


def whole_files() -> Iterator[tuple[str, bytes]]:
    """Yield format and content of pictures of every format, mode and compression that is common."""
    for kind, mode, options in (
        *(("PNG", mode, {"exif": exif(6)}) for mode in ("RGB", "P", "LA", "1")),
        *(("JPEG", mode, {"exif": exif(6)}) for mode in ("RGB", "L", "CMYK")),
        ("JPEG", "RGB", {"progressive": True}),
        *(("BMP", mode, {}) for mode in ("RGB", "P", "1")),
        *(("WEBP", "RGB", {"exif": exif(6), "lossless": lossless}) for lossless in (False, True)),
        *(
            ("TIFF", "RGB", {"compression": way, "exif": exif(6)})
            for way in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        ),
        ("TIFF", "1", {"compression": "group4"}),
        *(("PPM", mode, {}) for mode in ("RGB", "L", "1")),
        ("GIF", "P", {}),
        ("GIF", "P", {"save_all": True, "append_images": [Image.new("P", (64, 48))]}),
    ):
        buffer = io.BytesIO()
        Image.fromarray(COLOURS).convert(mode).save(buffer, kind, **options)
        yield kind, buffer.getvalue()


WHOLE = list(whole_files())


def test_every_format_that_is_opened_is_among_those_that_are_damaged() -> None:
    assert {kind for kind, _ in WHOLE} == set(FORMATS)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    whole=st.sampled_from([content for _, content in WHOLE]),
    kept=st.floats(0, 1) | st.just(1.0),
    places=st.lists(
        st.tuples(st.floats(0, 1) | st.floats(0, 0.05), st.binary(max_size=6)), max_size=4
    ),
    n_replaced=st.integers(0, 4),
)
def test_what_is_damaged_is_read_or_refused_in_one_sentence_with_its_name(
    tmp_path: Path, whole: bytes, kept: float, places: list[tuple[float, bytes]], n_replaced: int
) -> None:
    content = bytearray(whole[: round(kept * len(whole))])
    for where, put in places:
        start = round(where * len(content))
        content[start : start + n_replaced] = put
    path = tmp_path / "damaged"
    path.write_bytes(content)
    said = []
    for look in (open_rgb, examine, size_in_header, texts_of):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                look(path)
            except UnreadablePictureError as error:
                said.append(str(error))
    assert all(sentence.startswith(f"{path} must be a whole picture (") for sentence in said)


def test_a_stimulus_is_read_once_and_opened_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    Image.fromarray(COLOURS).save(path, exif=exif(6))
    content, picture = read_picture(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert content == path.read_bytes()
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(open_rgb(path)))
    assert MAX_PIXELS > 48 * 64


def opens_pictures(code: ast.AST) -> bool:
    """Tell whether code names Pillow's way to open a file."""
    names = {ast.unparse(node) for node in ast.walk(code) if isinstance(node, ast.Attribute)}
    taken = [node for node in ast.walk(code) if isinstance(node, ast.ImportFrom)]
    apart = [name.name for node in taken if node.module == "PIL.Image" for name in node.names]
    return bool(names & {"Image.open", "PIL.Image.open"}) or "open" in apart


def test_nobody_else_opens_pictures() -> None:
    assert opens_pictures(ast.parse("from PIL import Image\nImage.open(path)"))
    files = [path for room in ("tasks", "flows") for path in (ROOT / room).rglob("*.py")]
    found = {str(f.relative_to(ROOT)) for f in files if opens_pictures(ast.parse(f.read_text()))}
    assert found == {"tasks/artifacts/pictures.py"}
