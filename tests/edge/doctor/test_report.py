"""``fer-edge doctor --report``: a description of a device without personal data."""

from __future__ import annotations

import json
import os
import socket
from importlib.metadata import version
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.commands.doctor import CHECKS
from fer_edge.doctor.anonymizer import Anonymizer, changed_settings
from fer_edge.doctor.checks import Context, Finding, Verdict
from fer_edge.doctor.measure import measure
from fer_edge.doctor.report import make_report
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.system.device_name import device_name
from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import assert_one_line, fer_edge
from support.results.findings import context_of, secret_file, settings_of
from support.servers.loopback import free_port

SCHEMA = json.loads((CHECKOUT / "edge/fer_edge/schema/report.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
OPENCV = version("opencv-python-headless")
"""Four numbers, like an address; the report keeps the versions of installed packages."""

PI = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/device-tree/serial-number": "10000000abcdef01\0",
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\n\nRevision\t: c03114\nSerial\t\t: 10000000abcdef01\n",
    "proc/meminfo": "MemTotal:  3884000 kB\nMemAvailable:  3000000 kB\nCmaTotal:  524288 kB\nCmaFree:  262144 kB\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nNAME="Debian GNU/Linux"\n',
    "etc/rpi-issue": "Raspberry Pi reference 2026-06-18\nGenerated using pi-gen\n",
    "etc/NetworkManager/system-connections/preconfigured.nmconnection": "[wifi]\nssid=Lovelace Attic\npsk=hunter22\n",
}


def pi_root(folder: Path) -> Path:
    """Create the files that describe a Raspberry Pi in ``folder``."""
    for name, text in PI.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def report_on(context: Context, *findings: tuple[str, Finding], deadline_s: float = 60.0) -> dict[str, Any]:
    report = make_report(context, dict(findings), deadline_s)
    VALIDATOR.validate(report)
    return report


def test_values_of_settings_are_not_in_the_report(tmp_path: Path) -> None:
    folder = tmp_path / "Attic of Ada"
    folder.mkdir()
    password = secret_file(folder, "broker-of-ada", "hunter22")
    token = secret_file(folder, "hook", "tok-4711-secret")
    port = free_port()
    (folder / "house.toml").write_text(
        f'[source]\nuris = ["rtsp://ada:hunter22@cam.attic.lan:{port}/live?token=tok-4711-secret",'
        f' "{folder}/home film.mp4"]\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\nusername = "lovelace"\npassword_file = "{password}"\n'
        'device = "kitchen of ada"\ntopic = "attic/faces"\n'
        f'[webhook]\nurl = "http://lovelace:hunter22@hooks.attic.lan:{port}/tok-4711-secret"\ntoken_file = "{token}"\n'
        f'[web]\nenabled = true\nhost = "192.168.77.12"\nport = {port}\nallowed_hosts = ["attic.example.org"]\n'
        f'[output]\nevents = "{folder}/none/events.jsonl"\n'
        '[model]\nbundle = "/home/lovelace/my models/attic-model"\n'
    )
    result = fer_edge("doctor", "--config", folder / "house.toml", "--report", "report.json", cwd=tmp_path)
    assert result.returncode == 1 and "report.json was written" in result.stderr
    text = (tmp_path / "report.json").read_text()
    planted = ["hunter22", "tok-4711", "ada", "Ada", "lovelace", "attic", "Attic", "192.168.77.12", "film", "house"]
    found = [word for word in (*planted, str(tmp_path)) if word in text]
    assert not found, [line for line in text.splitlines() if any(word in line for word in found)]
    report = json.loads(text)
    VALIDATOR.validate(report)
    assert [check["name"] for check in report["checks"]] == ["settings", *(check.name for check in CHECKS)]
    seen = {check["name"]: check["seen"] for check in report["checks"]}
    assert seen["settings"] == "<config>"
    assert seen["broker"] == f"<mqtt.host>:{port}: Connection refused"
    assert {"mqtt.password_file", "source.uris", "web.allowed_hosts"} <= set(report["changed_settings"])
    assert "<model.bundle>" in seen["model"] and "<source.uris>" in seen["sources"]


def test_a_pi_is_described_without_its_serial_number(tmp_path: Path) -> None:
    serial, machine = "10000000abcdef01", "0123456789abcdef0123456789abcdef"
    unit = Finding(
        Verdict.WARN, "active (running), enabled: 1 of 2 sources watched, lost: attic-cam, restarted 4 times"
    )
    report = report_on(
        context_of(pi_root(tmp_path)),
        ("unit", unit),
        ("cpu", Finding(Verdict.OK, f"serial {serial} of {machine} and {OPENCV}", f"grep {serial}")),
        ("cameras", Finding(Verdict.OK, "/dev/v4l/by-id/usb-046d_C270_ABC12345-video-index0, /dev/video0")),
    )
    text = json.dumps(report)
    assert not [word for word in (serial, machine, "attic", "Lovelace", "hunter22", "ABC12345") if word in text]
    system = report["system"]
    assert (system["model"], system["revision"]) == ("Raspberry Pi 4 Model B Rev 1.4", "c03114")
    assert (system["os"], system["image"]) == ("Debian GNU/Linux 13 (trixie)", "2026-06-18")
    assert (system["memory_mib"], system["cma_mib"], system["cma_free_mib"]) == (3792, 512, 256)
    assert report["checks"][0]["seen"] == "active (running), enabled: 1 of 2 sources watched, restarted 4 times"
    assert report["checks"][1]["seen"] == f"serial <serial> of <serial> and {OPENCV}"
    assert report["checks"][2]["seen"] == "/dev/v4l/by-id/<camera>, /dev/video0"
    assert report["model"]["runs"] == 50 and 0 < report["model"]["median_ms"] <= report["model"]["p95_ms"]
    assert report["cameras"] == [] and report["counts"] == {"ok": 2, "warn": 1, "bad": 0, "skipped": 0}


def test_names_of_custom_models_are_removed(tmp_path: Path) -> None:
    settings = f'[model]\nbundle = "{tmp_path}/none"\n'
    for name, seen in (("attic model", "<model.bundle>"), ("fer-edge-xs", "fer-edge-xs")):
        finding = Finding(Verdict.OK, f"{name} 1.2.0, int8, sha256 0123456789ab… as it should be")
        report = report_on(context_of(tmp_path, settings), ("model", finding))
        assert report["checks"][0]["seen"] == f"{seen} 1.2.0, int8, sha256 0123456789ab… as it should be"
        assert "attic" not in json.dumps(report)


def test_values_of_invalid_settings_are_removed(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[mqtt]\nport = "hunter22"\n')
    result = fer_edge("doctor", "--config", "c.toml", "--report", "-", cwd=tmp_path)
    assert_one_line(result, 1, "settings")
    report = json.loads(result.stdout)
    VALIDATOR.validate(report)
    assert report["checks"][0]["verdict"] == "bad" and "hunter22" not in result.stdout


def test_a_missing_camera_is_a_problem_in_the_report(tmp_path: Path) -> None:
    report = report_on(
        context_of(tmp_path, '[source]\nuris = ["97", "demo", "97", "/dev/v4l/by-id/usb-C270_A1B2-index0"]')
    )
    assert [camera["source"] for camera in report["cameras"]] == ["/dev/video97", "/dev/v4l/by-id/<camera>"]
    assert all(camera["source"] in camera["problem"] for camera in report["cameras"])
    assert "A1B2" not in json.dumps(report)


FAKES = {
    "hangs": ("import time\ntime.sleep(600)\n", "no answer within"),
    "crashes": ("import os\nos.abort()\n", "exited with code -6"),
    "fails": ("raise KeyError('its own kind')\n", "its own kind"),
    "too old": ("class Picamera2:\n    def wait(self, job): ...\n", "too old"),
}


@pytest.mark.parametrize("fault", FAKES)
def test_a_library_that_hangs_or_crashes_is_a_problem(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = FAKES[fault]
    (tmp_path / "picamera2.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")])))
    result = measure("cameras", RuntimeSettings(), 3.0 if fault == "hangs" else 60.0)
    assert list(result) == ["problem"] and said in result["problem"]


