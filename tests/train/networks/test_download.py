"""Downloads: complete and with the right checksum, or no file, whatever the server does."""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fer_edge.errors import InputError, OutputError
from fer_train.networks import vgg16
from fer_train.networks.download import fetch
from support.processes import fork
from support.servers.loopback import free_port
from support.training.mini_run import MiniRun, assert_refused

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The server's address; the path selects its behaviour."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            if self.path == "/silent":
                self.wfile.write(CONTENT[:1000])
                ended.wait(10)
            else:
                self.wfile.write(CONTENT[:5000] if self.path == "/short" else CONTENT)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        ended.set()
        running.shutdown()
        thread.join()


def test_a_file_is_fetched_once_and_again_where_it_is_damaged(server: str, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "models" / "weights.h5"
    assert fetch(f"{server}/good", target, md5=MD5).read_bytes() == CONTENT
    assert fetch(f"{server}/missing", target, md5=MD5) == target  # no server is contacted
    target.write_bytes(CONTENT[:77])
    assert fetch(f"{server}/good", target, md5=MD5).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "words"),
    [("missing", "404 Not Found"), ("short", "ended after 5000 of 1024000 bytes"), ("silent", "timed out")],
)
def test_what_does_not_come_whole_leaves_nothing(server: str, tmp_path: Path, path: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fetch(f"{server}/{path}", tmp_path / "weights.h5", md5=MD5, silence_s=0.5)
    assert not list(tmp_path.iterdir())


def test_another_file_is_not_kept(server: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"another file .*{MD5}"):
        fetch(f"{server}/good", tmp_path / "weights.h5", md5="0" * 32)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="folder"):
        fetch(f"{server}/good", tmp_path / "file" / "weights.h5", md5=MD5)


@pytest.mark.slow
def test_imagenet_s_weights_that_cannot_be_downloaded_are_told_in_one_line(
    mini_run: MiniRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    config = tmp_path / "vgg16.toml"
    config.write_text('[model]\narchitecture = "vgg16"\n')
    command = ("train", "--config", config, "--out", tmp_path / "run")
    refused = fork.fer_edge(*command, data=mini_run.data)
    assert_refused(refused, 2, vgg16.IMAGENET_URL, "Connection refused", "--weights PATH", "--weights none")
    assert refused.stdout == ""
    assert not list((tmp_path / "keras").rglob("*.h5"))
    assert not (tmp_path / "run").exists()


def test_the_weights_are_those_that_keras_itself_would_download() -> None:
    found = importlib.util.find_spec("keras")
    assert found is not None and found.origin is not None
    source = Path(found.origin).parent / "src/applications/vgg16.py"
    text = source.read_text().replace('"\n    "', "").replace('"\n        "', "")
    assert vgg16.IMAGENET_URL in text
    assert vgg16.IMAGENET_MD5 in text
