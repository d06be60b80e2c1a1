"""Requests to ``fer-edge agent``, and how it ends when the other side is gone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.measure.requests import Requests
from support.processes.edge_command import clean_environment, command_line
from support.processes.terminal import Terminal

FOREVER_S = 1000.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):  # the test has closed it
            os.close(descriptor)


def test_lines_and_bytes_in_any_pieces(pipe: tuple[int, int]) -> None:
    requests = Requests(pipe[0], FOREVER_S)
    os.write(pipe[1], b'{"request": "put", "size": 9}\nab\ncd')
    assert requests.next() == {"request": "put", "size": 9}
    payload = requests.payload(9)
    assert next(payload) == b"ab\ncd"
    os.write(pipe[1], b'efgh{"request": "next"}\n{"requ')
    assert b"".join(payload) == b"efgh"
    assert requests.next() == {"request": "next"}
    os.write(pipe[1], b'est": "last"}\n')
    assert requests.next() == {"request": "last"}
    assert list(requests.payload(0)) == []


@pytest.mark.parametrize("text", [b"[]\n", b"hello\n", b"x" * (2**20 + 2**16)], ids=["list", "text", "endless"])
def test_what_is_not_a_request_is_an_error(tmp_path: Path, text: bytes) -> None:
    (path := tmp_path / "requests").write_bytes(text)
    with path.open("rb") as stream, pytest.raises(ValueError):
        Requests(stream.fileno(), FOREVER_S).next()


def test_an_end_is_seen_in_a_line_and_in_bytes(pipe: tuple[int, int]) -> None:
    requests = Requests(pipe[0], FOREVER_S)
    os.write(pipe[1], b'{"request": "put"}\nab')
    os.close(pipe[1])
    requests.next()
    with pytest.raises(EOFError):
        b"".join(requests.payload(3))
    with pytest.raises(EOFError):
        requests.next()


def test_silence_is_an_end(pipe: tuple[int, int]) -> None:
    started = time.monotonic()
    with pytest.raises(EOFError):
        Requests(pipe[0], 0.2).next()
    assert time.monotonic() - started >= 0.2


def test_the_agent_describes_the_machine_and_ends_with_its_input(tmp_path: Path) -> None:
    done = subprocess.run(
        command_line("agent"),
        input="",
        env={**clean_environment(), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    version, description = done.stdout.splitlines()
    assert version == '{"fer_edge": "0.1.0", "protocol": 1}'
    assert str(tmp_path / "fer-edge" / "measure") in description
    assert [path.name for path in (tmp_path / "fer-edge" / "measure").iterdir()] == ["lock"]


def test_the_agent_has_no_use_in_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal(command_line("agent"), tmp_path)
    terminal.read_until(lambda text: "fer-edge bench --on starts this command" in text)
    assert terminal.end() == 2