def test_outputs_and_exit_codes(tmp_path: Path) -> None:
    assert_one_line(fer_edge("doctor", "--report", "none/report.json", cwd=tmp_path), 6, "none/report.json")
    assert_one_line(fer_edge("doctor", "--report", "r.json", "--json", cwd=tmp_path), 2, "--json")
    good = fer_edge("doctor", "--report", "r.json", cwd=tmp_path)
    assert good.returncode == 0 and good.stdout.startswith("settings ")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    first, second = (json.loads((tmp_path / "r.json").read_text()) for _ in range(2))
    assert list(first) == list(second) == SCHEMA["required"]


PROSE = st.text("abc xyz,.", max_size=8)


@given(PROSE, st.ip_addresses(v=4) | st.ip_addresses(v=6), PROSE)
def test_addresses_are_removed(before: str, address: IPv4Address | IPv6Address, after: str) -> None:
    anonymous = Anonymizer(RuntimeSettings())
    text = anonymous(f"{before} {address} {after}")
    assert (str(address) in text.split()) == (address.is_loopback or address.is_unspecified)
    assert (
        str(address) not in anonymous(f"{before} ({address}), {after}") or address.is_loopback or address.is_unspecified
    )


@given(st.lists(st.integers(0, 255), min_size=6, max_size=6), st.sampled_from(":-"), st.sampled_from(["02x", "02X"]))
def test_hardware_addresses_are_removed(numbers: list[int], separator: str, form: str) -> None:
    address = separator.join(f"{number:{form}}" for number in numbers)
    assert Anonymizer(RuntimeSettings())(f"wlan0 is {address}.") == "wlan0 is <hardware address>."


