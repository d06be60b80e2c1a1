"""``fer-edge run`` as a process: FIFOs, devices and huge files where a file is expected never block or fill memory."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes.daemon import running_daemon
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge
from support.processes.waiting import wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="FIFOs with names are POSIX's")


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def huge(path: Path) -> Path:
    """Make a sparse file of 8 GiB."""
    with path.open("wb") as stream:
        stream.truncate(8 << 30)
    return path


def zero(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize(
    ("make", "said"), [(fifo, "it is a FIFO"), (zero, "it is a device"), (huge, "it has more than 1 MiB")]
)
def test_a_config_must_be_a_small_regular_file(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    make(tmp_path / "c.toml")
    assert_one_line(fer_edge("run", "--config", "c.toml", cwd=tmp_path), 2, "c.toml: cannot read it", said)


@pytest.mark.parametrize("make", [fifo, zero])
@pytest.mark.parametrize("key", ["mqtt.password_file", "web.token_file", "webhook.token_file"])
def test_a_secret_must_be_in_a_regular_file(
    tiny_bundle: Path, tmp_path: Path, make: Callable[[Path], Path], key: str
) -> None:
    make(tmp_path / "secret")
    section, _, name = key.partition(".")
    needed = {
        "mqtt": 'host = "127.0.0.1"\nusername = "u"\n',
        "web": "enabled = true\n",
        "webhook": 'url = "http://127.0.0.1:1/"\n',
    }[section]
    (tmp_path / "c.toml").write_text(f'[{section}]\n{needed}{name} = "secret"\n')
    result = fer_edge("run", "demo", "--config", "c.toml", "--bundle", tiny_bundle, "--max-frames", 1, cwd=tmp_path)
    assert_one_line(result, 2, key, "secret: it is a")


def test_a_certificate_must_be_in_a_regular_file(tiny_bundle: Path, tmp_path: Path) -> None:
    fifo(tmp_path / "ca.pem")
    (tmp_path / "c.toml").write_text('[mqtt]\nhost = "127.0.0.1"\ntls = true\nca_file = "ca.pem"\n')
    result = fer_edge("run", "demo", "--config", "c.toml", "--bundle", tiny_bundle, "--max-frames", 1, cwd=tmp_path)
    assert_one_line(result, 2, "mqtt.ca_file", "it is a FIFO")


def test_a_reload_of_a_fifo_changes_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    config = (
        f'[source]\nuris = ["demo"]\nrealtime = true\n[model]\nbundle = "{tiny_bundle}"\n'
        '[output]\nevents = "events.jsonl"\n'
    )
    with running_daemon(tmp_path, config) as daemon:
        daemon.wait_for_events(1)
        (tmp_path / "c.toml").unlink()
        fifo(tmp_path / "c.toml")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: "not reloaded" in daemon.errors())
        assert "c.toml: cannot read it: it is a FIFO" in daemon.errors()
        assert daemon.stop() == 0


@pytest.mark.parametrize("flag", ["--events", "--trace", "--stats"])
def test_an_output_fifo_without_a_reader_is_exit_6(tiny_bundle: Path, tmp_path: Path, flag: str) -> None:
    fifo(tmp_path / "pipe")
    result = fer_edge("run", "demo", "--bundle", tiny_bundle, flag, "pipe", "--max-frames", 1, cwd=tmp_path)
    assert_one_line(result, 6, "pipe", "a FIFO that no program reads; start its reader first")


def test_a_video_is_not_written_to_a_fifo(tiny_bundle: Path, tmp_path: Path) -> None:
    fifo(tmp_path / "pipe.webm")
    result = fer_edge("run", "demo", "--bundle", tiny_bundle, "--annotate", "pipe.webm", cwd=tmp_path)
    assert_one_line(result, 6, "pipe.webm: not a regular file")


@pytest.mark.parametrize("flag", ["--events", "--trace", "--stats"])
def test_an_output_fifo_with_a_reader_gets_everything(tiny_bundle: Path, clip: Path, tmp_path: Path, flag: str) -> None:
    fifo(tmp_path / "pipe")
    words = ("run", clip, "--bundle", tiny_bundle)
    # The reader is started second, as a script may do it.
    process = subprocess.Popen(
        command_line(*words, flag, "pipe"), cwd=tmp_path, env=clean_environment(), stdout=subprocess.DEVNULL
    )
    got = (tmp_path / "pipe").read_text()
    assert process.wait(timeout=120) == 0
    assert fer_edge(*words, flag, "file", cwd=tmp_path).returncode == 0
    expected = (tmp_path / "file").read_text()
    if flag == "--trace":
        assert got == expected
    assert got.count("\n") == expected.count("\n") > 0


def test_sigterm_ends_a_wait_for_the_reader_of_a_fifo(tiny_bundle: Path, tmp_path: Path) -> None:
    fifo(tmp_path / "pipe")
    words = ("run", "demo", "--bundle", tiny_bundle, "--stats", "s.json", "--trace", "pipe")
    process = subprocess.Popen(
        command_line(*words), cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: [entry for entry in tmp_path.iterdir() if entry.name.startswith(".s.json")])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode in (0, 6)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_an_image_that_fills_the_memory_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    with huge(tmp_path / "huge.jpg").open("r+b") as stream:
        stream.write(b"\xff\xd8")
    result = fer_edge("run", "huge.jpg", "--bundle", tiny_bundle, cwd=tmp_path)
    assert_one_line(result, 2, "huge.jpg: cannot read it: it has more than 256 MiB")
