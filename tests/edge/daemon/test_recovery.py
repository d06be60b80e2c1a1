"""Sources that are lost and return, in a process that a service manager watches."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from support.cameras.mjpeg_server import mjpeg_server
from support.cameras.rtsp_server import rtsp_server, why_missing
from support.processes.daemon import PATIENCE_S, Daemon, running_daemon
from support.processes.edge_command import write_video
from support.servers.loopback import free_port, port_of, silent_server

RECOVERY = """
[recovery]
reconnect = true
retry_min_s = 0.1
retry_max_s = 0.5
dark_after_s = 0.6
frozen_after_s = 0.6
"""


def config(bundle: Path, *uris: str, timeout_s: float = 1.0, more: str = "") -> str:
    listed = ", ".join(f'"{uri}"' for uri in uris)
    return (
        f'[source]\nuris = [{listed}]\ntimeout_s = {timeout_s}\n[model]\nbundle = "{bundle}"\n'
        f'[output]\nevents = "events.jsonl"\n{RECOVERY}{more}'
    )


def outages(daemon: Daemon, count: int) -> list[tuple[str, str | None]]:
    told = daemon.wait_for_events(count, "source_lost", "source_back")
    return [(line["kind"], line.get("reason")) for line in told]


def test_a_camera_is_lost_for_each_reason_and_comes_back(tiny_bundle: Path, tmp_path: Path) -> None:
    reasons = {"frozen": "same for", "silent": "no frame for"}
    with mjpeg_server() as server, running_daemon(tmp_path, config(tiny_bundle, server.url("moody"))) as daemon:
        daemon.wait_for_events(1, "appeared")
        for number, mood in enumerate(reasons):
            began = time.monotonic()
            server.mood = mood
            kind, reason = outages(daemon, 2 * number + 1)[-1]
            assert kind == "source_lost" and reason is not None
            assert reasons[mood] in reason or (mood == "silent" and "stopped" in reason)
            assert time.monotonic() - began < PATIENCE_S / 2
            server.mood = "well"
            assert outages(daemon, 2 * number + 2)[-1] == ("source_back", None)
        daemon.wait_for(lambda: daemon.last_status.startswith("STATUS=1 of 1"))
        assert daemon.stop() == 0
    events = daemon.events()
    tracks = [line["track"] for line in events if line["kind"] == "appeared"]
    assert tracks == sorted(set(tracks)) and len(tracks) >= 2  # numbering continues
    assert daemon.count("READY=1") == 1
    assert daemon.count("STOPPING=1") == 1
    assert any("lost: " in told for told in daemon.notified if told.startswith("STATUS="))


def test_a_server_that_dies_and_comes_back(tiny_bundle: Path, tmp_path: Path) -> None:
    with mjpeg_server() as server:
        port, url = server.port, server.url("stream")
    with running_daemon(
        tmp_path, config(tiny_bundle, url)
    ) as daemon:  # the source is missing: reported as a state; the program continues
        ((kind, reason),) = outages(daemon, 1)
        assert kind == "source_lost" and "refuses the connection" in (reason or "")
        daemon.wait_for(lambda: daemon.count("WATCHDOG=1") > 0)  # only attempts notify it
        for number in (1, 2):
            with mjpeg_server(port=port):
                assert outages(daemon, 2 * number)[-1][0] == "source_back"
                daemon.wait_for_events(number, "appeared")
            assert outages(daemon, 2 * number + 1)[-1][0] == "source_lost"
        assert daemon.stop() == 0
    assert daemon.count("READY=1") == 1


@pytest.mark.slow
@pytest.mark.skipif(why_missing() is not None, reason=str(why_missing()))
def test_an_rtsp_server_that_is_killed_and_comes_back(tiny_bundle: Path, tmp_path: Path) -> None:
    with mjpeg_server() as other, rtsp_server() as (process, port):
        uris = (f"rtsp://127.0.0.1:{port}/live", other.url("stream"))
        with running_daemon(tmp_path, config(tiny_bundle, *uris, timeout_s=3.0)) as daemon:
            daemon.wait_for(lambda: any("2 of 2 sources watched" in told for told in daemon.notified))
            process.kill()
            process.wait()
            assert outages(daemon, 1)[0][0] == "source_lost"
            before = daemon.count("WATCHDOG=1")
            daemon.wait_for(lambda: daemon.count("WATCHDOG=1") > before)  # the other one continues
            with rtsp_server(port=port):
                assert outages(daemon, 2)[-1] == ("source_back", None)
                assert daemon.stop() == 0


def test_one_that_does_not_answer_holds_up_no_other(tiny_bundle: Path, tmp_path: Path) -> None:
    with silent_server() as listener, mjpeg_server() as server:
        uris = (f"rtsp://127.0.0.1:{port_of(listener)}/a", server.url("stream"))
        with running_daemon(tmp_path, config(tiny_bundle, *uris, timeout_s=5.0)) as daemon:
            daemon.wait_for_events(1, "appeared")
            daemon.wait_for(lambda: daemon.count("READY=1") == 1)
            assert daemon.stop() == 0


FAULTY_PICAMERA2 = """
import os, threading, numpy

