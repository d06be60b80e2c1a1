"""Packed images: compose and write read the same bytes, and refuse with the same messages."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import InputError
from fer_flash.image.unpack import unpack
from fer_flash.write.stream import inspect_image, open_image

IMAGE = bytes(510) + b"\x55\xaa" + bytes(range(256)) * 40


def zipped(*names: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name in names:
            archive.writestr(name, IMAGE)
    return made.getvalue()


def encrypted() -> bytes:
    """Return a zip whose only member is marked as encrypted (APPNOTE.TXT, section 4.4.4, bit 0), in both headers."""
    packed = bytearray(zipped("os.img"))
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


def other_method() -> bytes:
    """Return a zip whose only member has compression method 99 (section 4.4.5) in both headers."""
    packed = bytearray(zipped("os.img"))
    packed[8] = packed[packed.index(b"PK\x01\x02") + 10] = 99
    return bytes(packed)


def composed(path: Path) -> bytes:
    with tempfile.NamedTemporaryFile() as out:
        unpack(str(path), out, sha256=None)  # type: ignore[arg-type]
        return Path(out.name).read_bytes()


def written(path: Path) -> bytes:
    image = inspect_image(path)
    found = memoryview(bytearray(1 << 20))
    with open_image(image) as stream:
        return bytes(found[: stream.read_into(found)])


READERS: list[Callable[[Path], bytes]] = [composed, written]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "packed",
    [
        IMAGE,
        lzma.compress(IMAGE),
        gzip.compress(IMAGE),
        zipped("README.txt", "__MACOSX/2026/os.img", "2026/._os.img", "2026/OS.IMG"),
        zipped("os.img", method=zipfile.ZIP_STORED),
        zipped("os.img", method=zipfile.ZIP_BZIP2),
        zipped("os.img", method=zipfile.ZIP_LZMA),
    ],
)
def test_what_a_file_holds_is_told_from_its_beginning(
    tmp_path: Path, packed: bytes, read: Callable[[Path], bytes]
) -> None:
    path = tmp_path / "named.otherwise"
    path.write_bytes(packed)
    assert read(path) == IMAGE


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("packed", "says"),
    [
        (bz2.compress(IMAGE), "compressed with bzip2, which is not supported; unpack it"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed with zstd"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "compressed with 7-Zip"),
        (b"Rar!\x1a\x07\x01\0" + bytes(600), "compressed with RAR"),
        (zipped(), "not a card image"),
        (
            zipped("a\x1b[2J.img", "b\n.img"),
            "a zip must contain one .img; this one contains 2 (a\\x1b[2J.img, b\\n.img)",
        ),
        (zipped("README.txt"), "a zip must contain one .img; this one contains 0 (none)"),
        (zipped("a.img", "b/B.IMG"), "a zip must contain one .img; this one contains 2 (a.img, b/B.IMG)"),
        (other_method(), "cannot unpack it: That compression method is not supported; unpack it yourself"),
        (encrypted(), "os.img in it is encrypted; unpack it yourself"),
        (lzma.compress(b"<html>" * 500), "not a card image: it does not start with a partition table"),
        (b"", "is empty"),
        (lzma.compress(IMAGE)[:-8], "damaged or truncated ("),
        (zipped("os.img")[:-30], "damaged or truncated ("),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_same_words(
    tmp_path: Path, packed: bytes, says: str, read: Callable[[Path], bytes]
) -> None:
    path = tmp_path / "os.img"
    path.write_bytes(packed)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {says}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", READERS)
@given(
    packed=st.sampled_from(
        [lzma.compress(IMAGE), gzip.compress(IMAGE), *(zipped("os.img", method=each) for each in (0, 8, 12, 14))]
    ),
    flips=st.lists(st.tuples(st.integers(8, 1 << 16), st.integers(1, 255)), min_size=1, max_size=3),
)
def test_a_damaged_one_is_read_or_refused_in_one_line(
    packed: bytes, flips: list[tuple[int, int]], read: Callable[[Path], bytes]
) -> None:
    damaged = bytearray(packed)
    for at, bits in flips:
        damaged[8 + at % (len(damaged) - 8)] ^= bits
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "os.img"
        path.write_bytes(damaged)
        try:
            assert read(path)[510:512] == b"\x55\xaa"
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
