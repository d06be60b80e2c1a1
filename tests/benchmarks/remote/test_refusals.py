"""Devices that cannot measure: one line, and nothing half-written there."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path

import pytest

from fer_edge.errors import DeviceError, FerEdgeError, InputError, OutputError
from fer_ssh.ssh import Ssh
from support.devices.device import why_no_device
from support.devices.measuring import PROGRAM, Measuring
from support.processes.edge_command import assert_one_line
from support.processes.waiting import wait_for
from support.servers.sshd import needs_sshd

pytestmark = [needs_sshd, pytest.mark.skipif(bool(why_no_device()), reason=str(why_no_device()))]
NAME = f"{'0' * 64}/file"


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        (None, 2, "fer-edge is not installed there: fer-edge deploy device"),
        ("""echo '{"fer_edge": "9.8.7", "protocol": 99}'; exec sleep 60""", 2, "its fer-edge 9.8.7 does not fit"),
        ("$REAL agenx 2>&1 | sed s/agenx/agent/ >&2; exit 2", 2, "its fer-edge is too old to measure for this one"),
        ("echo ModuleNotFoundError: numpy >&2; exit 1", 5, "exit code 1: ModuleNotFoundError: numpy"),
        ("kill -KILL $$", 6, "fer-edge agent was killed there by SIGKILL (too little memory?)"),
        ("echo fer-edge: out of memory >&2; exit 6", 6, "ended there with exit code 6: out of memory"),
        ("""echo '{"fer_edge": "0.1.0", "protocol": 1}'; echo hello; exec sleep 60""", 5, "gives an invalid answer"),
    ],
    ids=["none", "newer", "older", "broken", "killed", "without memory", "another program"],
)
def test_a_fer_edge_there_that_cannot_measure(
    there: Measuring, tiny_bundle: Path, script: str | None, code: int, said: str
) -> None:
    with there.program(script):
        assert_one_line(there.bench("latency", "--bundle", tiny_bundle), code, "device: ", said)


def test_what_the_shell_there_prints_first_is_skipped(there: Measuring) -> None:
    with there.program('echo "Welcome to Raspberry Pi"; echo "[]"; exec $REAL "$@"'), there.connect() as device:
        assert device.request("own_cpu_s") > 0


def test_a_port_where_nobody_listens_is_one_line(there: Measuring, tiny_bundle: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        done = there.bench("latency", "--bundle", tiny_bundle, "--port", held.getsockname()[1])
    assert_one_line(done, 2, "device: connection refused")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--threads", 4096), "--threads 4096: device has"),
        (("--engines", "onnxruntime"), "--engines onnxruntime: not on device; choose from litert"),
        (("--tflite-runtime", "python3"), "leave it out with --on"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_what_a_device_cannot_do_is_one_line(
    there: Measuring, tiny_bundle: Path, words: tuple[object, ...], said: str
) -> None:
    assert_one_line(there.bench("latency", "--bundle", tiny_bundle, *words), 2, said)


def test_a_full_disk_there_is_one_line(there: Measuring, tiny_bundle: Path) -> None:
    made, folder = there.device, there.cache_there
    made.run("runuser", "-u", there.sshd.user, "--", "mkdir", "-p", folder)
    assert made.run("mount", "-t", "tmpfs", "-o", "size=16k,mode=777", "none", folder).returncode == 0
    try:
        assert_one_line(
            there.bench("latency", "--bundle", tiny_bundle), 6, "device: ", "MiB needed, 0.0 MiB free: free some space"
        )
        # It can also become full afterwards.
        data = bytes(2**20)
        with there.connect() as device:
            with pytest.raises(DeviceError, match=r"^device: .*No space left on device") as full:
                device.request("put", data, name=NAME, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
            assert full.value.exit_code == OutputError.exit_code
            assert device.request("own_cpu_s") > 0, "the next request is understood"
        assert [path.name for path in there.cache.iterdir()] == ["lock"]
    finally:
        made.run("umount", folder)


def test_a_file_that_is_cut_or_damaged_on_its_way_is_not_kept(there: Measuring) -> None:
    with there.connect() as device, pytest.raises(DeviceError, match="damaged on its way") as damaged:
        device.request("put", b"abc", name=NAME, sha256="0" * 64, size=3)
    assert damaged.value.exit_code == OutputError.exit_code
    with Ssh(there.address, interactive=False) as ssh, pytest.raises(FerEdgeError):
        ssh.run("true")
        with ssh.converse(f"{PROGRAM} agent") as agent:
            agent.stdout.readline()
            agent.stdout.readline()
            request = {"request": "put", "name": NAME, "sha256": "0" * 64, "size": 2**20}
            agent.stdin.write(json.dumps(request).encode() + b"\n" + bytes(2**19))
            agent.stdin.flush()
            wait_for(lambda: any(path.stat().st_size for path in there.temporary_files()))
            there.cut()
            agent.end()
    there.wait_until_idle()
    assert not (there.cache / NAME).parent.exists()


@pytest.mark.parametrize(
    "name", ["../../file", f"{'0' * 64}/../file", f"{'0' * 64}/.hidden", "/etc/passwd", NAME + "/x"]
)
def test_a_name_outside_of_the_cache_is_refused(there: Measuring, name: str) -> None:
    with there.connect() as device, pytest.raises(DeviceError, match="not a name of a file in the cache") as refused:
        device.request("put", b"abc", name=name, sha256=hashlib.sha256(b"abc").hexdigest(), size=3)
    assert refused.value.exit_code == InputError.exit_code
