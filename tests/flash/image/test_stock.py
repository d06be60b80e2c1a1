"""Published images: every kind of packing, damage, failing servers."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fer_edge.errors import InputError, OutputError
from fer_flash.image.unpack import unpack

MIB = 1 << 20
IMAGE = (
    (bytes(510) + b"\x55\xaa" + bytes(range(256)) * 500).ljust(3 * MIB, b"\0") + b"root" * 50_000 + bytes(5 * MIB + 512)
)


def packed_xz() -> bytes:
    """Return two streams and padding, like ``cat a.xz b.xz``, which the format allows."""
    return lzma.compress(IMAGE[:MIB]) + bytes(8) + lzma.compress(IMAGE[MIB:]) + bytes(4)


def packed_zip(folder: Path, *names: str) -> bytes:
    path = folder / "made.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", "hello")
        archive.writestr("__MACOSX/._image.img", "attributes")
        for name in names:
            archive.writestr(name, IMAGE)
    return path.read_bytes()


KINDS: dict[str, Callable[[Path], bytes]] = {
    "img": lambda folder: IMAGE,
    "img.xz": lambda folder: packed_xz(),
    "img.gz": lambda folder: gzip.compress(IMAGE),
    "zip": lambda folder: packed_zip(folder, "2025-10-01-raspios.img"),
}


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"stock.{request.param}"
    path.write_bytes(KINDS[request.param](tmp_path))
    return path


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Run a web server on loopback; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()


def serves(content: bytes, *, length: int | None = -1) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if length is not None:
            handler.send_header("Content-Length", str(len(content) if length < 0 else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def refusal(source: object, folder: Path, **options: object) -> str:
    """Return the error for a refused source; check that no file remains."""
    before = sorted(folder.iterdir())
    out = folder / "out.img"
    with out.open("wb") as stream, pytest.raises(InputError) as caught:
        unpack(str(source), stream, **{"sha256": None, **options})  # type: ignore[arg-type]
    assert out.stat().st_size == 0
    out.unlink()
    assert sorted(folder.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("hashed", [True, False])
def test_a_file_is_unpacked_with_holes(source: Path, tmp_path: Path, hashed: bool) -> None:
    content = source.read_bytes()
    out, told = tmp_path / "out.img", []
    with out.open("wb") as stream:
        size = unpack(
            str(source),
            stream,
            sha256=sha256(content).upper() if hashed else None,
            progress=lambda done, total: told.append((done, total)),
        )
    assert size == len(IMAGE)
    assert out.read_bytes() == IMAGE
    assert out.stat().st_blocks * 512 < MIB
    assert source.read_bytes() == content
    assert told[-1] == (len(content), len(content))
    assert told == sorted(told)


@pytest.mark.parametrize("length", [-1, None])
def test_a_download_is_unpacked_and_checked(source: Path, tmp_path: Path, length: int | None) -> None:
    content = source.read_bytes()
    out, told = tmp_path / "out.img", []
    with server(serves(content, length=length)) as url, out.open("wb") as stream:
        unpack(f"{url}/stock", stream, sha256=sha256(content), progress=lambda done, total: told.append((done, total)))
    assert out.read_bytes() == IMAGE
    assert told[-1] == (len(content), len(content) if length else None)


def test_another_hash_is_refused(source: Path, tmp_path: Path) -> None:
    content = source.read_bytes()
    said = refusal(source, tmp_path, sha256="0" * 64)
    assert said.startswith(f"{source}: its sha256 is {sha256(content)}, not {'0' * 64}: ")
    with server(serves(content)) as url:
        assert "its sha256 is" in refusal(f"{url}/stock", tmp_path, sha256="0" * 64)
    assert "not a sha256, which has 64 hexadecimal digits" in refusal(source, tmp_path, sha256="abc")


def test_what_is_cut_off_or_damaged_is_refused(source: Path, tmp_path: Path) -> None:
    content = source.read_bytes()
    if source.suffix == ".img":
        pytest.skip("a truncated raw image is detected by its partitions")
    source.write_bytes(content[: len(content) // 2])
    assert f"{source}: damaged or truncated (" in refusal(source, tmp_path)
    middle = len(content) // 2
    source.write_bytes(
        content[:middle] + bytes(each ^ 0x55 for each in content[middle : middle + 20]) + content[middle + 20 :]
    )
    assert f"{source}: damaged or truncated (" in refusal(source, tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"x", "not a card image"),
        (b"<html>" * 500, "not a card image"),
        (lzma.compress(b"hello"), "not a card image"),
        (lzma.compress(b""), "is empty"),
        (bz2.compress(IMAGE), "compressed with bzip2, which is not supported"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed with zstd, which is not supported"),
    ],
)
def test_what_holds_no_image_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(content)
    assert says in refusal(source, tmp_path)


@pytest.mark.parametrize("names", [[], ["a.img", "b/B.IMG"]])
def test_a_zip_holds_one_image(tmp_path: Path, names: list[str]) -> None:
    source = tmp_path / "source.zip"
    source.write_bytes(packed_zip(tmp_path, *names))
    assert f"a zip must contain one .img; this one contains {len(names)} ({', '.join(names) or 'none'})" in refusal(
        source, tmp_path
    )


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "cannot read it: No such file" in refusal(tmp_path / "nowhere", tmp_path)
    assert "cannot read it: Is a directory" in refusal(tmp_path, tmp_path)
    assert "cannot read it: " in refusal("a\0b", tmp_path)
    assert "only http and https" in refusal("ftp://example.org/x.img", tmp_path, sha256="0" * 64)


def test_a_download_needs_its_hash_and_hides_passwords(tmp_path: Path) -> None:
    said = refusal("https://me:hunter2@example.org/x.img.xz", tmp_path)
    assert said.startswith("https://me:***@example.org/x.img.xz: a URL needs --sha256")


def test_servers_that_do_not_do_their_part(tmp_path: Path) -> None:
    def missing(handler: BaseHTTPRequestHandler) -> None:
        handler.send_error(404)

    def around(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", handler.path)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def to_a_file(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "file:///etc/passwd")
        handler.end_headers()

    ended = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        serves(IMAGE[:4096], length=len(IMAGE))(handler)
        handler.wfile.flush()
        ended.wait(60)

    for answer, says in (
        (missing, "the server answers 404: Not Found"),
        (around, "the server answers 302: The HTTP server returned a redirect error"),
        (to_a_file, "the server answers 302"),
        (serves(IMAGE[:4096], length=len(IMAGE)), f"ended after 4096 of {len(IMAGE)} bytes"),
        (silent, "cannot read it: timed out"),
    ):
        with server(answer) as url:
            assert says in refusal(
                f"{url}/x", tmp_path, sha256=sha256(IMAGE), timeout_s=2.0 if answer is silent else 30.0
            )
            if answer is silent:
                ended.set()
    assert "cannot read it: Connection refused" in refusal(f"{url}/x", tmp_path, sha256=sha256(IMAGE))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_output_that_cannot_be_written(source: Path) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OutputError, match="No space left on device"):
        unpack(str(source), full, sha256=None)
