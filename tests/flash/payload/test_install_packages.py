"""``install.sh`` and the system's packages: installed by the real apt and dpkg, from the payload or a source."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fer_flash.payload.assemble import completed
from fer_flash.payload.folder import write_payload
from fer_flash.payload.packages.collect import PICAMERA2, SystemPackages
from fer_flash.payload.packages.deb import read_deb
from fer_flash.payload.payload_file import PayloadFile
from support.devices.device import Device, device, this_release, why_no_device
from support.processes.programs import assert_ends
from support.processes.waiting import wait_for
from support.servers.apt_repository import Repository, make_deb, needs_apt, served

pytestmark = [needs_apt, pytest.mark.skipif(bool(why_no_device()), reason=str(why_no_device()))]

SETTINGS = '[source]\nuris = ["picamera2"]\n[model]\nbundle = "/opt/fer-edge/current/bundle"\n'
SITE = "usr/lib/python3/dist-packages"
LOADS = """\
class Picamera2:
    @staticmethod
    def global_camera_info():
        return []

    def wait(self, job, timeout=None): ...
"""
SLOW = "#!/bin/sh\nset -e\n[ ! -e /run/slow-postinst ] || { touch /run/in-postinst; sleep 60; }\n"
HOME = "/opt/fer-edge"


class Pi:
    """A device, and payloads for it with different packages."""

    def __init__(self, made: Device, folder: Path, wheels: Sequence[PayloadFile], model: Sequence[PayloadFile]) -> None:
        self.device, self.folder, self.wheels, self.model = made, folder, wheels, model
        self.payloads = 0

    def payload(self, *debs: Path, network: bool = False) -> Path:
        """Write a payload that requires picamera2, with these package files."""
        self.payloads += 1
        found = tuple(read_deb(deb) for deb in debs)
        packages = SystemPackages((PICAMERA2,), () if network else found)
        chosen = [PayloadFile("config.toml", SETTINGS.encode()), *self.model]
        payload = completed(this_release(), platform.machine(), self.wheels, chosen, packages)
        write_payload(payload, folder := self.folder / f"payload-{self.payloads}")
        return folder

    def install(self, payload: Path, *words: str) -> subprocess.CompletedProcess[str]:
        return self.device.run("env", *words, "sh", payload / "install.sh", "--first-boot")

    def packages(self, payload: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Run install.sh up to the installation of the program, which takes most of the time."""
        (self.folder / "functions.sh").write_text((payload / "install.sh").read_text().replace('\nmain "$@"\n', "\n"))
        steps = 'exec 8>&2; mkdir -p "$home"; check_payload; . "$payload/install_packages.sh"; install_packages'
        script = f". {self.folder / 'functions.sh'}; payload={payload}; {steps}"
        return self.device.run("env", *words, "sh", "-c", script)

    def version(self, name: str) -> str:
        """Return the version of an installed package; "" if it is missing."""
        asked = self.device.run("dpkg-query", "--show", "--showformat", "${db:Status-Abbrev}${Version}", name)
        return asked.stdout.removeprefix("ii ") if asked.stdout.startswith("ii ") else ""


