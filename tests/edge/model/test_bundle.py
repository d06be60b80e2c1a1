"""Bundles are verified before use; an error names the file and the problem."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from fer_edge.errors import InputError, ModelError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import MANIFEST_NAME, read_manifest, write_manifest
from support.models.bundles import write_tiny_manifest
from support.models.manifests import MODEL, TABLE, changed, make_bundle
from support.processes.edge_command import assert_one_line, face_picture, fer_edge


def test_a_variant_is_verified_before_use(tmp_path: Path) -> None:
    with load_bundle(make_bundle(tmp_path / "b")) as bundle:
        assert bundle.variant("int8").path.read_bytes() == MODEL
        with pytest.raises(ModelError, match="no variant 'int4' in this bundle; it has int8"):
            bundle.variant("int4")


def spoil_byte(path: Path) -> None:
    path.write_bytes(b"\xff" + MODEL[1:])


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_byte, "sha256 differs"),
        (lambda path: path.write_bytes(MODEL[:-1]), "2047 bytes, but the manifest says 2048"),
        (lambda path: path.write_bytes(MODEL + b"\0"), "2049 bytes, but the manifest says 2048"),
        (lambda path: path.write_bytes(b""), "0 bytes"),
        (Path.unlink, "missing"),
        (make_folder, "not a file"),
        (make_pipe, "not a file"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    folder = make_bundle(tmp_path / "b")
    spoil(folder / "int8.tflite")
    with load_bundle(folder) as bundle, pytest.raises(ModelError, match=said) as caught:
        bundle.variant("int8")
    assert "int8.tflite" in str(caught.value)


@pytest.mark.parametrize("name", ["int8" * 200 + ".tflite", MANIFEST_NAME])
def test_a_file_that_cannot_be_the_model_is_refused(tmp_path: Path, name: str) -> None:
    with (
        load_bundle(make_bundle(tmp_path / "b", changed("variants.int8.file", name))) as bundle,
        pytest.raises(ModelError),
    ):
        bundle.variant("int8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"\0" * 100, "not valid JSON"),
        (json.dumps(TABLE).encode()[:-20], "not valid JSON"),
        (json.dumps(TABLE).encode("utf-16")[:-1], "not valid JSON"),
        (b'{"format": 1, "name": "\xff"}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"format": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"format": 1, "format": 1}', "not valid JSON: the key 'format' occurs twice in one object"),
        (json.dumps(TABLE).replace('"params": 7', '"params": {"a": 1, "b": 2, "a": 1}').encode(), "'a' occurs twice"),
        (json.dumps(changed("temperature", float("nan"))).encode(), "not valid JSON: NaN is not a JSON number"),
        (json.dumps(changed("training.loss", float("-inf"))).encode(), "-Infinity is not a JSON number"),
        (json.dumps(TABLE).replace("1.37", "1e999").encode(), "not valid JSON: the number 1e999 is too large"),
        (b"[1, 2]", r"must be an object, not \[1, 2\]"),
        (b'"text"', "must be an object"),
        (b" " * (1 << 20) + b"{}", "more than 1 MiB"),
        (b" " * (2 << 20), "more than 1 MiB"),
        (b"\n" * ((1 << 20) + 1), "more than 1 MiB"),
    ],
)
def test_a_broken_manifest_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    folder = make_bundle(tmp_path / "b")
    (folder / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ModelError, match=said) as caught:
        load_bundle(folder)
    assert MANIFEST_NAME in str(caught.value)


@pytest.mark.parametrize("spoil", [Path.unlink, make_folder, make_pipe])
def test_a_folder_without_a_manifest_is_refused(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = make_bundle(tmp_path / "b")
    spoil(folder / MANIFEST_NAME)
    with pytest.raises(ModelError, match=MANIFEST_NAME):
        load_bundle(folder)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    (folder / MANIFEST_NAME).write_text(json.dumps(TABLE), encoding="utf-8-sig")
    assert read_manifest(folder).name == "stand-in"


def test_a_missing_path_is_an_input_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "none" / "deep.zip", tmp_path / ("x" * 5000)):
        with pytest.raises(InputError):
            load_bundle(path)


def test_a_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(ModelError, match="neither a bundle folder nor a zip"):
            load_bundle(path)


# As a command


def truncated_with_matching_hash(folder: Path) -> None:
    whole = (folder / "int8.tflite").read_bytes()
    (folder / "int8.tflite").write_bytes(whole[: len(whole) // 2])
    table = json.loads((folder / MANIFEST_NAME).read_text())
    table["variants"]["int8"]["sha256"] = hashlib.sha256(whole[: len(whole) // 2]).hexdigest()
    table["variants"]["int8"]["bytes"] = len(whole) // 2
    write_manifest(folder, table)


def edit(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / MANIFEST_NAME
        table = json.loads(path.read_text())
        variant = {key: changes.pop(key) for key in ("file", "sha256") if key in changes}
        table["variants"]["int8"].update(variant)
        path.write_text(json.dumps({**table, **changes}))

    return spoil


REFUSALS: list[tuple[str, Callable[[Path], None], str]] = [
    ("sha256", edit(sha256="0" * 64), "sha256 differs"),
    ("path", edit(file="../int8.tflite"), "must be a bare file name"),
    ("truncated", truncated_with_matching_hash, "not a usable .tflite model"),
    ("newer", edit(format=2), "format 2 is newer"),
    ("labels", lambda folder: write_tiny_manifest(folder, labels=["one", "two"]), "output shape is [1, 7]"),
]


@pytest.mark.parametrize(("spoil", "said"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_a_refused_bundle_is_one_line_and_exit_4(
    tiny_bundle: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    cv2.imwrite(str(tmp_path / "some.png"), face_picture())
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    spoil(folder)
    result = fer_edge("predict", "some.png", "--bundle", "b", cwd=tmp_path)
    assert_one_line(result, 4, said)
    assert result.stdout == ""


def test_a_missing_bundle_is_exit_2_and_a_zip_is_accepted(tiny_bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "some.png"), face_picture())
    assert_one_line(fer_edge("predict", "some.png", "--bundle", "none", cwd=tmp_path), 2, "none: no such bundle")
    shutil.make_archive(str(tmp_path / "b"), "zip", tiny_bundle)
    results = [fer_edge("predict", "some.png", "--bundle", path, cwd=tmp_path) for path in ("b.zip", tiny_bundle)]
    assert [result.returncode for result in results] == [0, 0]
    assert results[0].stdout == results[1].stdout
