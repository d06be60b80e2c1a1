"""RTSP and HTTP streams from real servers on loopback, with all the faults that cameras have."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fer_edge.errors import InputError, SourceLostError
from fer_edge.protocols import FrameSource, NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import open_source
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.types import Frame
from support.cameras import mjpeg_server as mjpeg
from support.cameras import rtsp_server as rtsp
from support.cameras.mjpeg_server import MjpegServer, mjpeg_server
from support.processes.edge_command import (
    assert_one_line,
    clean_environment,
    command_line,
    face_picture,
    fer_edge,
    lines_of,
    write_video,
)
from support.servers.loopback import free_port, port_of, silent_server

PATIENT = SourceSettings(timeout_s=20)
HURRIED = SourceSettings(timeout_s=1)
pytestmark = pytest.mark.usefixtures("decoder")
WITHOUT_DEADLINE_S = 15
"""Less than OpenCV's default timeout, 20 s or more, and enough for a deadline of one second on a busy machine."""
RTSP_MISSING = rtsp.why_missing()
needs_rtsp = pytest.mark.skipif(RTSP_MISSING is not None, reason=RTSP_MISSING or "")


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    set_up_opencv()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MjpegServer]:
    film = write_video(tmp_path_factory.mktemp("media") / "film.mp4", 20)
    with mjpeg_server(film) as running:
        yield running


def frames_of(source: FrameSource, count: int) -> list[Frame]:
    frames: list[Frame] = []
    deadline = time.monotonic() + 60
    while len(frames) < count and time.monotonic() < deadline:
        frame = source.read(0.5)
        assert frame is not NoFrame.ENDED
        if isinstance(frame, Frame):
            frames.append(frame)
    return frames


def until_lost(source: FrameSource) -> str:
    with pytest.raises(SourceLostError) as lost:
        while True:
            source.read(0.5)
    return str(lost.value)


def refusal(url: str, settings: SourceSettings = HURRIED) -> str:
    began = time.monotonic()
    with pytest.raises(SourceLostError) as lost:
        open_source(url, settings)
    assert time.monotonic() - began < WITHOUT_DEADLINE_S
    return str(lost.value)


# HTTP


def test_mjpeg_frames_have_monotonic_times(server: MjpegServer) -> None:
    with open_source(server.url("stream"), PATIENT) as source:
        frames = frames_of(source, 5)
        assert source.live
        assert 0 <= time.monotonic() - frames[-1].captured_at < 5
    assert all(abs(int(frame.gray.mean()) - int(face_picture().mean())) < 10 for frame in frames)
    assert [frame.glass_at for frame in frames] == [frame.captured_at for frame in frames]
    assert sorted({frame.captured_at for frame in frames}) == [frame.captured_at for frame in frames]
    assert frames[0].source == "127.0.0.1"


def test_a_slow_reader_gets_the_newest_frame_of_a_stream(server: MjpegServer) -> None:
    with open_source(server.url("stream"), PATIENT) as source:
        (first,) = frames_of(source, 1)
        before, deadline = source.dropped, time.monotonic() + 60
        while source.dropped < before + 15:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (late,) = frames_of(source, 1)
        now = time.monotonic()
        assert late.index - first.index > 15
        assert now - late.captured_at < 0.5 * (now - first.captured_at)


def test_a_video_on_a_web_server_is_read_like_a_file(server: MjpegServer) -> None:
    indices = []
    with open_source(server.url("film.mp4"), PATIENT) as source:
        assert not source.live
        while isinstance(frame := source.read(1.0), Frame):
            indices.append((frame.index, round(frame.captured_at * 15)))
    assert indices == [(index, index) for index in range(20)]