@pytest.fixture
def pi(tmp_path: Path, small_wheels: list[PayloadFile], default_model: list[PayloadFile]) -> Iterator[Pi]:
    with device(tmp_path) as made:
        yield Pi(made, tmp_path, small_wheels, default_model)


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Minimal packages of picamera2 and its dependencies."""
    folder = tmp_path_factory.mktemp("debs")
    return {
        "camera": make_deb(
            folder, PICAMERA2, "0.3.31-1", depends="python3-libcamera (>= 1:0.5)",
            files={f"{SITE}/picamera2.py": LOADS},
        ),
        "libcamera": make_deb(
            folder, "python3-libcamera", "1:0.5.2+rpt~1-1", files={f"{SITE}/libcamera.py": ""},
            scripts={"postinst": SLOW},
        ),
    }  # fmt: skip


def kill_session(leader: int) -> None:
    """Kill all processes of the session ``leader`` at once, as a power cut does, and wait for their ends."""
    killed = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and os.getsid(int(folder.name)) == leader:
                os.kill(int(folder.name), signal.SIGKILL)
                killed.append(int(folder.name))
    assert leader in killed
    for pid in killed:
        assert_ends(pid)


@pytest.mark.slow
def test_they_are_installed_before_the_program_whatever_became_of_the_power(pi: Pi, debs: dict[str, Path]) -> None:
    payload = pi.payload(*debs.values())
    pi.device.path("/run/slow-postinst").touch()
    command = pi.device.command("setsid", "sh", payload / "install.sh", "--first-boot")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(pi.device.path("/run/in-postinst").exists)
        kill_session(process.pid)
    assert "python3-libcamera" in pi.device.run("dpkg", "--audit").stdout
    pi.device.path("/run/slow-postinst").unlink()
    done = pi.install(payload)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pi.device.run("dpkg", "--audit").stdout == ""
    assert done.stdout.index("python3-picamera2") < done.stdout.index("creating /opt/fer-edge/releases")
    assert (pi.version(PICAMERA2), pi.version("python3-libcamera")) == ("0.3.31-1", "1:0.5.2+rpt~1-1")
    # Only the first run could know that it was missing before.
    assert pi.device.run("apt-mark", "showauto", "python3-libcamera").stdout.strip() == "python3-libcamera"
    assert not pi.device.path(f"{HOME}/automatic-packages").exists()
    # The check of the release imports it in the service's environment.
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("    ")}
    assert "can be imported in this environment" in rows["picamera2"] and " ok " in rows["picamera2"]
    assert " bad " in rows["libcamera"], "the camera is missing, which is not a fault of the release"
    removed = pi.device.run("sh", f"{HOME}/install.sh", "--remove")
    assert removed.returncode == 0 and "kept: system packages" in removed.stdout and pi.version(PICAMERA2)


@pytest.mark.slow
def test_a_module_that_does_not_load_keeps_the_release_from_being_taken(pi: Pi, tmp_path: Path) -> None:
    broken = make_deb(tmp_path, PICAMERA2, files={f"{SITE}/picamera2.py": "raise ImportError(name='libcamera')\n"})
    done = pi.install(pi.payload(broken))
    assert done.returncode == 1 and "doctor: picamera2: picamera2: libcamera is not installed" in done.stderr
    assert not pi.device.path(f"{HOME}/current").is_symlink()


@pytest.mark.slow
def test_what_nobody_asked_for_by_name_may_go_again_one_day(pi: Pi, debs: dict[str, Path]) -> None:
    payload = pi.payload(*debs.values())
    done = pi.packages(payload)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "installing python3-picamera2 with dependencies, 2 packages" in done.stdout
    assert pi.device.run("apt-mark", "showauto", "python3-libcamera").stdout.strip() == "python3-libcamera"
    assert pi.device.run("apt-mark", "showmanual", PICAMERA2).stdout.strip() == PICAMERA2
    again = pi.packages(payload)
    assert again.returncode == 0 and "python3-picamera2: already installed" in again.stdout


def test_what_is_newer_on_the_device_stays_and_what_is_older_is_raised(
    pi: Pi, debs: dict[str, Path], tmp_path: Path
) -> None:
    older = make_deb(tmp_path, PICAMERA2, "0.3.30-1", files={f"{SITE}/picamera2.py": "raise ImportError('old')\n"})
    newer = make_deb(tmp_path, "python3-libcamera", "1:0.6-1", files={f"{SITE}/libcamera.py": ""})
    assert pi.device.run("dpkg", "--install", older, newer).returncode == 0
    done = pi.packages(pi.payload(*debs.values()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 packages" in done.stdout
    assert (pi.version(PICAMERA2), pi.version("python3-libcamera")) == ("0.3.31-1", "1:0.6-1")
    # Installed by hand before: do not mark it.
    assert pi.device.run("apt-mark", "showauto", PICAMERA2, "python3-libcamera").stdout == ""


def test_a_truncated_package_is_noticed_before_anything_is_changed(pi: Pi, debs: dict[str, Path]) -> None:
    payload = pi.payload(*debs.values())
    deb = payload / "debs" / debs["camera"].name
    deb.write_bytes(deb.read_bytes()[:-100])
    done = pi.install(payload)
    assert done.returncode == 1 and f"debs/{deb.name}" in done.stderr and "is damaged, copy it again" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not pi.version("python3-libcamera")


def test_a_package_whose_needs_are_not_met_is_one_line_with_apts_reason(
    pi: Pi, debs: dict[str, Path], tmp_path: Path
) -> None:
    done = pi.install(pi.payload(debs["camera"]))
    assert done.returncode == 1 and done.stderr.startswith("fer-edge install: apt: E: "), done.stderr
    assert len(done.stderr.splitlines()) == 1 and not pi.version(PICAMERA2)
    assert not pi.device.path(f"{HOME}/current").is_symlink(), "no program without what it needs"


def test_no_room_is_told_with_figures(pi: Pi, debs: dict[str, Path]) -> None:
    payload = pi.payload(*debs.values())
    facts = payload / "payload.conf"
    facts.write_text(facts.read_text().replace("packages_kib=", "packages_kib=9999999"))
    sums = payload / "SHA256SUMS"
    new = subprocess.run(["sha256sum", facts], capture_output=True, text=True, check=True).stdout.split()[0]
    lines = [
        f"{new}  payload.conf" if line.endswith("  payload.conf") else line for line in sums.read_text().splitlines()
    ]
    sums.write_text("\n".join(lines) + "\n")
    done = pi.install(payload)
    assert done.returncode == 1 and "no room for python3-picamera2: " in done.stderr and "MiB free" in done.stderr


# From the network


@pytest.fixture
def archive(tmp_path: Path, pi: Pi, debs: dict[str, Path]) -> Iterator[Repository]:
    """A signed archive, the only one in the device's sources."""
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    made = Repository(tmp_path / "archive", architecture.stdout.strip())
    for deb in debs.values():
        shutil.copy(deb, made.pool)
    make_deb(made.pool, "libcamera-ipa", "1:0.5.2+rpt~1-1")
    made.publish()
    with served(made):
        pi.device.run("sh", "-c", "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*")
        for path, data in made.on_image().items():
            pi.device.path(path).write_bytes(data)
        yield made
    made.close()


