"""``fer-edge doctor``: what each check makes of a machine, and that none stops the others."""

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

from fer_edge.commands.doctor import CHECKS
from fer_edge.doctor import machine, network, service
from fer_edge.doctor.cameras import look_at_cameras, look_at_sources
from fer_edge.doctor.checks import Case, Check, Finding, Verdict, fine
from fer_edge.doctor.examine import examine, finding_as_line, finding_from
from fer_edge.doctor.libraries import look_at_inference, look_at_model
from fer_edge.model.bundle import DEFAULT_BUNDLE
from support.edge_command import assert_one_line, clean_environment, fer_edge
from support.findings import assert_found, case_of, secret_file, settings_of
from support.interpreters import HERE
from support.loopback import free_port, port_of, silent_server
from support.sysfs import FakeSysfs

OK, WARN, BAD, SKIPPED = Verdict.OK, Verdict.WARN, Verdict.BAD, Verdict.SKIPPED


# The machine


def test_this_python_will_do() -> None:
    assert_found(machine.look_at_python(Case()), OK, "64 bit", sys.version.split()[0])


@pytest.mark.parametrize(
    ("line", "verdict", "said"),
    [
        ("Features\t: fp asimd evtstrm aes asimdhp asimddp", OK, "dot product: int8 at its best"),
        ("Features\t: fp asimd evtstrm crc32", OK, "no dot product"),
        ("flags\t\t: fpu sse2 avx2 avx512_vnni", OK, "VNNI: int8 at its best"),
        ("flags\t\t: fpu sse2 avx2", OK, "no VNNI"),
        ("flags\t\t: fpu sse2", WARN, "slow"),
        ("nothing", SKIPPED, "not tell"),
    ],
)
def test_the_processors_instructions(tmp_path: Path, line: str, verdict: Verdict, said: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n{line}\n")
    assert_found(machine.look_at_cpu(case_of(tmp_path)), verdict, said)


@pytest.mark.parametrize(("free", "verdict"), [(60, BAD), (150, WARN), (900, OK)])
def test_memory(tmp_path: Path, free: int, verdict: Verdict) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: {1024 * 1000} kB\nMemAvailable:  {1024 * free} kB\nHuge: x\n")
    assert_found(machine.look_at_memory(case_of(tmp_path)), verdict, f"{free} MiB of 1000 MiB")


@pytest.mark.parametrize(
    ("total", "free", "source", "verdict", "words"),
    [
        (None, None, 'uris = ["picamera2"]', SKIPPED, ["none"]),
        (65536, 1000, 'uris = ["0"]', OK, ["0 MiB of 64 MiB"]),
        (262144, 82800, 'uris = ["picamera2"]', OK, ["80 MiB of 256 MiB", "at 640x480 may need 24 MiB"]),
        (262144, 20000, 'uris = ["picamera2"]', WARN, ["19 MiB of 256 MiB", "Cannot allocate memory"]),
        (16384, 16000, 'uris = ["picamera2:0"]', BAD, ["15 MiB of 16 MiB", "24 MiB"]),
        (65536, 65000, 'uris = ["picamera2", "picamera2:1"]\nwidth = 1280\nheight = 960', BAD, ["2 cameras", "70 MiB"]),
    ],
)
def test_contiguous_memory_for_the_camera(
    tmp_path: Path, total: int | None, free: int | None, source: str, verdict: Verdict, words: list[str]
) -> None:
    """82,800 kB is what a Pi Zero 2 W reported with its camera open."""
    (tmp_path / "proc").mkdir()
    cma = "" if total is None else f"CmaTotal:  {total} kB\nCmaFree:    {free} kB\n"
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 426068 kB\n{cma}")
    case = case_of(tmp_path, f"[source]\n{source}\n")
    assert_found(machine.look_at_camera_memory(case), verdict, *words)


@given(content=st.binary(max_size=200))
def test_damaged_files_of_the_kernel_end_no_check(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.mktemp("proc")
    (root / "proc").mkdir()
    for name in ("cpuinfo", "meminfo"):
        (root / "proc" / name).write_bytes(content)
    assert machine.look_at_cpu(Case(root=root)).verdict in Verdict
    assert machine.look_at_memory(Case(root=root)).verdict in Verdict
    assert machine.look_at_camera_memory(Case(root=root)).verdict in Verdict


def test_disk(tmp_path: Path) -> None:
    assert_found(machine.look_at_disk(case_of(tmp_path)), SKIPPED)
    assert_found(machine.look_at_disk(case_of(tmp_path, '[output]\nevents = "-"')), SKIPPED)
    there = case_of(tmp_path, f'[output]\nevents = "{tmp_path}/e.jsonl"')
    assert machine.look_at_disk(there).verdict in (OK, WARN)
    missing = case_of(tmp_path, f'[output]\nevents = "{tmp_path}/none/e.jsonl"')
    assert_found(machine.look_at_disk(missing), BAD, "no such folder", f"mkdir -p {tmp_path}/none")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user for a moment, which root alone can")
def test_a_folder_of_the_services_user(tmp_path: Path) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "state"
        (folder / "sub").mkdir(parents=True)
        os.chown(folder, 1, 1)  # the user daemon, on every Debian
        folder.chmod(0o700)
        Path(name).chmod(0o755)
        cases = [case_of(tmp_path, f'[output]\nevents = "{place}/e.jsonl"') for place in (folder, folder / "sub")]
        os.seteuid(65534)
        try:
            found = [machine.look_at_disk(case) for case in cases]
        finally:
            os.seteuid(0)
    assert_found(found[0], BAD, "may not be written to", "sudo -u daemon fer-edge doctor")
    assert_found(found[1], BAD, "Permission denied", "sudo -u daemon fer-edge doctor")


@pytest.mark.parametrize(("celsius", "verdict"), [(50, OK), (72, WARN), (85, BAD)])
def test_temperature(tmp_path: Path, celsius: float, verdict: Verdict) -> None:
    FakeSysfs(tmp_path).set_temperature(celsius)
    case = case_of(tmp_path, f'[chip]\nsysfs = "{tmp_path}"')
    assert_found(machine.look_at_temperature(case), verdict, f"{celsius:.1f} °C")


@pytest.mark.parametrize(
    ("bits", "verdict", "parts"),
    [(0, OK, []), (0x10000, WARN, ["under-voltage", "power supply"]), (0x40004, BAD, ["now: throttled", "fan"])],
)
def test_throttling(tmp_path: Path, bits: int, verdict: Verdict, parts: list[str]) -> None:
    case = case_of(tmp_path, f'[chip]\nsysfs = "{tmp_path}"')
    assert_found(machine.look_at_throttling(case), SKIPPED)
    FakeSysfs(tmp_path).set_throttled(bits)
    assert_found(machine.look_at_throttling(case), verdict, *parts)


@pytest.mark.parametrize("name", ["vcio_gencmd", "vcio"])
def test_a_firmware_that_does_not_answer_is_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / name).write_bytes(b"")
    assert_found(machine.look_at_throttling(Case(root=tmp_path)), WARN, name, "usermod -aG video")


def test_a_pi_without_the_firmwares_devices_is_reported(tmp_path: Path) -> None:
    assert_found(machine.look_at_throttling(Case(root=tmp_path)), SKIPPED)
    model = tmp_path / "proc/device-tree/model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    assert_found(machine.look_at_throttling(Case(root=tmp_path)), WARN, "vcio_gencmd", "full-upgrade")


# Libraries


def test_the_released_model_is_well() -> None:
    assert_found(look_at_model(Case()), OK, "fer-edge-s", "int8", "sha256")
    inference = look_at_inference(Case())
    # On tflite-runtime XNNPACK takes nothing of an int8 graph.
    assert_found(inference, OK if HERE == "ai-edge-litert" else WARN, HERE, "ms a face", "nodes")


def test_a_damaged_model_is_told(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_BUNDLE, tmp_path / "bundle")
    with (tmp_path / "bundle/int8.tflite").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"damage")
    case = case_of(tmp_path, f'[model]\nbundle = "{tmp_path}/bundle"')
    assert_found(look_at_model(case), BAD, "sha256")
    assert look_at_inference(case).verdict is BAD
    assert_found(look_at_model(case_of(tmp_path, '[model]\nbundle = "gone"')), BAD, "gone", "no such bundle")


