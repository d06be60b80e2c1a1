"""Properties of the .xz reader and of reading an image ahead, tested with hypothesis."""

from __future__ import annotations

import io
import lzma
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_flash.image.xz import XzContent, xz_content_size
from fer_flash.write.medium import BUFFER_BYTES
from fer_flash.write.read_ahead import FIRST_BYTES, HEAD_BYTES, ReadAhead
from fer_flash.write.stream import inspect_image, open_image
from support.cards.images import MIB, write_image


@given(st.lists(st.tuples(st.binary(max_size=3000), st.integers(0, 3)), min_size=1, max_size=4), st.integers(1, 4000))
def test_xz_files_of_several_streams_are_measured_and_unpacked(streams: list[tuple[bytes, int]], step: int) -> None:
    packed = b"".join(lzma.compress(data) + bytes(4 * padding) for data, padding in streams)
    content = b"".join(data for data, _ in streams)
    assert xz_content_size(io.BytesIO(packed)) == len(content)
    unpacked = XzContent(io.BytesIO(packed))
    found = bytearray()
    buffer = bytearray(step)
    while count := unpacked.readinto(buffer):
        found += buffer[:count]
    assert found == content


@given(st.binary(min_size=1, max_size=3000), st.data())
def test_an_xz_file_that_was_cut_off_or_changed_at_its_end_is_refused(content: bytes, data: st.DataObject) -> None:
    packed = lzma.compress(content)
    cut = data.draw(st.integers(1, len(packed) - 1))
    with pytest.raises(lzma.LZMAError, match="the end of the xz file is missing or wrong"):
        xz_content_size(io.BytesIO(packed[:cut]))
    changed = bytearray(packed)
    changed[data.draw(st.integers(1, 12)) * -1] ^= data.draw(st.integers(1, 255))
    with pytest.raises(lzma.LZMAError, match="the end of the xz file is missing or wrong"):
        xz_content_size(io.BytesIO(changed))


@pytest.mark.parametrize(
    "size", [512, FIRST_BYTES, FIRST_BYTES + 1, HEAD_BYTES, HEAD_BYTES + 1, 4 * MIB, 8 * MIB + 513]
)
@pytest.mark.parametrize("block", [1, 512, 4096])
def test_the_areas_of_an_image_are_the_image(tmp_path: Path, size: int, block: int) -> None:
    path = write_image(tmp_path / "os.img", size, zeros=((HEAD_BYTES, 4 * MIB),) if size == 8 * MIB + 513 else ())
    image = inspect_image(path)
    found = bytearray()
    with open_image(image) as stream, ReadAhead(stream, block) as chunks:
        for chunk in chunks:
            for area in chunk.areas:
                assert area.offset == len(found)
                assert area.is_zero == (not any(area.data))
                border = FIRST_BYTES if area.offset < FIRST_BYTES else HEAD_BYTES
                assert area.offset >= border or area.offset + len(area.data) <= border
                found += area.data
        assert stream.fraction() == 1
    assert found == path.read_bytes().ljust(-(-size // block) * block, b"\0")


def test_reading_ahead_ends_when_nobody_wants_more() -> None:
    with tempfile.TemporaryDirectory() as folder:
        image = inspect_image(write_image(Path(folder) / "os.img", 40 * MIB))
        with open_image(image) as stream, ReadAhead(stream, 512) as chunks:
            assert next(iter(chunks)).end == BUFFER_BYTES
        assert stream.fraction() < 0.5
