"""A root that is read-only below an overlay in memory, as raspi-config makes it: the service's writes go to memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.service.install import default_config
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.service import OutputSettings, RecoverySettings
from fer_edge.sinks import open_sinks
from fer_edge.status import StatusBoard
from support.processes.edge_command import clean_environment, command_line, lines_of
from support.processes.waiting import wait_for
from support.results.events import numbered, numbers_of

FOLDER = "var/lib/fer-edge"


class Root:
    """``root`` is the programs' file system, ``card`` the card's contents; each ``booted`` starts with empty memory."""

    def __init__(self, folder: Path) -> None:
        self._memory = folder / "memory"
        self.card, self.root = folder / "card", folder / "root"
        for path in (self._memory, self.card, self.root):
            path.mkdir()
        (self.card / FOLDER).mkdir(parents=True)
        self.events = self.root / FOLDER / "events.jsonl"

    @contextlib.contextmanager
    def booted(self, memory_kib: int = 4096) -> Iterator[Path]:
        """Mount the overlay for the duration of the block; skip the test if that is not permitted."""
        with contextlib.ExitStack() as mounts:
            self._mount(mounts, ["-t", "tmpfs", "-o", f"size={memory_kib}k", "none", self._memory])
            # Bound to itself, since an ordinary folder is not read-only to root.
            self._mount(mounts, ["--bind", self.card, self.card])
            subprocess.run(["mount", "-o", "remount,bind,ro", self.card], check=True)
            (self._memory / "upper").mkdir()
            (self._memory / "work").mkdir()
            layers = f"lowerdir={self.card},upperdir={self._memory}/upper,workdir={self._memory}/work"
            self._mount(mounts, ["-t", "overlay", "-o", layers, "overlay", self.root])
            yield self.root

    @staticmethod
    def _mount(mounts: contextlib.ExitStack, words: list[str | Path]) -> None:
        try:
            done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("needs mount: apt-get install mount")
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
        mounts.callback(subprocess.run, ["umount", "-l", words[-1]], check=True)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def service(events: Path, **output: object) -> RuntimeSettings:
    recovery = RecoverySettings(reconnect=True, retry_min_s=0.1, retry_max_s=1.0)
    return RuntimeSettings(output=OutputSettings(events=str(events), **output), recovery=recovery)  # type: ignore[arg-type]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_services_own_settings_run_there(root: Root, tmp_path: Path) -> None:
    """Run the real command with the settings of `service install`; only paths and the source differ."""
    settings = default_config().replace("/var/lib/fer-edge/", f"{root.root}/{FOLDER}/").replace('"0"', '"demo"')
    settings = settings.replace(
        "events_max_buffered_s = 5.0", "events_max_buffered_s = 0.5\nevents_max_unsynced_s = 0.5"
    )
    settings = settings.replace("enabled = true", "enabled = false")
    (tmp_path / "config.toml").write_text(f"{settings}\n[emotion]\nheartbeat_s = 0.2\n")
    with root.booted():
        run = command_line("run", "--config", tmp_path / "config.toml", "--realtime", "--duration", "4")
        done = subprocess.run(
            run, cwd=root.root / FOLDER, env=clean_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert len(lines_of(root.events)) >= 5
    assert files_of(root.card / FOLDER) == {}


@pytest.mark.parametrize("sync_s", [None, 0.0])
def test_events_go_on_after_those_of_the_card_and_are_gone_after_a_restart(root: Root, sync_s: float | None) -> None:
    before = b'{"mono": 0}\n'
    (root.card / FOLDER / "events.jsonl").write_bytes(before)
    for _ in range(2):
        with root.booted():
            with open_sinks(service(root.events, events_max_unsynced_s=sync_s), StatusBoard(), live=True) as sinks:
                for number in range(1, 21):
                    sinks.emit(numbered(number))
            assert numbers_of(root.events.read_bytes().splitlines()) == list(range(21))
    assert files_of(root.card / FOLDER) == {"events.jsonl": before}


def test_a_file_of_the_card_is_rotated_in_memory(root: Root) -> None:
    """For a file on the card, the overlay must rename a copy; the file is not opened again for each line."""
    before = b"".join(b'{"mono": %d}\n' % number for number in range(700))
    (root.card / FOLDER / "events.jsonl").write_bytes(before)
    with root.booted():
        settings = service(root.events, events_max_mib=0.01, events_max_rotated=2, events_max_unsynced_s=0.0)
        with open_sinks(settings, StatusBoard(), live=False) as sinks:
            for number in range(700, 800):
                sinks.emit(numbered(number))
        names = ["events.jsonl.2", "events.jsonl.1", "events.jsonl"]
        left = numbers_of(b"".join((root.root / FOLDER / name).read_bytes() for name in names).splitlines())
        assert left == list(range(800))[-len(left) :]
        assert set(files_of(root.root / FOLDER)) == set(names)
    assert files_of(root.card / FOLDER) == {"events.jsonl": before}


def test_memory_that_is_full_is_an_outage(root: Root, capfd: pytest.CaptureFixture[str]) -> None:
    with root.booted(memory_kib=256):
        board = StatusBoard()
        with open_sinks(service(root.events, max_queued_events=100), board, live=True) as sinks:

            def status() -> bool:
                return next(sink for sink in board.snapshot().sinks if sink.name == "events").working

            sinks.emit(numbered(0))
            wait_for(root.events.exists)
            filler = root.root / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
                while True:
                    stream.write(bytes(4096))
            for number in range(1, 200):
                sinks.emit(numbered(number))
            wait_for(lambda: not status())
            filler.unlink()
            wait_for(status)
        numbers = numbers_of(root.events.read_bytes().splitlines())
        assert numbers == sorted(set(numbers)) and numbers[-1] == 199
    assert "No space left" in capfd.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_without_an_overlay_the_run_is_refused_at_once(root: Root, tmp_path: Path) -> None:
    with root.booted():
        run = command_line("run", "demo", "--events", root.card / FOLDER / "events.jsonl", "--duration", "5")
        done = subprocess.run(run, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert done.stderr.count("\n") == 1 and "Read-only file system" in done.stderr
    assert files_of(root.card / FOLDER) == {}