STAND_INS = {
    "cv2": "import os\nos.abort()\n",
    "picamera2": "import time\ntime.sleep(600)\n",
}


def test_a_library_that_crashes_or_hangs_stops_no_other_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in STAND_INS.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")])))
    names = ("opencv", "model", "picamera2", "unit")
    checks = [check for check in CHECKS if check.name in names]
    (tmp_path / "picamera2.py").write_text(STAND_INS["picamera2"])
    found = {check.name: finding for check, finding in examine(Case(root=tmp_path), checks, deadline_s=60)}
    assert list(found) == list(names)
    assert_found(found["opencv"], BAD, "SIGABRT")
    assert_found(found["model"], OK)
    assert_found(found["unit"], SKIPPED)
    # With an OpenCV that only says that it is too new, and a camera's package that never ends.
    (tmp_path / "cv2.py").write_text('__version__ = "5.0.0"\n')
    found = {check.name: finding for check, finding in examine(Case(root=tmp_path), checks[:1], deadline_s=60)}
    assert_found(found["opencv"], BAD, "no Haar cascade", "opencv-python-headless>=4.10,<5")
    (tmp_path / "cv2.py").unlink()
    found = {check.name: finding for check, finding in examine(Case(root=tmp_path), [checks[2]], deadline_s=2)}
    assert_found(found["picamera2"], BAD, "no answer within 2 s")