def asks(pi: Pi, archive: Repository, port: int) -> None:
    """Change the port in the device's source."""
    source = pi.device.path("/etc/apt/sources.list.d/test.sources")
    source.write_text(source.read_text().replace(f":{archive.port}", f":{port}"))


def test_with_apt_online_the_device_fetches_them(pi: Pi, archive: Repository, tmp_path: Path) -> None:
    older = make_deb(tmp_path, "libcamera-ipa", "1:0.5.0-1")
    assert pi.device.run("dpkg", "--install", older).returncode == 0
    payload = pi.payload(network=True)
    assert not (payload / "debs").exists()
    done = pi.packages(payload)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "downloading python3-picamera2" in done.stdout and pi.version("python3-libcamera")
    assert pi.version("libcamera-ipa") == "1:0.5.2+rpt~1-1"
    archive.requests.clear()
    assert pi.packages(payload).returncode == 0 and not archive.requests


def test_without_a_network_it_says_what_it_needs(pi: Pi, archive: Repository) -> None:
    asks(pi, archive, 9)
    done = pi.packages(pi.payload(network=True), "NETWORK_WAIT_S=0")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "apt-get update: E: " in done.stderr and "it needs internet access" in done.stderr


def test_a_network_that_comes_later_is_waited_for(pi: Pi, archive: Repository) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    asks(pi, archive, port)
    archive.port = port
    log = pi.device.path(f"{HOME}/install.log")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(pi.packages, pi.payload(network=True), "NETWORK_WAIT_S=60", "NETWORK_PAUSE_S=1")
        wait_for(lambda: log.exists() and "\nE: " in log.read_text())
        assert not running.done()
        with served(archive):
            done = running.result()
    assert done.returncode == 0 and pi.version(PICAMERA2), done.stderr


def test_a_network_in_which_nothing_answers_ends_the_wait_in_time(pi: Pi, archive: Repository) -> None:
    """The time that each try takes counts."""
    pi.device.path("/etc/apt/apt.conf.d/99-test").write_text('Acquire::http::Timeout "2";\n')
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asks(pi, archive, silent.getsockname()[1])
        began = time.monotonic()
        done = pi.packages(pi.payload(network=True), "NETWORK_WAIT_S=3", "NETWORK_PAUSE_S=0")
    assert done.returncode == 1 and "it needs internet access" in done.stderr
    assert time.monotonic() - began < 15


def test_a_device_checks_signatures_too(pi: Pi, archive: Repository) -> None:
    archive.new_key("stranger")
    archive.publish()
    done = pi.packages(pi.payload(network=True), "NETWORK_WAIT_S=0")
    assert done.returncode == 1 and "is not signed" in done.stderr and not pi.version(PICAMERA2)