def test_a_password_for_http(server: MjpegServer) -> None:
    login = f"{mjpeg.USER}:{mjpeg.PASSWORD.replace('+', '%2B')}@"
    with open_source(server.url("private", login), PATIENT) as source:
        assert len(frames_of(source, 1)) == 1
    assert "it requires a user name and password (401" in refusal(server.url("private"), PATIENT)
    said = refusal(server.url("private", "viewer:Sesame@"), PATIENT)
    assert "the user name or password is wrong (401" in said
    assert "Sesame" not in said
    assert "viewer:***@" in said


def test_a_stream_that_stalls_ends_or_loses_its_server(server: MjpegServer) -> None:
    with open_source(server.url("stall"), SourceSettings(timeout_s=2)) as source:
        frames_of(source, 1)
        began = time.monotonic()
        assert "the stream stopped: no data for" in until_lost(source)
        assert time.monotonic() - began < WITHOUT_DEADLINE_S
    with open_source(server.url("short"), PATIENT) as source:
        assert "the server closed it or is gone" in until_lost(source)
    with mjpeg_server() as mortal, open_source(mortal.url("stream"), PATIENT) as source:
        frames_of(source, 1)
        mortal.closing.set()
        assert "the server closed it or is gone" in until_lost(source)


def test_http_errors_explain_the_problem(server: MjpegServer) -> None:
    assert "the server does not have this stream (404" in refusal(server.url("nothing"), PATIENT)
    assert "it does not send a readable video (text/html)" in refusal(server.url("page"), PATIENT)
    assert "no answer from 127.0.0.1" in refusal(server.url("silent"))
    assert "refuses the connection" in refusal(f"http://127.0.0.1:{free_port()}/")
    assert "cannot resolve the host name no.such.host.invalid" in refusal("http://no.such.host.invalid/")
    assert "no TLS connection" in refusal(f"https://127.0.0.1:{server.port}/stream")
    for url in ("http:///x", "http://h:99999/", "http://h/a b", "rtsp://[::1/x", "http://h/\r\nX-Evil: 1"):
        with pytest.raises(InputError, match="not a valid stream URL"):
            open_source(url, HURRIED)


def test_redirects_are_followed_to_the_same_host(server: MjpegServer) -> None:
    login = f"{mjpeg.USER}:{mjpeg.PASSWORD.replace('+', '%2B')}@"
    with mjpeg_server() as front:
        # Another port of the same host; the login goes with it. Then a path alone.
        front.moved_to = server.url("private")
        with open_source(front.url("moved", login), PATIENT) as source:
            assert len(frames_of(source, 1)) == 1
        front.moved_to = "/stream"
        with open_source(front.url("moved"), PATIENT) as source:
            assert len(frames_of(source, 1)) == 1
        front.moved_to = "/moved"
        assert "the server redirects more than 5 times" in refusal(front.url("moved"), PATIENT)


def test_redirects_to_other_hosts_are_followed_only_where_the_settings_name_them() -> None:
    login = f"{mjpeg.USER}:{mjpeg.PASSWORD.replace('+', '%2B')}@"
    with mjpeg_server() as front, mjpeg_server() as other:
        front.moved_to = f"http://localhost:{other.port}/stream"
        said = refusal(front.url("moved", login), PATIENT)
        assert "redirects to the host localhost, which is not followed" in said
        assert "source.follow_redirects" in said
        assert mjpeg.PASSWORD not in said
        assert other.asked == [], "nothing was sent there"
        named = SourceSettings(timeout_s=20, follow_redirects=("LocalHost",))
        with open_source(front.url("moved"), named) as source:
            assert len(frames_of(source, 1)) == 1
        front.moved_to = f"http://localhost:{other.port}/private"
        assert "it requires a user name and password" in refusal(front.url("moved", login), named), "the login stays"
        for location in ("file:///etc/passwd", "rtsp://127.0.0.1/live", "http://h/\x1b[2J"):
            front.moved_to = location
            assert "redirects to an address that is not a valid stream URL" in refusal(front.url("moved"), PATIENT)