def test_picamera2_matters_where_a_source_needs_it(tmp_path: Path) -> None:
    if find_spec("picamera2") is not None:
        pytest.skip("picamera2 is installed here")
    (check,) = (check for check in CHECKS if check.name == "picamera2")
    assert_found(check.look(case_of(tmp_path)), SKIPPED)
    needed = case_of(tmp_path, '[source]\nuris = ["demo", "picamera2"]')
    assert_found(check.look(needed), BAD, "not installed", "sudo apt-get install python3-picamera2")


def test_a_check_that_fails_or_hangs_stops_no_other() -> None:
    def fail(case: Case) -> Finding:
        raise ZeroDivisionError("division by zero")

    def hang(case: Case) -> Finding:
        Thread.join(Thread(target=lambda: None))  # raises: it was never started
        return fine("unreachable")

    with socket.socketpair()[0] as never:
        checks = [
            Check("fails", fail),
            Check("raises", hang),
            Check("hangs", lambda case: fine(repr(never.recv(1)))),
            Check("fine", lambda case: fine("rtsp://me:secret@cam/x")),
        ]
        found = examine(Case(), checks, deadline_s=2)
    assert [check.name for check, _ in found] == ["fails", "raises", "hangs", "fine"]
    assert_found(found[0][1], BAD, "ZeroDivisionError", "defect")
    assert_found(found[1][1], BAD, "RuntimeError")
    assert_found(found[3][1], OK, "rtsp://me:***@cam/x")


@given(verdict=st.sampled_from(Verdict), seen=st.text(), mend=st.none() | st.text())
def test_findings_pass_from_process_to_process(verdict: Verdict, seen: str, mend: str | None) -> None:
    finding = Finding(verdict, seen, mend)
    line = finding_as_line(finding)
    assert line.count("\n") == 1 and finding_from(line) == finding


# Sources and cameras


def test_sources(tmp_path: Path) -> None:
    assert_found(look_at_sources(case_of(tmp_path)), SKIPPED)
    (tmp_path / "a.mp4").write_bytes(b"")
    good = case_of(tmp_path, f'[source]\nuris = ["demo", "0", "picamera2:1", "{tmp_path}", "{tmp_path}/a.mp4"]')
    kinds = ("built-in scene", "USB camera", "Raspberry Pi camera", "folder of images", "file")
    assert_found(look_at_sources(good), OK, *kinds)
    assert_found(look_at_sources(case_of(tmp_path, '[source]\nuris = ["gone.mp4"]')), BAD, "gone.mp4", "no such file")
    with silent_server() as listener:
        there = case_of(tmp_path, f'[source]\nuris = ["rtsp://me:secret@127.0.0.1:{port_of(listener)}/x"]')
        found = look_at_sources(there)
        assert_found(found, OK, "network camera", "me:***@")
    gone = case_of(tmp_path, f'[source]\nuris = ["http://me:secret@127.0.0.1:{free_port()}/x"]')
    assert_found(look_at_sources(gone), BAD, "refused", "me:***@")


