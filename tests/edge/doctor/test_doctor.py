"""``fer-edge doctor``: the finding of each check, and that none stops the others."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.commands import doctor
from fer_edge.commands.cli import main
from fer_edge.commands.doctor import CHECKS
from fer_edge.doctor import network, service
from fer_edge.doctor.cameras import check_cameras, check_sources
from fer_edge.doctor.checks import Check, Context, Finding, Verdict, ok
from fer_edge.doctor.libraries import check_inference, check_model
from fer_edge.doctor.runner import finding_from_json, finding_to_json, run_checks
from fer_edge.model.bundle import DEFAULT_BUNDLE
from support.environments.interpreters import HERE
from support.models.hostile_models import calls_itself, hostile_bundle
from support.processes.edge_command import assert_one_line, clean_environment, fer_edge
from support.results.findings import assert_found, context_of, secret_file, settings_of
from support.servers.loopback import free_port, port_of, silent_server

OK, WARN, BAD, SKIPPED = Verdict.OK, Verdict.WARN, Verdict.BAD, Verdict.SKIPPED


# Libraries


def test_the_released_model_is_ok() -> None:
    assert_found(check_model(Context()), OK, "fer-edge-s", "int8", "sha256")
    inference = check_inference(Context())
    # With tflite-runtime, XNNPACK does not execute int8 graphs.
    assert_found(inference, OK if HERE == "ai-edge-litert" else WARN, HERE, "ms per face", "nodes")


def test_a_damaged_model_is_reported(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_BUNDLE, tmp_path / "bundle")
    with (tmp_path / "bundle/int8.tflite").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"damage")
    context = context_of(tmp_path, f'[model]\nbundle = "{tmp_path}/bundle"')
    assert_found(check_model(context), BAD, "sha256")
    assert check_inference(context).verdict is BAD
    assert_found(check_model(context_of(tmp_path, '[model]\nbundle = "gone"')), BAD, "gone", "no such bundle")


def test_a_model_that_crashes_is_blamed_and_not_the_system(endless_bundle: Path, tmp_path: Path) -> None:
    folder = hostile_bundle(endless_bundle, tmp_path / "crashing", calls_itself, "float32")
    context = context_of(tmp_path, f'[model]\nbundle = "{folder}"\nvariant = "float32"')
    found = check_inference(context)
    assert_found(found, BAD, "SIGSEGV", "the model in the package works")
    assert found.fix is not None and str(folder) in found.fix and "ai-edge-litert" not in found.fix


FAKES = {
    "cv2": "import os\nos.abort()\n",
    "picamera2": "import time\ntime.sleep(600)\n",
}


def test_a_library_that_crashes_or_hangs_does_not_stop_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in FAKES.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")])))
    names = ("opencv", "model", "picamera2", "unit")
    checks = [check for check in CHECKS if check.name in names]
    found = run_checks(Context(root=tmp_path), checks, deadline_s=60)
    assert list(found) == list(names)
    assert_found(found["opencv"], BAD, "SIGABRT")
    assert_found(found["model"], OK)
    assert_found(found["unit"], SKIPPED)
    # With an OpenCV that is too new, and a picamera2 that hangs on import.
    (tmp_path / "cv2.py").write_text('__version__ = "5.0.0"\n')
    found = run_checks(Context(root=tmp_path), checks[:1], deadline_s=60)
    assert_found(found["opencv"], BAD, "no Haar cascade", "opencv-python-headless>=4.10,<5")
    (tmp_path / "cv2.py").unlink()
    found = run_checks(Context(root=tmp_path), [checks[2]], deadline_s=2)
    assert_found(found["picamera2"], BAD, "no answer within 2 s")


def test_picamera2_is_checked_if_a_source_needs_it(tmp_path: Path) -> None:
    if find_spec("picamera2") is not None:
        pytest.skip("picamera2 is installed here")
    (check,) = (check for check in CHECKS if check.name == "picamera2")
    assert_found(check.run(context_of(tmp_path)), SKIPPED)
    needed = context_of(tmp_path, '[source]\nuris = ["demo", "picamera2"]')
    assert_found(check.run(needed), BAD, "not installed", "sudo apt-get install python3-picamera2")


def test_a_check_that_fails_or_hangs_does_not_stop_others() -> None:
    def fail(context: Context) -> Finding:
        raise ZeroDivisionError("division by zero")

    def hang(context: Context) -> Finding:
        Thread.join(Thread(target=lambda: None))  # raises: it was never started
        return ok("unreachable")

    with socket.socketpair()[0] as never:
        checks = [
            Check("fails", fail),
            Check("raises", hang),
            Check("hangs", lambda context: ok(repr(never.recv(1)))),
            Check("fine", lambda context: ok("rtsp://me:secret@cam/x")),
        ]
        found = run_checks(Context(), checks, deadline_s=2)
    assert list(found) == ["fails", "raises", "hangs", "fine"]
    assert_found(found["fails"], BAD, "ZeroDivisionError", "bug")
    assert_found(found["raises"], BAD, "RuntimeError")
    assert_found(found["fine"], OK, "rtsp://me:***@cam/x")


@given(verdict=st.sampled_from(Verdict), seen=st.text(), fix=st.none() | st.text())
def test_findings_survive_serialization(verdict: Verdict, seen: str, fix: str | None) -> None:
    finding = Finding(verdict, seen, fix)
    line = finding_to_json(finding)
    assert line.count("\n") == 1 and finding_from_json(line) == finding


# Sources and cameras


def test_sources(tmp_path: Path) -> None:
    assert_found(check_sources(context_of(tmp_path)), SKIPPED)
    (tmp_path / "a.mp4").write_bytes(b"")
    good = context_of(tmp_path, f'[source]\nuris = ["demo", "0", "picamera2:1", "{tmp_path}", "{tmp_path}/a.mp4"]')
    kinds = ("built-in scene", "USB camera", "Raspberry Pi camera", "folder of images", "file")
    assert_found(check_sources(good), OK, *kinds)
    assert_found(check_sources(context_of(tmp_path, '[source]\nuris = ["gone.mp4"]')), BAD, "gone.mp4", "not found")
    with silent_server() as listener:
        there = context_of(tmp_path, f'[source]\nuris = ["rtsp://me:secret@127.0.0.1:{port_of(listener)}/x"]')
        found = check_sources(there)
        assert_found(found, OK, "network camera", "me:***@")
    gone = context_of(tmp_path, f'[source]\nuris = ["http://me:secret@127.0.0.1:{free_port()}/x"]')
    assert_found(check_sources(gone), BAD, "refused", "me:***@")


def test_cameras(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    assert_found(check_cameras(context_of(tmp_path)), SKIPPED)
    wanted = context_of(tmp_path, '[source]\nuris = ["1"]')
    assert_found(check_cameras(wanted), BAD, "/dev/video1: camera not found")
    assert_found(check_cameras(context_of(tmp_path, '[source]\nuris = ["picamera2"]')), BAD, "no /dev/media")
    for name in ("video0", "video1", "media0", "video-of-mine"):
        (tmp_path / "dev" / name).write_bytes(b"")
    assert_found(check_cameras(wanted), OK, "/dev/media0, /dev/video0, /dev/video1")
    link = "/dev/v4l/by-id/usb-Camera-video-index0"
    by_id = context_of(tmp_path, f'[source]\nuris = ["{link}"]')
    assert_found(check_cameras(by_id), BAD, f"{link}: camera not found")
    (tmp_path / "dev/v4l/by-id").mkdir(parents=True)
    (tmp_path / link[1:]).symlink_to("../../video1")
    assert_found(check_cameras(by_id), OK)


def test_cameras_are_listed_by_stable_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_edge.sources.v4l2 import devices, structs

    link = "/dev/v4l/by-id/usb-C920-video-index0"
    (tmp_path / "dev/v4l/by-id").mkdir(parents=True)
    for name in ("video0", "video1"):
        (tmp_path / "dev" / name).write_bytes(b"")
    (tmp_path / link[1:]).symlink_to("../../video0")
    powers = {"video0": 0x0420_0001, "video1": 0x04A0_0000}  # capture, metadata

    def ask(node: Path) -> structs.Capability:
        return structs.Capability(b"uvcvideo", b"HD Webcam", b"usb-1", 0, 0xFFFF_FFFF, powers[node.resolve().name])

    monkeypatch.setattr(devices, "query_capabilities", ask)
    listed = f"HD Webcam (/dev/video0), in the settings: {link}"
    assert_found(check_cameras(context_of(tmp_path)), OK, f"{listed}; other devices: /dev/video1")
    assert_found(check_cameras(context_of(tmp_path, f'[source]\nuris = ["{link}"]')), OK, listed)
    metadata = context_of(tmp_path, '[source]\nuris = ["1"]')
    assert_found(check_cameras(metadata), BAD, "/dev/video1: not a capture device", f"available: {listed}")
    assert_found(
        check_cameras(context_of(tmp_path, '[source]\nuris = ["7"]')), BAD, "camera not found", f"available: {listed}"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change the user")
def test_cameras_without_permission(tmp_path: Path) -> None:
    with TemporaryDirectory() as name:  # other users cannot enter pytest's folders
        root = Path(name)
        root.chmod(0o755)
        (root / "dev").mkdir()
        (root / "dev/video0").write_bytes(b"")
        (root / "dev/video0").chmod(0o600)
        needed = Context(settings_of(tmp_path, '[source]\nuris = ["0"]'), root=root)
        os.seteuid(65534)
        try:
            found, not_needed = check_cameras(needed), check_cameras(Context(root=root))
        finally:
            os.seteuid(0)
    assert_found(found, BAD, "/dev/video0: permission denied", "usermod -aG video")
    assert not_needed.verdict is WARN


# The network


def test_the_webhook(tmp_path: Path) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)

    assert_found(network.check_webhook(context_of(tmp_path)), SKIPPED)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/secret-path"
        found = network.check_webhook(context_of(tmp_path, f'[webhook]\nurl = "{url}"'))
        assert_found(found, OK, "accepts connections")
        encrypted = context_of(tmp_path, f'[webhook]\nurl = "https://127.0.0.1:{server.server_port}/"', timeout_s=1)
        assert network.check_webhook(encrypted).verdict is BAD
        server.shutdown()
    assert asked == [] and "secret-path" not in found.seen
    gone = context_of(tmp_path, f'[webhook]\nurl = "http://127.0.0.1:{free_port()}/"')
    assert_found(network.check_webhook(gone), BAD, "refused", "curl -v")


@pytest.mark.skipif(find_spec("waitress") is None, reason="needs the extra web")
def test_the_page(tmp_path: Path) -> None:
    assert_found(network.check_web(context_of(tmp_path)), SKIPPED)
    assert_found(network.check_web(context_of(tmp_path, "[web]\nenabled = true\nport = 0")), OK, "is free")
    open_to_all = context_of(tmp_path, '[web]\nenabled = true\nhost = "0.0.0.0"\nport = 0')
    assert_found(network.check_web(open_to_all), BAD, "without a token", "web.token_file")
    token = secret_file(tmp_path, "token", "short")
    guarded = context_of(tmp_path, f'[web]\nenabled = true\nhost = "0.0.0.0"\nport = 0\ntoken_file = "{token}"')
    assert_found(network.check_web(guarded), BAD, "at least 16 characters")
    secret_file(tmp_path, "token", "long-enough-to-be-one")
    assert_found(network.check_web(guarded), OK, "token required")
    credential = context_of(tmp_path, '[web]\nenabled = true\nport = 0\ntoken_file = "web-token"')
    assert_found(network.check_web(credential), OK, "token required")
    contrary = context_of(tmp_path, '[web]\nenabled = true\npreview = true\n[output]\nprivacy = "aggregate"')
    assert_found(network.check_web(contrary), BAD, "web.preview shows people")
    with silent_server() as listener:
        taken = context_of(tmp_path, f"[web]\nenabled = true\nport = {port_of(listener)}")
        assert_found(network.check_web(taken), WARN, "in use", "ss -ltnp")


# The service


def test_secrets(tmp_path: Path) -> None:
    assert_found(service.check_secrets(context_of(tmp_path)), SKIPPED)
    path = secret_file(tmp_path, "password", "hunter2")
    context = context_of(tmp_path, f'[mqtt]\nhost = "b"\nusername = "me"\npassword_file = "{path}"')
    assert_found(service.check_secrets(context), OK, "mqtt.password_file")
    path.chmod(0o644)
    found = service.check_secrets(context)
    assert_found(found, BAD, "other users can read", f"chmod 600 {path}")
    assert "hunter2" not in f"{found}"
    path.unlink()
    assert_found(service.check_secrets(context), BAD, "cannot read")
    credential = context_of(tmp_path, '[web]\ntoken_file = "web-token"')
    assert_found(service.check_secrets(credential), OK, "only the service")
    key = context_of(tmp_path, f'[mqtt]\ntls = true\ncert_file = "c.pem"\nkey_file = "{tmp_path}/key.pem"')
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nMIIE\n")
    (tmp_path / "key.pem").chmod(0o640)
    assert_found(service.check_secrets(key), BAD, "other users can read", "chmod 600")


def test_a_config_with_a_password(tmp_path: Path) -> None:
    context = replace(context_of(tmp_path, '[source]\nuris = ["rtsp://me:pw@cam/x"]'), config=tmp_path / "doctor.toml")
    (tmp_path / "doctor.toml").chmod(0o644)
    assert_found(service.check_secrets(context), WARN, "chmod o-r")
    for mode in (0o600, 0o640):  # private, and as created by fer-edge service install
        (tmp_path / "doctor.toml").chmod(mode)
        assert_found(service.check_secrets(context), SKIPPED)


@pytest.mark.parametrize(
    ("state", "verdict", "said"),
    [
        ("LoadState=not-found ActiveState=inactive", SKIPPED, "not installed"),
        ("LoadState=bad-setting", BAD, "systemd-analyze verify"),
        ("LoadState=loaded ActiveState=active SubState=running UnitFileState=enabled NRestarts=0", OK, "running"),
        ("LoadState=loaded ActiveState=active SubState=running NRestarts=4", WARN, "restarted 4 times"),
        ("LoadState=loaded ActiveState=inactive SubState=dead NRestarts=0", WARN, "systemctl enable --now"),
        ("LoadState=loaded ActiveState=failed Result=watchdog", BAD, "watchdog -> journalctl -u fer-edge"),
        ("", BAD, "None"),
    ],
)
def test_the_unit(state: str, verdict: Verdict, said: str) -> None:
    found = service.unit_finding(dict(word.partition("=")[::2] for word in state.split()))
    assert_found(found, verdict, said)


# The command


def test_json_without_secrets(tmp_path: Path) -> None:
    path = secret_file(tmp_path, "password", "hunter2")
    (tmp_path / "c.toml").write_text(
        f'[source]\nuris = ["rtsp://me:hunter2@127.0.0.1:{free_port()}/x"]\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {free_port()}\nusername = "me"\npassword_file = "{path}"\n'
        f'[webhook]\nurl = "http://me:hunter2@127.0.0.1:{free_port()}/?token=hunter2"\n'
    )
    result = fer_edge("doctor", "--json", "--config", "c.toml", cwd=tmp_path)
    assert_one_line(result, 1, "sources", "webhook")
    assert "hunter2" not in result.stdout + result.stderr
    answer = json.loads(result.stdout)
    assert [list(check) for check in answer["checks"]] == [["name", "verdict", "seen", "fix"]] * (len(CHECKS) + 1)
    assert sum(answer["counts"].values()) == len(CHECKS) + 1
    assert all(check["fix"] for check in answer["checks"] if check["verdict"] == "bad")


def test_the_time_limit_of_a_check(tmp_path: Path) -> None:
    result = fer_edge("doctor", "--json", "--patience", "0.001", cwd=tmp_path)
    assert_one_line(result, 1, "opencv")
    seen = {check["name"]: check["seen"] for check in json.loads(result.stdout)["checks"]}
    assert seen["opencv"] == "no answer within 0.001 s"


def test_invalid_settings_are_a_row_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[sorce]\n")
    result = fer_edge("doctor", "--config", "c.toml", cwd=tmp_path)
    assert_one_line(result, 1, "bad", "settings")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["settings", *(c.name for c in CHECKS)]
    assert "unknown key sorce" in lines[0] and lines[1].lstrip().startswith("-> ")


def test_the_settings_of_the_service_are_checked_if_no_others_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "SERVICE_CONFIG", tmp_path / "service.toml")

    def rows(*words: str) -> dict[str, str]:
        main(["doctor", "--json", "--patience", "0.001", *words])
        return {row["name"]: row["seen"] for row in json.loads(capsys.readouterr().out)["checks"]}

    assert rows()["settings"] == "defaults; to check other settings: --settings F"
    (tmp_path / "service.toml").write_text('[source]\nuris = ["gone.mp4"]\n')
    assert rows()["settings"] == str(tmp_path / "service.toml")
    (tmp_path / "c.toml").write_text("")
    assert rows("--config", str(tmp_path / "c.toml"))["settings"] == str(tmp_path / "c.toml")


def test_the_command_imports_no_heavy_libraries(tmp_path: Path) -> None:
    code = (
        "import sys; from fer_edge.commands.doctor import *;"
        "run_checks(Context(RuntimeSettings()), [check for check in CHECKS if not check.isolated]);"
        "print(sorted({'cv2', 'numpy', 'ai_edge_litert', 'paho'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
