"""Block maps, .xz files and the pieces of images, of any kind that hypothesis comes upon."""

from __future__ import annotations

import hashlib
import io
import lzma
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import InputError
from fer_flash.image.xz import XzContent, xz_content_size
from fer_flash.write.bmap import BlockMap, MapCheck, parse_block_map
from fer_flash.write.medium import BUFFER_BYTES
from fer_flash.write.read_ahead import FIRST_BYTES, HEAD_BYTES, ReadAhead
from fer_flash.write.stream import look_at_image, open_image
from support.card_images import MIB, write_image

BLOCK = 4096
PATH = Path("os.img.bmap")


def bmap_of(image: bytes, ranges: list[tuple[int, int]], block: int = BLOCK, **changes: str) -> bytes:
    """A map as bmap-tools writes one; ``changes`` are other texts for its elements."""
    values = {
        "ImageSize": str(len(image)),
        "BlockSize": str(block),
        "BlocksCount": str(-(-len(image) // block)),
        "MappedBlocksCount": str(sum(last - first + 1 for first, last in ranges)),
        "ChecksumType": "sha256",
        "BmapFileChecksum": "0" * 64,
        **changes,
    }
    listed = "".join(
        f'<Range chksum="{hashlib.sha256(image[first * block : (last + 1) * block]).hexdigest()}">'
        f" {f'{first}-{last}' if last > first else first} </Range>"
        for first, last in ranges
    )
    elements = "".join(f"<{name}> {value} </{name}>" for name, value in values.items())
    version = changes.get("version", "2.0")
    elements = elements.replace(f"<version> {version} </version>", "")
    data = f'<?xml version="1.0" ?>\n<bmap version="{version}">{elements}<BlockMap>{listed}</BlockMap></bmap>'.encode()
    return data.replace(b"0" * 64, hashlib.sha256(data).hexdigest().encode())


@st.composite
def sparse_images(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]], int]:
    """An image, its ranges of mapped blocks as (first, last), and the size of a block."""
    block = draw(st.sampled_from([512, 1024, 4096, 8192]))
    mapped = draw(st.lists(st.booleans(), min_size=1, max_size=20))
    cut = draw(st.integers(0, block - 1))
    data = b"".join((bytes([index % 255 + 1]) if there else b"\0") * block for index, there in enumerate(mapped))
    ranges: list[tuple[int, int]] = []
    for index, there in enumerate(mapped):
        if there and ranges and ranges[-1][1] == index - 1 and draw(st.booleans()):
            ranges[-1] = (ranges[-1][0], index)
        elif there:
            ranges.append((index, index))
    return data[: len(data) - cut], ranges, block


def feed(block_map: BlockMap, image: bytes, step: int) -> None:
    check = MapCheck(block_map)
    for start in range(0, len(image), step):
        check.feed(memoryview(image)[start : start + step])
    check.finish()


@given(sparse_images(), st.integers(500, 30_000))
def test_a_map_is_read_as_it_was_written_and_fits_its_image(
    made: tuple[bytes, list[tuple[int, int]], int], step: int
) -> None:
    image, ranges, block = made
    block_map = parse_block_map(bmap_of(image, ranges, block), PATH)
    assert [(mapped.start // block, (mapped.end - 1) // block) for mapped in block_map.ranges] == ranges
    assert block_map.mapped_bytes == sum(1 for byte in image if byte)
    feed(block_map, image, step)


@given(sparse_images(), st.integers(500, 30_000), st.data())
def test_any_changed_byte_is_found(
    made: tuple[bytes, list[tuple[int, int]], int], step: int, data: st.DataObject
) -> None:
    image, ranges, block = made
    block_map = parse_block_map(bmap_of(image, ranges, block), PATH)
    changed = bytearray(image)
    changed[data.draw(st.integers(0, len(image) - 1))] ^= 0xFF
    with pytest.raises(InputError, match=r"os\.img\.bmap"):
        feed(block_map, bytes(changed), step)
    for other in (image[:-1], image + b"\0"):
        with pytest.raises(InputError, match=r"os\.img\.bmap"):
            feed(block_map, other, step)


@given(sparse_images(), st.integers(1, 20))
def test_areas_hold_all_that_is_mapped_and_at_most_4096_bytes_around_it(
    made: tuple[bytes, list[tuple[int, int]], int], grains: int
) -> None:
    image, ranges, block = made
    block_map = parse_block_map(bmap_of(image, ranges, block), PATH)
    end = -(-len(image) // BLOCK) * BLOCK
    covered = bytearray(end)
    for start in range(0, end, grains * BLOCK):
        stop = min(start + grains * BLOCK, end)
        before = start - 1
        for first, last in block_map.areas(start, stop):
            assert before < first < last <= stop, "in order, with gaps between them"
            assert first % BLOCK == 0 and last % BLOCK == 0
            covered[first:last] = b"\1" * (last - first)
            before = last
    for grain in range(0, end, BLOCK):
        assert any(covered[grain : grain + BLOCK]) == any(image[grain : grain + BLOCK])


GOOD = bmap_of(b"x" * 10_000, [(0, 0), (2, 2)])


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"<bmap/>",
        GOOD[:-10],
        GOOD.replace(b"4096", b"8192"),
        GOOD.replace(b'"1.0" ?>', b'"1.0" ?><!DOCTYPE bmap [<!ENTITY a "b">]>'),
        bmap_of(b"x" * 10_000, [(0, 0)], version="1.3"),
        bmap_of(b"x" * 10_000, [(0, 0)], version="3.0"),
        bmap_of(b"x" * 10_000, [(0, 0)], ChecksumType="sha1"),
        bmap_of(b"x" * 10_000, [(0, 0)], BlockSize="4095"),
        bmap_of(b"x" * 10_000, [(0, 0)], BlockSize="0"),
        bmap_of(b"x" * 10_000, [(0, 0)], ImageSize="-1"),
        bmap_of(b"x" * 10_000, [(0, 0)], ImageSize="9" * 5000),
        bmap_of(b"x" * 10_000, [(0, 0)], BlocksCount="4"),
        bmap_of(b"x" * 10_000, [(0, 0)], MappedBlocksCount="2"),
        bmap_of(b"x" * 10_000, [(1, 0)]),
        bmap_of(b"x" * 10_000, [(0, 1), (1, 2)]),
        bmap_of(b"x" * 10_000, [(2, 2), (0, 0)]),
        bmap_of(b"x" * 10_000, [(2, 3)]),
    ],
)
def test_what_is_no_map_is_one_clear_error(bad: bytes) -> None:
    assert parse_block_map(GOOD, PATH).image_size == 10_000
    with pytest.raises(InputError, match=r"os\.img\.bmap: no block map.*--no-bmap"):
        parse_block_map(bad, PATH)


@given(st.data())
def test_a_changed_map_is_refused_or_means_the_same(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 20)))
    changed = GOOD[:start] + data.draw(st.binary(max_size=5)) + GOOD[end:]
    try:
        found = parse_block_map(changed, PATH)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert found == parse_block_map(GOOD, PATH)


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
    image = look_at_image(path)
    found = bytearray()
    with open_image(image) as stream, ReadAhead(stream, None, block) as chunks:
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
        image = look_at_image(write_image(Path(folder) / "os.img", 40 * MIB))
        with open_image(image) as stream, ReadAhead(stream, None, 512) as chunks:
            assert next(iter(chunks)).end == BUFFER_BYTES
        assert stream.fraction() < 0.5