def test_cameras(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    assert_found(look_at_cameras(case_of(tmp_path)), SKIPPED)
    wanted = case_of(tmp_path, '[source]\nuris = ["1"]')
    assert_found(look_at_cameras(wanted), BAD, "/dev/video1: no such camera")
    assert_found(look_at_cameras(case_of(tmp_path, '[source]\nuris = ["picamera2"]')), BAD, "no /dev/media")
    for name in ("video0", "video1", "media0", "video-of-mine"):
        (tmp_path / "dev" / name).write_bytes(b"")
    assert_found(look_at_cameras(wanted), OK, "/dev/media0, /dev/video0, /dev/video1")
    link = "/dev/v4l/by-id/usb-Camera-video-index0"
    by_id = case_of(tmp_path, f'[source]\nuris = ["{link}"]')
    assert_found(look_at_cameras(by_id), BAD, f"{link}: no such camera")
    (tmp_path / "dev/v4l/by-id").mkdir(parents=True)
    (tmp_path / link[1:]).symlink_to("../../video1")
    assert_found(look_at_cameras(by_id), OK)


def test_cameras_are_listed_by_their_lasting_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_edge.sources.v4l2 import devices, structs

    link = "/dev/v4l/by-id/usb-C920-video-index0"
    (tmp_path / "dev/v4l/by-id").mkdir(parents=True)
    for name in ("video0", "video1"):
        (tmp_path / "dev" / name).write_bytes(b"")
    (tmp_path / link[1:]).symlink_to("../../video0")
    powers = {"video0": 0x0420_0001, "video1": 0x04A0_0000}  # pictures, metadata; files cannot say so themselves

    def ask(node: Path) -> structs.Capability:
        return structs.Capability(b"uvcvideo", b"HD Webcam", b"usb-1", 0, 0xFFFF_FFFF, powers[node.resolve().name])

    monkeypatch.setattr(devices, "query_capabilities", ask)
    listed = f"HD Webcam (/dev/video0), in the settings: {link}"
    assert_found(look_at_cameras(case_of(tmp_path)), OK, f"{listed}; other devices: /dev/video1")
    assert_found(look_at_cameras(case_of(tmp_path, f'[source]\nuris = ["{link}"]')), OK, listed)
    metadata = case_of(tmp_path, '[source]\nuris = ["1"]')
    assert_found(look_at_cameras(metadata), BAD, "/dev/video1: gives no pictures", f"there is: {listed}")
    assert_found(look_at_cameras(case_of(tmp_path, '[source]\nuris = ["7"]')), BAD, "no such camera", f"is: {listed}")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user for a moment, which root alone can")
def test_cameras_that_may_not_be_opened(tmp_path: Path) -> None:
    with TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        root = Path(name)
        root.chmod(0o755)
        (root / "dev").mkdir()
        (root / "dev/video0").write_bytes(b"")
        (root / "dev/video0").chmod(0o600)
        needed = Case(settings_of(tmp_path, '[source]\nuris = ["0"]'), root=root)
        os.seteuid(65534)
        try:
            found, not_needed = look_at_cameras(needed), look_at_cameras(Case(root=root))
        finally:
            os.seteuid(0)
    assert_found(found, BAD, "/dev/video0: may not be opened", "usermod -aG video")
    assert not_needed.verdict is WARN


# The network


def test_the_webhook(tmp_path: Path) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)

    assert_found(network.look_at_webhook(case_of(tmp_path)), SKIPPED)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/secret-path"
        found = network.look_at_webhook(case_of(tmp_path, f'[webhook]\nurl = "{url}"'))
        assert_found(found, OK, "takes connections")
        encrypted = case_of(tmp_path, f'[webhook]\nurl = "https://127.0.0.1:{server.server_port}/"', patience_s=1)
        assert look_at_verdict(encrypted) is BAD
        server.shutdown()
    assert asked == [] and "secret-path" not in found.seen
    gone = case_of(tmp_path, f'[webhook]\nurl = "http://127.0.0.1:{free_port()}/"')
    assert_found(network.look_at_webhook(gone), BAD, "refused", "curl -v")


def look_at_verdict(case: Case) -> Verdict:
    return network.look_at_webhook(case).verdict


