"""Fuzz targets: each takes bytes, and fails by any exception that is not a FerEdgeError."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import socketserver
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from fer_edge.errors import FerEdgeError

Run = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Target:
    """A function ``run`` of one input, ``seeds`` that returns good inputs, and the size of the largest."""

    name: str
    about: str
    run: Run
    seeds: Callable[[], list[bytes]]
    max_bytes: int = 4096


@cache
def scratch() -> Path:
    """A folder of this process for the files that targets read."""
    return Path(tempfile.mkdtemp(prefix="fer-edge-fuzz-"))


def refused(run: Run) -> Run:
    """Return ``run``, extended to accept FER-Edge's own errors if their messages are one printable line."""

    def checked(data: bytes) -> None:
        try:
            run(data)
        except FerEdgeError as error:
            message = str(error)
            assert message and "\n" not in message, message
            if error.exit_code == FerEdgeError.exit_code:
                raise

    return checked


# Settings, recipes, bundles


def config(data: bytes) -> None:
    """Accepted settings are the same after they are written and read again."""
    from fer_edge.settings.base import decode, to_table
    from fer_edge.settings.runtime import RuntimeSettings, load_settings
    from fer_edge.settings.toml_files import dump_toml
    from fer_edge.sources import named_sources

    path = scratch() / "c.toml"
    path.write_bytes(data)
    settings = load_settings(path, environment={})
    named_sources(settings)
    assert decode(RuntimeSettings, tomllib.loads(dump_toml(to_table(settings))), "again") == settings


def recipe(data: bytes) -> None:
    from fer_train.recipe.recipe import load_recipe

    path = scratch() / "recipe.toml"
    path.write_bytes(data)
    load_recipe(path)


def manifest(data: bytes) -> None:
    from fer_edge.model.manifest import read_manifest

    folder = scratch() / "manifest"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(data)
    read_manifest(folder)


def bundle_zip(data: bytes) -> None:
    """Nothing is written outside of the folder to which a bundle is unpacked, which is removed when it is closed."""
    from fer_edge.model.bundle import load_bundle

    folder = scratch() / "zip"
    folder.mkdir(exist_ok=True)
    (folder / "b.zip").write_bytes(data)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: _only(folder, "b.zip"))
        load_bundle(folder / "b.zip").close()


def model_file(data: bytes) -> None:
    from fer_edge.model.graph_file import check_graph_file

    path = scratch() / "model.tflite"
    path.write_bytes(data)
    check_graph_file(path)


def _only(folder: Path, name: str) -> None:
    assert [path.name for path in folder.iterdir()] == [name]


# Pictures


def image(data: bytes) -> None:
    """A decoded picture has the size in its header, and not more pixels than allowed."""
    from fer_edge.images.files import read_gray
    from fer_edge.images.headers import image_size
    from fer_edge.system.opencv_setup import set_up_opencv

    set_up_opencv()
    path = scratch() / "picture"
    path.write_bytes(data)
    size = image_size(data)
    gray = read_gray(path, 1 << 20)
    assert gray.size <= 1 << 20
    assert size is None or size in (gray.shape[::-1], gray.shape)  # Exif may rotate it


def mjpeg(data: bytes) -> None:
    """A camera's response, with its boundaries: frames, or a lost source, within the time limit."""
    from fer_edge.protocols import NoFrame
    from fer_edge.settings.source import SourceSettings
    from fer_edge.sources import open_source
    from fer_edge.system.opencv_setup import set_up_opencv

    set_up_opencv()
    server = _camera()
    server.response = data
    settings = SourceSettings(timeout_s=2.0, max_pixels=1 << 20)
    with open_source(f"http://127.0.0.1:{server.server_address[1]}/x", settings) as source:
        for _ in range(4):
            if source.read(2.0) is NoFrame.ENDED:
                break


class _Camera(socketserver.ThreadingTCPServer):
    """Answers each connection with ``response``, and closes it."""

    daemon_threads = True
    response = b""


