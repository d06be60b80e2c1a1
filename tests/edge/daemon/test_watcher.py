"""Watcher: several sources in the background, by callback, iteration and asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from msgspec import structs

from fer_edge import InputError, ModelError, RuntimeSettings, SourceSettings, Watcher, load_bundle
from fer_edge.settings.service import RecoverySettings
from fer_edge.system.opencv_setup import set_up_opencv
from support.processes.edge_command import write_video
from support.servers.loopback import free_port

ENDLESS = RuntimeSettings(source=SourceSettings(realtime=True))


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    set_up_opencv()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("films")
    return [f"{name}={write_video(folder / f'{name}.mp4', 20)}" for name in ("door", "garden")]


def test_all_sources_are_watched_at_the_same_time(tiny_bundle: Path, films: list[str]) -> None:
    with Watcher(*films, bundle=tiny_bundle) as watcher:
        kinds = sorted((event.source, event.kind.value) for event in watcher if event.kind.value != "changed")
        assert not watcher.running
    assert kinds == [("door", "appeared"), ("door", "left"), ("garden", "appeared"), ("garden", "left")]


def test_a_callback_is_called_in_another_thread(tiny_bundle: Path, films: list[str]) -> None:
    threads = set()
    with load_bundle(tiny_bundle) as bundle:
        watcher = Watcher(films[0], bundle=bundle, on_event=lambda event: threads.add(threading.current_thread().name))
    assert watcher.wait(60)
    assert threads == {"watcher"}


@pytest.mark.slow
def test_asyncio_goes_on_meanwhile(tiny_bundle: Path) -> None:
    async def main() -> tuple[list[str], int]:
        ticks, seen = 0, []

        async def count() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        counting = asyncio.create_task(count())
        with Watcher("demo", settings=ENDLESS, bundle=tiny_bundle) as watcher:
            async for event in watcher:
                seen.append(event.kind.value)
                if event.kind.value == "left":
                    break
        counting.cancel()
        return seen, ticks

    seen, ticks = asyncio.run(main())
    assert (seen[0], seen[-1]) == ("appeared", "left")
    assert ticks > 100  # it takes five seconds until the face leaves


def test_close_ends_an_endless_source_at_once(tiny_bundle: Path) -> None:
    watcher = Watcher("demo", settings=ENDLESS, bundle=tiny_bundle)
    next(iter(watcher))
    assert watcher.running and not watcher.wait(0.0)
    began = time.monotonic()
    watcher.close()
    assert not watcher.running and time.monotonic() - began < 5
    watcher.close()
    assert watcher.wait(0.0)
    assert [event.kind.value for event in watcher][-1:] in ([], ["left"])


def test_a_callback_may_close_the_watcher(tiny_bundle: Path) -> None:
    watchers: list[Watcher] = []
    ready = threading.Event()

    def close(event: object) -> None:
        ready.wait(60)
        watchers[0].close()

    watchers.append(Watcher("demo", settings=ENDLESS, bundle=tiny_bundle, on_event=close))
    ready.set()
    assert watchers[0].wait(60)


def test_what_a_callback_raises_ends_the_watcher(tiny_bundle: Path, films: list[str]) -> None:
    def fail(event: object) -> None:
        raise KeyError("mine")

    with Watcher(*films, bundle=tiny_bundle, on_event=fail) as watcher, pytest.raises(KeyError, match="mine"):
        watcher.wait(60)
    with Watcher(*films, bundle=tiny_bundle, on_event=fail) as watcher, pytest.raises(KeyError, match="mine"):
        list(watcher)


def test_a_camera_that_is_lost_is_told_by_events_and_not_on_standard_error(
    tiny_bundle: Path, films: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    gone = f"cam=rtsp://127.0.0.1:{free_port()}/x"
    settings = RuntimeSettings(recovery=RecoverySettings(reconnect=True, retry_min_s=0.1, retry_max_s=1.0))
    with Watcher(gone, films[0], settings=settings, bundle=tiny_bundle) as watcher:
        kinds = {}
        for event in watcher:
            kinds.setdefault(event.source, []).append(event.kind.value)
            if len(kinds) == 2 and kinds["door"][-1] == "left":
                break
    assert kinds["cam"] == ["source_lost"]
    with Watcher(gone, films[0], bundle=tiny_bundle) as watcher, pytest.raises(OSError, match="refuses the connection"):
        list(watcher)
    assert "fer-edge" not in capfd.readouterr().err


@pytest.mark.slow
def test_what_nobody_takes_is_limited(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.daemon.watcher._MAX_QUEUED_EVENTS", 3)
    settings = structs.replace(RuntimeSettings(), emotion=structs.replace(RuntimeSettings().emotion, heartbeat_s=0.5))
    with Watcher("demo", settings=settings, bundle=tiny_bundle) as watcher:
        assert watcher.wait(120)
        events = list(watcher)
    assert len(events) == 3 and events[-1].kind.value in ("left", "heartbeat")
    assert watcher.dropped > 5


def test_what_cannot_be_watched_is_refused_at_once(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no source to watch"):
        Watcher()
    with pytest.raises(InputError, match=r"gone.mp4: no such file"):
        Watcher("gone.mp4", bundle=tiny_bundle)
    with pytest.raises(InputError, match="two sources have the name a"):
        Watcher("a=demo", "a=0")
    (tmp_path / "b").mkdir()
    with pytest.raises(ModelError):
        Watcher("demo", bundle=tmp_path / "b")
    assert not [thread for thread in threading.enumerate() if thread.name == "watcher"]