def test_the_host_name_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "attic-pi.ada.example and attic-pi: refused; attic-pic stays"
    monkeypatch.setattr(socket, "gethostname", lambda: "attic-pi.ada.example")
    assert Anonymizer(RuntimeSettings())(text) == "<host> and <host>: refused; attic-pic stays"
    monkeypatch.setattr(socket, "gethostname", lambda: "raspberrypi")
    assert Anonymizer(RuntimeSettings())("on raspberrypi") == "on raspberrypi"


def test_the_default_name_of_the_device_is_removed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "machine-id").write_text("0123456789abcdef\n")
    name = device_name(tmp_path)
    text = f"is another client named fer-edge-{name}? {name} is offline"
    assert Anonymizer(RuntimeSettings(), tmp_path)(text) == "is another client named <device>? <device> is offline"


def test_the_names_and_streams_of_cameras_are_removed(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        '[source]\nuris = ["Nursery=0", "hall=rtsp://u:p@cam.example/x"]\n[cameras.Garden]\nuri = "rtsp://cam2.example/y"',
    )
    text = Anonymizer(settings)("Nursery and hall work; Garden: cam2.example is off, cam.example too")
    assert text == ("<source.uris> and <source.uris> work; <cameras.1>: <cameras.1.uri> is off, <source.uris> too")
    assert {"cameras.1", "cameras.1.uri"} <= set(changed_settings(settings))


def test_other_text_is_kept(tmp_path: Path) -> None:
    anonymous = Anonymizer(settings_of(tmp_path, '[source]\nuris = ["picamera2:/base/soc/i2c0mux/i2c@1/imx219@10"]'))
    for text in (
        'imx219 as "picamera2:/base/soc/i2c0mux/i2c@1/imx219@10"',
        "/base/axi/pcie@1000120000/rp1/usb@300000-1.2:1.0-32e4:9422",
        "at 12:34:56, 48.3 °C, 1.26.4, 127.0.0.1:8080, 0.0.0.0:8080, ::1",
        "systemctl restart fer-edge; sudo -u fer-edge fer-edge doctor",
        "/var/lib/fer-edge: 300 MiB free, /etc/fer-edge/config.toml",
    ):
        assert anonymous(text) == text
    assert anonymous("see rtsp://me:pw@10.1.2.3/x, at /home/ada/x.mp4: gone") == "see <url>, at <home>: gone"
    assert anonymous("door.local, camera.fritz.box") == "<host>, <host>"