FAULT = os.environ["FAULT"]

class MappedArray:
    def __init__(self, request, stream, reshape):
        self.array = numpy.random.randint(0, 255, 640 * 480 * 3 // 2, dtype=numpy.uint8)
    def __enter__(self): return self
    def __exit__(self, *failure): pass

class Request:
    def get_metadata(self): return {}
    def release(self): pass

class Picamera2:
    camera_controls = {}
    camera_properties = {}
    @staticmethod
    def global_camera_info():
        if FAULT == "failing": raise KeyError("a driver's own kind of error")
        if FAULT == "opening": threading.Event().wait()
        return [{}]
    def __init__(self, number): self.left = 20
    def create_video_configuration(self, **wanted): return wanted
    def configure(self, configuration): pass
    def camera_configuration(self): return {"lores": {"size": (640, 480), "stride": 640}}
    def start(self): pass
    def close(self): pass
    def capture_request(self, wait): return None
    def wait(self, job, timeout):
        self.left -= 1
        if self.left < 0:
            threading.Event().wait()  # picamera2's known fault: a call that does not come back, whatever its timeout
        threading.Event().wait(0.05)
        return Request()
"""


def driver(folder: Path, fault: str) -> dict[str, str]:
    """The environment in which picamera2 has this fault."""
    (folder / "site").mkdir()
    (folder / "site" / "picamera2.py").write_text(FAULTY_PICAMERA2)
    path = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "FAULT": fault, "OPENBLAS_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["reading", "opening"])
def test_a_driver_that_never_comes_back_ends_the_process_to_be_started_again(
    fault: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    environment = driver(tmp_path, fault)
    with running_daemon(tmp_path, config(tiny_bundle, "picamera2", "demo"), environment=environment) as daemon:
        daemon.wait_for(lambda: daemon.process.poll() is not None, running=False)
        assert daemon.process.returncode == 3
        assert "its driver does not come back" in daemon.errors()
        assert any("its driver does not come back" in line for line in daemon.notified)
    assert [line["source"] for line in daemon.events("source_lost")] == ["picamera2"]


def test_a_driver_that_fails_in_its_own_way_ends_nothing_but_its_source(tiny_bundle: Path, tmp_path: Path) -> None:
    environment = driver(tmp_path, "failing")
    with (
        mjpeg_server() as server,
        running_daemon(
            tmp_path, config(tiny_bundle, "picamera2", server.url("stream")), environment=environment
        ) as daemon,
    ):
        daemon.wait_for_events(1, "appeared")
        (lost,) = daemon.wait_for_events(1, "source_lost")
        assert lost["source"] == "picamera2" and "KeyError" in lost["reason"]
        assert daemon.stop() == 0


@pytest.mark.slow
def test_night_is_a_state_and_no_loss(tiny_bundle: Path, tmp_path: Path) -> None:
    with mjpeg_server() as server, running_daemon(tmp_path, config(tiny_bundle, server.url("moody"))) as daemon:
        daemon.wait_for_events(1, "appeared")
        opened = server.asked.count("moody")  # once, or twice with an FFmpeg that follows redirects
        server.mood = "black"
        daemon.wait_for(lambda: "STATUS=1 of 1 source watched; 127.0.0.1 dark" in daemon.notified)
        daemon.wait_for_events(1, "left")
        before = daemon.count("WATCHDOG=1")
        daemon.wait_for(lambda: daemon.count("WATCHDOG=1") > before + 1)
        server.mood = "well"
        daemon.wait_for_events(2, "appeared")
        daemon.wait_for(lambda: daemon.last_status.endswith(" watched"))
        assert daemon.stop() == 0
    assert daemon.events("source_lost", "source_back") == []
    assert server.asked.count("moody") == opened  # it was never opened again


def test_a_camera_that_returns_at_night_is_back(tiny_bundle: Path, tmp_path: Path) -> None:
    with mjpeg_server() as server:
        port, url = server.port, server.url("moody")
    with running_daemon(tmp_path, config(tiny_bundle, url)) as daemon:
        outages(daemon, 1)
        with mjpeg_server(port=port) as server:
            server.mood = "black"
            assert outages(daemon, 2)[-1][0] == "source_back"
            daemon.wait_for(lambda: any("127.0.0.1 dark" in told for told in daemon.notified))
            server.mood = "well"
            daemon.wait_for_events(1, "appeared")
            assert daemon.stop() == 0


def test_a_source_that_is_lost_for_good_ends_no_reload(tiny_bundle: Path, tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.avi", 20, code="MJPG")
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    with (
        mjpeg_server() as server,
        running_daemon(tmp_path, config(tiny_bundle, server.url("stream"), str(film))) as daemon,
    ):
        daemon.wait_for(lambda: "film.avi" in daemon.errors())
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: "reloaded" in daemon.errors())
        daemon.wait_for_events(2, "appeared")
        assert daemon.stop() in (0, 2)


@pytest.mark.slow
def test_a_good_reload_begins_anew_and_a_bad_one_changes_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    with mjpeg_server() as server, running_daemon(tmp_path, config(tiny_bundle, server.url("stream"))) as daemon:
        daemon.wait_for_events(1, "appeared")
        for broken, word in (
            ("[source]\nuris = 3", "source.uris"),
            ("[source", "not valid TOML"),
            (config(tmp_path / "nowhere", "demo"), "nowhere"),
            ("[source]\nuris = []", "no source"),
            (f'{config(tiny_bundle, "demo")}\n[detector]\nkind = "yunet"\nmodel = "{tmp_path / "c.toml"}"\n', "c.toml"),
        ):
            (tmp_path / "c.toml").write_text(broken)
            refused = daemon.errors().count("not reloaded")
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for(lambda seen=refused: daemon.errors().count("not reloaded") > seen)  # type: ignore[misc]
            assert word in daemon.errors().splitlines()[-1]
        assert daemon.events("left") == []
        other = {"uris": server.url("stream"), "dead": f"http://127.0.0.1:{free_port()}/x"}
        (tmp_path / "c.toml").write_text(config(tiny_bundle, *other.values()))
        ready = daemon.count("READY=1")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: daemon.count("READY=1") > ready)
        daemon.wait_for_events(2, "appeared")
        assert daemon.wait_for_events(1, "source_lost")[0]["source"] == "127.0.0.1-2"
        # Settings that are accepted, but that cannot start: the previous ones are restored.
        (tmp_path / "c.toml").write_text(
            config(tiny_bundle, server.url("stream")).replace("events.jsonl", "no/such/folder/e.jsonl")
        )
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: "restored the previous ones" in daemon.errors())
        daemon.wait_for_events(3, "appeared")
        assert daemon.stop() == 0
    assert daemon.count("RELOADING=1") == 7
    assert "Traceback" not in daemon.errors()


@pytest.mark.slow
def test_a_process_that_was_stopped_goes_on(tiny_bundle: Path, tmp_path: Path) -> None:
    with mjpeg_server() as server, running_daemon(tmp_path, config(tiny_bundle, server.url("stream"))) as daemon:
        daemon.wait_for_events(1, "appeared")
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)  # longer than the source may be silent
        daemon.process.send_signal(signal.SIGCONT)
        before = daemon.count("WATCHDOG=1")
        daemon.wait_for(lambda: daemon.count("WATCHDOG=1") > before)
        # FFmpeg's timeout may have expired: then the stream was opened again.
        daemon.wait_for(lambda: len(daemon.events("source_back")) == len(daemon.events("source_lost")))
        assert daemon.stop() == 0