PLAYLISTS = {
    "itself": ("application/vnd.apple.mpegurl", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n/video\n"),
    "another host": (
        "application/vnd.apple.mpegurl",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.2:{port}/a.ts\n#EXT-X-ENDLIST\n",
    ),
    "another host, of no such type": (
        "text/plain",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.2:{port}/a.ts\n#EXT-X-ENDLIST\n",
    ),
    "SDP": (
        "application/sdp",
        "v=0\no=- 0 0 IN IP4 127.0.0.2\ns=x\nc=IN IP4 127.0.0.2\nt=0 0\nm=video {port} RTP/AVP 26\n",
    ),
}


@pytest.mark.parametrize("names", PLAYLISTS)
def test_playlists_are_not_read_and_nothing_else_is_asked_for(names: str) -> None:
    kind, text = PLAYLISTS[names]
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = text.format(port=self.server.server_address[1]).encode()  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("0.0.0.0", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/video"
        assert f"it sends a playlist ({kind}), which may name any host and is not read" in refusal(url, PATIENT)
        server.shutdown()
    assert set(asked) == {"/video"} and len(asked) <= 3


@pytest.mark.parametrize("name", ["", "http://cam2.local", "cam2.local:80", "cam2 local"])
def test_what_is_not_a_host_name_is_refused_in_the_settings(tmp_path: Path, name: str) -> None:
    (tmp_path / "c.toml").write_text(f'[source]\nfollow_redirects = ["{name}"]\n')
    said = fer_edge("run", "demo", "--config", "c.toml", "--max-frames", 1, cwd=tmp_path)
    assert_one_line(said, 2, "source.follow_redirects", "host name")


# RTSP


def test_an_rtsp_server_that_does_not_answer() -> None:
    with silent_server() as listener:
        port = port_of(listener)
        assert f"no answer from 127.0.0.1:{port} within 1 s" in refusal(f"rtsp://127.0.0.1:{port}/live")
    assert "refuses the connection" in refusal(f"rtsp://127.0.0.1:{free_port()}/live")


def test_a_server_with_another_protocol_is_reported(server: MjpegServer) -> None:
    said = refusal(f"rtsp://127.0.0.1:{server.port}/live")
    assert "does not speak RTSP" in said or "the server answered" in said


@needs_rtsp
def test_rtsp_frames_until_the_server_stops() -> None:
    with rtsp.rtsp_server() as (process, port), open_source(f"rtsp://127.0.0.1:{port}/live", PATIENT) as source:
        frames = frames_of(source, 5)
        assert {frame.gray.shape for frame in frames} == {(240, 320)}
        assert (frames[0].gray != frames[-1].gray).any()
        process.kill()
        assert f"rtsp://127.0.0.1:{port}/live: the stream stopped" in until_lost(source)


@pytest.mark.slow
@needs_rtsp
def test_rtsp_that_stalls_is_lost_in_time() -> None:
    settings = SourceSettings(timeout_s=5)
    with rtsp.rtsp_server() as (process, port), open_source(f"rtsp://127.0.0.1:{port}/live", settings) as source:
        frames_of(source, 3)
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert "the stream stopped: no data for" in until_lost(source)
        assert 0.9 * settings.timeout_s <= time.monotonic() - began < WITHOUT_DEADLINE_S


_PRINT_AGES = """
import sys, time
from fer_edge import Frame, SourceSettings, open_source
with open_source(sys.argv[1], SourceSettings(timeout_s=20)) as source:
    while True:
        frame = source.read(1.0)
        if isinstance(frame, Frame):
            print(frame.index, time.monotonic() - frame.captured_at, source.dropped, flush=True)
"""


@pytest.mark.slow
@needs_rtsp
def test_rtsp_that_fell_behind_is_caught_up_and_that_is_counted() -> None:
    """The program is stopped for three seconds while the server sends: 90 frames wait in the network."""
    with rtsp.rtsp_server() as (_, port):
        command = [sys.executable, "-c", _PRINT_AGES, f"rtsp://127.0.0.1:{port}/live"]
        with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                lines = [process.stdout.readline().split() for _ in range(60)]
                process.send_signal(signal.SIGSTOP)
                time.sleep(3)
                process.send_signal(signal.SIGCONT)
                lines += [process.stdout.readline().split() for _ in range(60)]
            finally:
                process.kill()
    indices = [int(index) for index, _, _ in lines]
    ages = [float(age) for _, age, _ in lines]
    dropped = [int(count) for _, _, count in lines]
    # One that had been read may be three seconds old; of those that waited, the last 0.5 s are returned at most.
    assert sorted(ages)[-2] < 1
    assert dropped[-1] - dropped[59] >= 60
    assert indices[-1] - indices[59] >= 60 + 60


@needs_rtsp
def test_a_password_for_rtsp() -> None:
    with rtsp.rtsp_server(password=True) as (_, port):
        login = f"{rtsp.USER}:{rtsp.PASSWORD}"
        with open_source(f"rtsp://{login}@127.0.0.1:{port}/live", PATIENT) as source:
            assert len(frames_of(source, 1)) == 1
        assert "it requires a user name and password (401" in refusal(f"rtsp://127.0.0.1:{port}/live", PATIENT)
        said = refusal(f"rtsp://viewer:Sesame@127.0.0.1:{port}/live", PATIENT)
        assert "the user name or password is wrong (401" in said
        assert "Sesame" not in said
        # The password is right, so the error is about the path.
        assert "the server does not have this stream (404" in refusal(f"rtsp://{login}@127.0.0.1:{port}/other", PATIENT)


# In a process


def test_a_stream_gives_events_with_the_age_of_their_frames(
    tiny_bundle: Path, server: MjpegServer, tmp_path: Path
) -> None:
    run = ("run", server.url("stream", "me:secret@"), "--bundle", tiny_bundle, "--max-frames", 12)
    result = fer_edge(*run, "--events", "e.jsonl", "--stats", "s.json", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    events = lines_of(tmp_path / "e.jsonl")
    assert events[0]["kind"] == "appeared"
    assert {event["source"] for event in events} == {"127.0.0.1"}
    stages = json.loads((tmp_path / "s.json").read_text())["stages"]
    assert stages["age"]["calls"] == 12
    assert 1 <= stages["age_at_event"]["calls"] < 12
    assert 0 < stages["age"]["p50_ms"] <= stages["age"]["p99_ms"] < 60_000
    assert "secret" not in result.stdout + (tmp_path / "e.jsonl").read_text() + (tmp_path / "s.json").read_text()


def test_a_dead_stream_is_exit_3_and_touches_no_output(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("older\n")
    url = f"rtsp://me:secret@127.0.0.1:{free_port()}/live"
    result = fer_edge("run", url, "--bundle", tiny_bundle, "--trace", "t.jsonl", cwd=tmp_path)
    assert_one_line(result, 3, "rtsp://me:***@127.0.0.1", "refuses the connection")
    assert (tmp_path / "t.jsonl").read_text() == "older\n"


def test_ctrl_c_while_a_stream_is_being_opened(tiny_bundle: Path, tmp_path: Path) -> None:
    with silent_server() as listener:
        process = subprocess.Popen(
            command_line("run", f"rtsp://127.0.0.1:{port_of(listener)}/a", "--bundle", tiny_bundle, "--debug"),
            cwd=tmp_path,
            env=clean_environment() | {"FER_EDGE_SOURCE_TIMEOUT_S": "60"},
            stderr=subprocess.PIPE,
            text=True,
        )
        listener.settimeout(60)
        connection, _ = listener.accept()  # it waits for an answer, for a minute
        with connection:
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 130
        assert time.monotonic() - began < 30
        assert "Traceback" not in process.communicate()[1]