class _CameraRequest(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.settimeout(2)
            self.request.recv(4096)
            self.request.sendall(cast("_Camera", self.server).response)


@cache
def _camera() -> _Camera:
    """One server for all inputs: each further thread would count to the limit of memory until it has ended."""
    server = _Camera(("127.0.0.1", 0), _CameraRequest)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


# Events and the page


def events(data: bytes) -> None:
    """Any event is written as one line of JSON that matches the schema."""
    import struct

    from fer_edge.sinks.console import event_line
    from fer_edge.sinks.event_json import encode_json_line
    from fer_edge.types import EmotionEvent, EventKind

    padded = data.ljust(40, b"\0")
    at, mono, confidence, track = struct.unpack_from("<dddi", padded)
    text = padded[28:].decode("utf-8", "surrogateescape")
    kinds = list(EventKind)
    at = at if 0 <= at < 4e9 else 0.0
    event = EmotionEvent(
        kinds[padded[0] % len(kinds)], text or "x", at, mono, abs(track) + 1, text or None, None, confidence
    )
    line = encode_json_line(event)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    json.loads(line, parse_constant=lambda name: 1 / 0)
    assert event_line(event).isprintable()


@cache
def _page() -> tuple[object, int]:
    from fer_edge.settings.service import WebSettings
    from fer_edge.status import StatusBoard
    from fer_edge.web import open_web

    board = StatusBoard()
    board.set_ready()
    web = open_web(WebSettings(True, port=0), board)
    return web, web.port


def page(data: bytes) -> None:
    """The page answers an invalid request with a client error, and then a valid one."""
    _, port = _page()
    answer = _exchange(port, data)
    assert b" 500 " not in answer.partition(b"\r\n")[0], answer[:200]
    good = _exchange(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert good.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")), good[:100]


def _exchange(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        received = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                received += part
        return received


# Card images. An input is a list of changes to a good image: four bytes of offset, two of value.


def partitions(data: bytes) -> None:
    from fer_flash.image.file_systems.region import Region
    from fer_flash.image.partitions import read_partitions

    path = scratch() / "table"
    path.write_bytes(data)
    with io.FileIO(path) as stream:
        found = read_partitions(Region(stream, 0, len(data), "table"))
    assert all(each.start >= 0 and each.start + each.size <= len(data) for each in found)


def fat(data: bytes) -> None:
    """A volume that is accepted for writing can be listed and read, and a file can be added."""
    from fer_flash.image.file_systems.fat import FatVolume
    from fer_flash.image.file_systems.region import Region

    with _changed(_fat_image(), data) as path, io.FileIO(path, "r+") as stream:
        region = Region(stream, 0, path.stat().st_size, "fat")
        if FatVolume.looks_like(region):
            volume = FatVolume(region)
            _read_all(volume)
            volume.write("fuzz.txt", b"x" * 5000)
            assert volume.read("fuzz.txt") == b"x" * 5000


def ext4(data: bytes) -> None:
    from fer_flash.image.file_systems.ext4 import Ext4Volume
    from fer_flash.image.file_systems.region import Region

    with _changed(_ext4_image(), data) as path, io.FileIO(path) as stream:
        region = Region(stream, 0, path.stat().st_size, "ext4")
        if Ext4Volume.looks_like(region):
            _read_all(Ext4Volume(region))


def _read_all(volume: object, path: str = "", depth: int = 0) -> None:
    for name in volume.listdir(path):  # type: ignore[attr-defined]
        below = f"{path}/{name}" if path else name
        if depth < 6:
            try:
                _read_all(volume, below, depth + 1)
                continue
            except FerEdgeError:
                pass
        with contextlib.suppress(FerEdgeError):
            volume.read(below)  # type: ignore[attr-defined]


@contextlib.contextmanager
def _changed(image: bytes, changes: bytes) -> Iterator[Path]:
    """Return the file of ``image`` with the changes; only the blocks that differ from before are written."""
    path = scratch() / f"{len(image)}.img"
    changed = bytearray(image)
    for at in range(0, len(changes) - 5, 6):
        place = int.from_bytes(changes[at : at + 4], "little") % (len(image) - 2)
        changed[place : place + 2] = changes[at + 4 : at + 6]
    path.write_bytes(changed)
    yield path


@cache
def _fat_image() -> bytes:
    from support.cards.fat_volumes import make_fat

    return make_fat(scratch(), 16).read_bytes()


@cache
def _ext4_image() -> bytes:
    from support.cards.file_systems import run_program

    tree = scratch() / "tree4"
    (tree / "etc" / "deep").mkdir(parents=True)
    (tree / "etc" / "os-release").write_text("VERSION_CODENAME=bookworm\n")
    (tree / "etc" / "deep" / "large").write_bytes(bytes(range(256)) * 600)
    (tree / "link").symlink_to("etc/os-release")
    path = scratch() / "made.ext4"
    with path.open("wb") as stream:
        stream.truncate(1 << 20)
    run_program(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", str(tree), str(path)])
    return path.read_bytes()


def metadata_changes(image: Callable[[], bytes]) -> Callable[[], list[bytes]]:
    """Seeds for an image: a change of each of its first bytes that are not zero, where its structures begin."""

    def seeds() -> list[bytes]:
        data = image()
        places = [place for place in range(0, min(len(data), 8192), 2) if data[place : place + 2] != b"\0\0"][:40]
        return [b"", *(place.to_bytes(4, "little") + b"\xff\xff" for place in places)]

    return seeds