@pytest.mark.skipif(find_spec("waitress") is None, reason="needs the extra web")
def test_the_page(tmp_path: Path) -> None:
    assert_found(network.look_at_web(case_of(tmp_path)), SKIPPED)
    assert_found(network.look_at_web(case_of(tmp_path, "[web]\nenabled = true\nport = 0")), OK, "is free")
    open_to_all = case_of(tmp_path, '[web]\nenabled = true\nhost = "0.0.0.0"\nport = 0')
    assert_found(network.look_at_web(open_to_all), BAD, "no token", "web.token_file")
    token = secret_file(tmp_path, "token", "short")
    guarded = case_of(tmp_path, f'[web]\nenabled = true\nhost = "0.0.0.0"\nport = 0\ntoken_file = "{token}"')
    assert_found(network.look_at_web(guarded), BAD, "at least 16 characters")
    secret_file(tmp_path, "token", "long-enough-to-be-one")
    assert_found(network.look_at_web(guarded), OK, "a token is asked for")
    credential = case_of(tmp_path, '[web]\nenabled = true\nport = 0\ntoken_file = "web-token"')
    assert_found(network.look_at_web(credential), OK, "a token is asked for")
    contrary = case_of(tmp_path, '[web]\nenabled = true\npreview = true\n[output]\nprivacy = "aggregate"')
    assert_found(network.look_at_web(contrary), BAD, "web.preview shows people")
    with silent_server() as listener:
        taken = case_of(tmp_path, f"[web]\nenabled = true\nport = {port_of(listener)}")
        assert_found(network.look_at_web(taken), WARN, "in use", "ss -ltnp")


# The service


def test_secrets(tmp_path: Path) -> None:
    assert_found(service.look_at_secrets(case_of(tmp_path)), SKIPPED)
    path = secret_file(tmp_path, "password", "hunter2")
    case = case_of(tmp_path, f'[mqtt]\nhost = "b"\nusername = "me"\npassword_file = "{path}"')
    assert_found(service.look_at_secrets(case), OK, "mqtt.password_file")
    path.chmod(0o644)
    found = service.look_at_secrets(case)
    assert_found(found, BAD, "others may read", f"chmod 600 {path}")
    assert "hunter2" not in f"{found}"
    path.unlink()
    assert_found(service.look_at_secrets(case), BAD, "cannot read")
    credential = case_of(tmp_path, '[web]\ntoken_file = "web-token"')
    assert_found(service.look_at_secrets(credential), OK, "the service alone")
    key = case_of(tmp_path, f'[mqtt]\ntls = true\ncert_file = "c.pem"\nkey_file = "{tmp_path}/key.pem"')
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nMIIE\n")
    (tmp_path / "key.pem").chmod(0o640)
    assert_found(service.look_at_secrets(key), BAD, "others may read", "chmod 600")


def test_a_config_that_holds_a_password(tmp_path: Path) -> None:
    case = replace(case_of(tmp_path, '[source]\nuris = ["rtsp://me:pw@cam/x"]'), config=tmp_path / "doctor.toml")
    (tmp_path / "doctor.toml").chmod(0o644)
    assert_found(service.look_at_secrets(case), WARN, "chmod o-r")
    for mode in (0o600, 0o640):  # as its owner keeps it, and as fer-edge service install leaves it
        (tmp_path / "doctor.toml").chmod(mode)
        assert_found(service.look_at_secrets(case), SKIPPED)


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
    found = service.judge_unit(dict(word.partition("=")[::2] for word in state.split()))
    assert_found(found, verdict, said)


# The command


def test_json_and_no_secret_anywhere(tmp_path: Path) -> None:
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
    assert [list(check) for check in answer["checks"]] == [["name", "verdict", "seen", "mend"]] * (len(CHECKS) + 1)
    assert sum(answer["counts"].values()) == len(CHECKS) + 1
    assert all(check["mend"] for check in answer["checks"] if check["verdict"] == "bad")


def test_how_long_a_check_may_take_is_given(tmp_path: Path) -> None:
    result = fer_edge("doctor", "--json", "--patience", "0.001", cwd=tmp_path)
    assert_one_line(result, 1, "opencv")
    seen = {check["name"]: check["seen"] for check in json.loads(result.stdout)["checks"]}
    assert seen["opencv"] == "no answer within 0.001 s"


def test_settings_that_cannot_be_read_are_a_row_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[sorce]\n")
    result = fer_edge("doctor", "--config", "c.toml", cwd=tmp_path)
    assert_one_line(result, 1, "bad", "settings")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["settings", *(c.name for c in CHECKS)]
    assert "unknown key sorce" in lines[0] and lines[1].lstrip().startswith("-> ")


def test_nothing_heavy_is_loaded_by_the_command_itself(tmp_path: Path) -> None:
    code = (
        "import sys; from fer_edge.commands.doctor import *;"
        "examine(Case(RuntimeSettings()), [check for check in CHECKS if not check.apart]);"
        "print(sorted({'cv2', 'numpy', 'ai_edge_litert', 'paho'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
