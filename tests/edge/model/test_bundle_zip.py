"""A zip is equivalent to a folder; a damaged or malicious one is refused, and leaves no files."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fer_edge.errors import ModelError, OutputError
from fer_edge.model import archive as bundle_zip
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import MANIFEST_NAME
from support.models.manifests import MODEL, TABLE, make_bundle
from support.processes.edge_command import assert_one_line, fer_edge


def zip_bytes(members: dict[str, bytes] | None = None, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in (members if members is not None else flat_members()).items():
            archive.writestr(name, content)
    return buffer.getvalue()


def flat_members(prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{MANIFEST_NAME}": json.dumps(TABLE).encode(), f"{prefix}int8.tflite": MODEL}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parent of temporary folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("prefix", ["", "fer-edge-s/"])
def test_a_zip_is_equivalent_to_a_folder(tmp_path: Path, temporary: Path, prefix: str, method: int) -> None:
    members = {**flat_members(prefix), f"{prefix}plots/curve.png": b"png", "__MACOSX/._x": b"x"}
    path = tmp_path / "b.zip"
    path.write_bytes(zip_bytes(members, method))
    with load_bundle(path) as bundle:
        assert bundle.variant("int8").path.read_bytes() == MODEL
        assert sorted(entry.name for entry in bundle.folder.iterdir()) == ["int8.tflite", MANIFEST_NAME]
        assert list(temporary.iterdir()) == [bundle.folder]
    assert list(temporary.iterdir()) == []
    bundle.close()  # idempotent


def test_a_zip_with_a_folders_own_entry(tmp_path: Path) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "b"), "zip", make_bundle(tmp_path / "up" / "b").parent, "b"))
    with load_bundle(path) as bundle:
        assert bundle.variant("int8").path.read_bytes() == MODEL


def test_a_member_without_a_name_is_ignored(tmp_path: Path) -> None:
    whole = bytearray(zip_bytes({**flat_members(), "x": b"", "y/": b""}))
    # The third entry of the central directory. Its date may contain any byte, so the name cannot be searched for.
    entry = -1
    for _ in range(3):
        entry = whole.index(b"PK\x01\x02", entry + 1)
    assert whole[entry + 46 : entry + 47] == b"x"
    whole[entry + 28 : entry + 32] = b"\0\0\1\0"  # the single byte of the name becomes part of the extra field
    path = tmp_path / "b.zip"
    path.write_bytes(whole)
    assert zipfile.ZipFile(path).namelist() == [MANIFEST_NAME, "int8.tflite", "", "y/"]
    with load_bundle(path) as bundle:
        assert bundle.variant("int8").path.read_bytes() == MODEL


def refused(path: Path, temporary: Path, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        load_bundle(path)
    assert str(path) in str(caught.value) or MANIFEST_NAME in str(caught.value)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "the zip must contain one"),
        ({"int8.tflite": MODEL}, "the zip must contain one"),
        (flat_members("a/b/"), "the zip must contain one"),
        ({**flat_members(), **flat_members("old/")}, "the zip must contain one"),
        ({MANIFEST_NAME: b""}, "empty"),
        ({MANIFEST_NAME: b"{"}, "not valid JSON"),
        *(
            ({**flat_members(), name: b"evil"}, "a path outside itself")
            for name in ("../evil", "/evil", "a/../../evil", "..\\evil", "C:evil", "c:/evil", "..")
        ),
    ],
)
def test_a_zip_of_something_else_is_refused(
    tmp_path: Path, temporary: Path, members: dict[str, bytes], said: str
) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(zip_bytes(members))
    refused(path, temporary, said)
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 400, "a file name of 400 bytes"),
        ("é" * 200, "a file name of 400 bytes"),
        ("a\nb", "unprintable"),
        ("a\x1b[2Jb", "unprintable"),
        ("a\u202eb", "unprintable"),
    ],
)
def test_a_name_that_no_file_can_have_is_a_fault_of_the_zip(
    tmp_path: Path, temporary: Path, name: str, said: str
) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(zip_bytes({**flat_members(), name: b"more"}))
    refused(path, temporary, said)
    result = fer_edge("run", "demo", "--bundle", path, cwd=tmp_path)
    assert_one_line(result, 4, str(path), said)
    assert "\x1b" not in result.stderr


def test_a_file_that_is_in_a_zip_twice_is_refused(tmp_path: Path, temporary: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(zip_bytes())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("int8.tflite", b"another")
    refused(path, temporary, "int8.tflite.* more than once")


def test_other_files_are_refused(tmp_path: Path, temporary: Path) -> None:
    path = tmp_path / "b.zip"
    whole = zip_bytes()
    for content in (b"", b"text", MODEL, whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        refused(path, temporary, "neither a bundle folder nor a readable zip")


def test_a_file_missing_in_a_zip_is_reported_on_use(tmp_path: Path, temporary: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(zip_bytes({MANIFEST_NAME: json.dumps(TABLE).encode()}))
    with load_bundle(path) as bundle, pytest.raises(ModelError, match="missing"):
        bundle.variant("int8")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_stream_is_refused(tmp_path: Path, temporary: Path, method: int) -> None:
    whole = bytearray(zip_bytes(method=method))
    start = whole.index(b"int8.tflite") + len("int8.tflite")
    whole[start : start + 12] = b"\xff" * 12
    path = tmp_path / "b.zip"
    path.write_bytes(whole)
    refused(path, temporary, r"cannot unpack int8\.tflite")


def test_an_encrypted_zip_is_refused(tmp_path: Path, temporary: Path) -> None:
    whole = bytearray(zip_bytes(method=zipfile.ZIP_STORED))
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := whole.find(signature, at + 1)) >= 0:
            whole[at + flags_at] |= 1
    path = tmp_path / "b.zip"
    path.write_bytes(whole)
    refused(path, temporary, "encrypted")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in flat_members().items():
            archive.writestr(name, content)
        for number in range(2):
            with archive.open(f"{number}.bin", "w") as stream:
                for _ in range(140):
                    stream.write(bytes(1 << 20))
    assert path.stat().st_size < 4 << 20
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("something was unpacked"))
    refused(path, temporary, "too large for a bundle")


def test_a_member_is_not_read_beyond_its_declared_size(tmp_path: Path, temporary: Path) -> None:
    whole = bytearray(zip_bytes({**flat_members(), "big.bin": bytes(1 << 20)}))
    for size_at in (whole.find(b"big.bin") - 8, whole.rfind(b"big.bin") - 22):  # local header, central directory
        assert int.from_bytes(whole[size_at : size_at + 4], "little") == 1 << 20
        whole[size_at : size_at + 4] = (100).to_bytes(4, "little")
    path = tmp_path / "b.zip"
    path.write_bytes(whole)
    refused(path, temporary, r"cannot unpack big\.bin")


def test_too_many_members_are_refused(tmp_path: Path, temporary: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(zip_bytes({**flat_members(), **{f"{i}.txt": b"" for i in range(bundle_zip.MAX_MEMBERS)}}))
    refused(path, temporary, "too large for a bundle")


def test_a_failure_to_unpack_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(zip_bytes())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(OutputError, match="temporary folder"):
        load_bundle(path)


FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
ZIPS = [zip_bytes(method=method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)]


def open_and_use(path: Path) -> None:
    """Check that a damaged bundle is refused, or opens with an intact model."""
    try:
        with load_bundle(path) as bundle:
            for name in bundle.manifest.variants:
                assert bundle.variant(name).path.read_bytes() == MODEL
    except ModelError as error:
        assert str(error)


@FUZZ
@given(whole=st.sampled_from(ZIPS), share=st.floats(0, 1))
def test_a_truncated_zip_raises_only_model_errors(tmp_path: Path, temporary: Path, whole: bytes, share: float) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(whole[: int(share * len(whole))])
    open_and_use(path)
    assert list(temporary.iterdir()) == []


@FUZZ
@given(whole=st.sampled_from(ZIPS), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1))
def test_a_zip_with_flipped_bits_raises_only_model_errors(
    tmp_path: Path, temporary: Path, whole: bytes, flips: list[tuple[float, int]]
) -> None:
    data = bytearray(whole)
    for share, mask in flips:
        data[min(int(share * len(data)), len(data) - 1)] ^= mask
    path = tmp_path / "b.zip"
    path.write_bytes(data)
    open_and_use(path)
    assert list(temporary.iterdir()) == []


@FUZZ
@given(
    whole=st.sampled_from(ZIPS),
    at=st.floats(0, 1),
    piece=st.binary(min_size=1, max_size=8),
    record=st.sampled_from([b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04"]),
)
@example(whole=ZIPS[0], at=0.2, piece=b"\xff\xff\xff\xff", record=b"PK\x01\x02")
def test_a_zip_with_damaged_headers_raises_only_model_errors(
    tmp_path: Path, temporary: Path, whole: bytes, at: float, piece: bytes, record: bytes
) -> None:
    """Headers are a small part of a zip, and random flips rarely hit them."""
    data = bytearray(whole)
    start = data.find(record) + 4 + int(at * 42)
    data[start : start + len(piece)] = piece[: max(0, len(data) - start)]
    path = tmp_path / "b.zip"
    path.write_bytes(data)
    open_and_use(path)
    assert list(temporary.iterdir()) == []
