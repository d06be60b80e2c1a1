"""Checks: a fault, the expected behaviour, and its evidence. All but the last leave the service installed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from systemd.container import ENVIRONMENT, Container, wait_for
from systemd.faults import ended_by_watchdog, started_again
from systemd.unit import CAMERA, CONFIG, EVENTS, PROGRAM, UNIT, WATCHING, Service, ensure

HOME = "/home/pi"
PYTHON = PROGRAM.replace("fer-edge/bin/fer-edge", "fer-edge/bin/python")
_ASK_PAGE = """\
import sys
from urllib.request import Request, urlopen
token = {"Authorization": f"Bearer {sys.argv[1]}"} if sys.argv[1:] else {}
for path in ("", "healthz", "readyz", "metrics"):
    print(urlopen(Request(f"http://127.0.0.1:8080/{path}", headers=token)).status)
"""


@dataclass(frozen=True, slots=True)
class Check:
    """A row of the table of faults; ``see`` provokes the fault and returns the result, or raises CheckFailedError."""

    fault: str
    promise: str
    see: Callable[[Container, Service], str]


def _no_camera(container: Container, service: Service) -> str:
    first = container.must(PROGRAM, "service", "install")
    ensure("config.toml created" in first, first)
    told = service.wait_for_status("lost")
    ensure("video0" in told, told)
    pid = service.pid
    service.assert_stays("ActiveState", "active", 5)
    enabled = container.must("systemctl", "is-enabled", UNIT).strip()
    ensure(enabled == "enabled", f"at the next start of the machine it is {enabled}")
    again = container.must(PROGRAM, "service", "install")
    ensure("write" not in again and service.pid == pid, f"a second install changed something: {again}")
    shown = container.must(PROGRAM, "service", "status")
    ensure("active (running)" in shown and "0 restarts" in shown and "watchdog: 2min 2s, last notified" in shown, shown)
    return f"active, 0 restarts, STATUS: {told.partition(';')[0]}; video0 lost"


def _hardening(container: Container, service: Service) -> str:
    service.start_with(WATCHING + "[web]\nenabled = true\n")
    service.wait_until_watching()
    answers = container.must(PYTHON, "-c", _ASK_PAGE).split()
    ensure(answers == ["200"] * 4, f"the page answers {answers}")
    status = container.must("cat", f"/proc/{service.pid}/status")
    for expected in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000", "CapEff:\t0000000000000000"):
        ensure(expected in status, f"{expected} expected in:\n{status}")
    (peak_kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    core = re.search(r"Max core file size +(\d+) +(\d+)", container.must("cat", f"/proc/{service.pid}/limits"))
    ensure(core is not None and core.groups() == ("0", "0"), "it may leave a core dump")
    rated = container.must("systemd-analyze", "security", "--no-pager", UNIT).splitlines()[-1]
    (exposure,) = re.findall(r": (\d+\.\d)", rated)
    ensure(float(exposure) <= 2.0, rated)
    container.must("systemctl", "stop", UNIT)
    (frames,) = re.findall(r"^(\d+) frames, .* events in", service.journal(), flags=re.MULTILINE)[-1:]
    (nodes,) = re.findall(r"XNNPACK took \d+ of \d+ nodes", service.journal())[-1:]
    ensure(int(frames) > 0, "no frame was processed")
    seen = f"exposure {exposure}; seccomp, no capability, no core; {frames} frames; {nodes}"
    return f"{seen}; {int(peak_kib) / 1024:.0f} MiB at most; page and metrics answer"


def _doctor(container: Container, service: Service) -> str:
    service.start_with(WATCHING + f'[web]\nenabled = true\n[output]\nevents = "{EVENTS}"\n')
    service.wait_until_watching()
    asked = container.run("runuser", "-u", "fer-edge", "--", PROGRAM, "doctor", "--json", "--config", CONFIG)
    found = {check["name"]: check for check in json.loads(asked.stdout)["checks"]}
    wanted = {"unit": "ok", "inference": "ok", "disk": "ok", "sources": "ok", "web": "warn"}  # its port is in use
    ensure({name: found[name]["verdict"] for name in wanted} == wanted, asked.stdout)
    ensure("active (running)" in found["unit"]["seen"], found["unit"]["seen"])
    container.must("systemctl", "stop", UNIT)
    stopped = container.run(PROGRAM, "doctor", "--json", "--config", CONFIG)
    (unit,) = (check for check in json.loads(stopped.stdout)["checks"] if check["name"] == "unit")
    ensure(unit["verdict"] == "warn" and "systemctl enable --now" in unit["fix"], stopped.stdout)
    return f"{found['unit']['seen']}; stopped: {unit['seen']}"


def _group_of_cameras(container: Container, service: Service) -> str:
    make = (
        "import cv2, fer_edge.sources.demo.source as s; cv2.imwrite('/srv/cam/face.png', s.DemoScene().render(4.0, 0))"
    )
    container.must("mkdir", "-p", "/srv/cam")
    container.must(PYTHON, "-c", make)
    container.must("chown", "-R", "root:video", "/srv/cam")
    container.must("chmod", "-R", "u=rwX,g=rX,o=", "/srv/cam")
    service.configure('[source]\nuris = ["/srv/cam/face.png"]\n')
    container.run("systemctl", "restart", UNIT)
    service.wait_for_line("face.png  face 1  appeared")
    return "a picture that group video alone may read: a face appeared"


def _hang(container: Container, service: Service) -> str:
    took_s = _ended_by_watchdog(container, service, lambda pid: service.signal("STOP"))
    seen = f"SIGSTOP: ended by the watchdog and active again after {took_s:.0f} s"
    return f"{seen}; where it hung is in the journal; no core dump"


def _threads_hang(container: Container, service: Service) -> str:
    def hold(pid: int) -> None:
        container.must("systemd-run", "--quiet", "--unit=hold", PYTHON, "/mnt/hang.py", str(pid))
        wait_for(lambda: "held" in container.must("journalctl", "--unit=hold", "--output=cat"), "threads to be held")
        states = container.must("sh", "-c", 'grep -h ^State: /proc/"$0"/task/*/status', str(pid))
        ensure(states.count("tracing stop") == states.count("\n") - 1, states)

    took_s = _ended_by_watchdog(container, service, hold)
    return f"all threads but the first held by ptrace: ended by the watchdog and active again after {took_s:.0f} s"


def _ended_by_watchdog(container: Container, service: Service, hang: Callable[[int], None]) -> float:
    service.start_with(WATCHING)
    return ended_by_watchdog(container, service, hang)


def _killed(container: Container, service: Service) -> str:
    service.start_with(WATCHING + f'[output]\nevents = "{EVENTS}"\n')
    service.wait_for_line("appeared")
    took_s, lines = started_again(container, service)
    return f"SIGKILL: active again after {took_s:.1f} s; {lines} in the file of events, all whole"


def _camera_away(container: Container, service: Service) -> str:
    service.start_with(WATCHING + f'[output]\nevents = "{EVENTS}"\n')
    service.wait_until_watching()
    pid, lines = service.pid, len(container.must("cat", EVENTS).splitlines())
    container.must("systemctl", "stop", CAMERA)
    told = service.wait_for_status("0 of 1 source watched")
    ensure("127.0.0.1 lost" in told, told)
    service.assert_stays("ActiveState", "active", 5)
    container.must("systemctl", "start", CAMERA)
    service.wait_until_watching()
    events = [json.loads(line) for line in container.must("cat", EVENTS).splitlines()[lines:]]
    kinds = [event["kind"] for event in events if event["kind"].startswith("source_")]
    ensure(kinds == ["source_lost", "source_back"], str(kinds))
    ensure(service.pid == pid and service.restarts == 0, "it was started again")
    return "STATUS: 0 of 1 source watched, then 1 of 1; source_lost, source_back; 0 restarts"


def _source_lost_for_good(container: Container, service: Service) -> str:
    service.configure('[source]\nuris = ["rtsp://127.0.0.1:9/none"]\ntimeout_s = 1.0\n')
    container.run("systemctl", "restart", UNIT)
    restarts = wait_for(lambda: (n := service.restarts) >= 3 and n, "the third restart")
    ensure("status=3" in service.journal(), "not exit 3")
    return f"exit 3: started again, {restarts} times and on"


def _wrong_settings(container: Container, service: Service) -> str:
    return _stays_down(container, service, "[source]\nurls = 1\n", 2, "unknown key source.urls")


def _refused_model(container: Container, service: Service) -> str:
    container.write("/srv/model/manifest.json", '{"format": 999}')
    return _stays_down(container, service, WATCHING + '[model]\nbundle = "/srv/model"\n', 4, "/srv/model")


def _stays_down(container: Container, service: Service, settings: str, code: int, said: str) -> str:
    service.configure(settings)
    container.run("systemctl", "reset-failed", UNIT)
    started = container.run("systemctl", "restart", UNIT)
    ensure(started.returncode != 0, "systemctl restart said that all is well")
    service.wait_for("ActiveState", "failed")
    service.assert_stays("ActiveState", "failed", 6)  # three times RestartSec
    ensure(service.ask("ExecMainStatus") == str(code), f"exit {service.ask('ExecMainStatus')}")
    shown = container.run(PROGRAM, "service", "status")
    ensure(shown.returncode == 1 and f"exit status {code}" in shown.stdout and said in shown.stdout, shown.stdout)
    return f"exit {code}: failed, not started again; fer-edge service status: exit 1, and why"


def _reload(container: Container, service: Service) -> str:
    service.start_with(WATCHING + '[output]\nevents = "/var/lib/fer-edge/first.jsonl"\n')
    pid = service.pid
    service.configure(WATCHING + '[output]\nevents = "/var/lib/fer-edge/second.jsonl"\n')
    container.must("systemctl", "reload", UNIT)
    service.wait_for_line("reloaded")
    wait_for(lambda: container.run("test", "-s", "/var/lib/fer-edge/second.jsonl").returncode == 0, "an event")
    ensure(service.pid == pid, "it was started again")
    return "the same process, the new file of events"


def _reload_of_wrong_settings(container: Container, service: Service) -> str:
    service.start_with(WATCHING)
    service.wait_until_watching()
    pid = service.pid
    service.configure("[source]\nurls = 1\n")
    refused = container.run("systemctl", "reload", UNIT)
    ensure(refused.returncode != 0, "systemctl reload succeeded")
    ensure(service.ask("ActiveState") == "active", "it is not active any more")
    service.signal("HUP")  # without the check of the settings in the unit
    service.wait_for_line("not reloaded, the current settings stay in use")
    ensure(service.pid == pid and service.ask("StatusText").startswith("1 of 1"), "it did not continue")
    return "systemctl reload fails with the reason; the same process continues with the old settings"


def _stop(container: Container, service: Service) -> str:
    service.start_with(WATCHING)
    service.wait_until_watching()
    began = time.monotonic()
    container.must("systemctl", "stop", UNIT)
    took_s = time.monotonic() - began
    ensure(service.ask("Result") == "success", service.ask("Result"))
    ensure(took_s < 15, f"it took {took_s:.0f} s")
    return f"ended well after {took_s:.1f} s"


def _home(container: Container, service: Service) -> str:
    environment = f"{HOME}/env"
    container.must("mkdir", "-p", HOME)
    container.must("python3", "-m", "venv", "--without-pip", environment)
    ours, theirs = (
        container.must(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        for python in (f"{environment}/bin/python", PYTHON)
    )
    container.write(f"{ours}/others.pth", f"{theirs}\n")
    install = [f"{PROGRAM.removesuffix('fer-edge')}pip", "--python", environment, "install", "--quiet"]
    container.must("sh", "-c", " ".join([*install, "--no-index", "--no-deps", "--force-reinstall", "/mnt/*.whl"]))
    container.write(f"{HOME}/private", "a letter\n")
    container.must("chmod", "0700", HOME)
    service.configure(WATCHING)
    container.must(f"{environment}/bin/fer-edge", "service", "install")
    service.wait_until_watching()
    runs = container.must("cat", f"/proc/{service.pid}/cmdline")
    ensure(runs.startswith(environment), runs)
    enter = ["nsenter", "--target", str(service.pid), "--mount", "ls"]
    seen = container.must(*enter, HOME).split() + container.must(*enter, "/root").split()
    ensure(seen == ["env"], f"it sees {seen}")
    container.must(PROGRAM, "service", "install")
    return "watching, started from /home/pi/env, and sees nothing else there"


def _closed_folder(container: Container, service: Service) -> str:
    container.must("chmod", "0700", "/opt/fer-edge")
    refused = container.run(PROGRAM, "service", "install")
    container.must("chmod", "0755", "/opt/fer-edge")
    ensure(refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr)
    ensure("chmod o+rx /opt/fer-edge" in refused.stderr, refused.stderr)
    return "exit 2 and the chmod command that fixes it"


def _not_root(container: Container, service: Service) -> str:
    for word in ("install", "remove"):
        refused = container.run("setpriv", "--reuid=nobody", "--clear-groups", PROGRAM, "service", word)
        ensure(refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr)
        ensure(f"sudo {PROGRAM} service {word}" in refused.stderr, refused.stderr)
    shown = container.must("setpriv", "--reuid=nobody", "--clear-groups", PROGRAM, "service", "status")
    ensure("active (running)" in shown and "sudo journalctl" in shown, shown)
    return "exit 2 and the command with sudo; every user can read the status"


def _secret(container: Container, service: Service) -> str:
    container.write("/root/page", "a-token-of-many-letters\n")
    container.must("chmod", "0600", "/root/page")
    drop_in = f"/etc/systemd/system/{UNIT}.d/token.conf"
    container.write(drop_in, "[Service]\nLoadCredential=web-token:/root/page\n")
    container.must("systemctl", "daemon-reload")
    service.start_with(WATCHING + '[web]\nenabled = true\ntoken_file = "web-token"\n')
    service.wait_until_watching()
    refused = container.run(PYTHON, "-c", _ASK_PAGE)
    ensure("401" in refused.stderr, f"without the token: {refused.stdout}{refused.stderr}")
    answers = container.must(PYTHON, "-c", _ASK_PAGE, "a-token-of-many-letters").split()
    ensure(answers == ["200"] * 4, f"with the token the page answers {answers}")
    shown = container.must("cat", f"/proc/{service.pid}/environ") + service.journal()
    ensure("a-token" not in shown, "the token shows")
    container.must("rm", drop_in)
    container.must("systemctl", "daemon-reload")
    return "401 without the token, 200 with it"


def _port_taken(container: Container, service: Service) -> str:
    service.configure(WATCHING + "[web]\nenabled = true\nport = 8090\n")
    container.must("rm", f"/etc/systemd/system/{UNIT}")
    failed = container.run(PROGRAM, "service", "install")
    ensure(failed.returncode == 1 and failed.stderr.count("\n") == 1, failed.stderr)
    ensure("see fer-edge service status" in failed.stderr, failed.stderr)
    told = container.run(PROGRAM, "service", "status").stdout
    ensure("8090" in told, told)
    return "exit 1 and where to look; status shows the port"


def _upgraded(container: Container, service: Service) -> str:
    """Rename the packages' folder to that of Python 3.10, as after an upgrade from that version."""
    container.must("cp", "-a", ENVIRONMENT, "/srv/other")
    packages = container.must("sh", "-c", f"echo {ENVIRONMENT}/lib/python3.*").strip()
    older = f"{ENVIRONMENT}/lib/python3.10"
    container.must("systemctl", "stop", UNIT)
    container.must("mv", packages, older)
    container.run("systemctl", "start", UNIT)
    service.wait_for("ActiveState", "inactive")
    service.assert_stays("ActiveState", "inactive", 6)  # three times RestartSec
    ensure(service.ask("Result") == "exec-condition", f"Result={service.ask('Result')}")
    said = f"fer-edge: {ENVIRONMENT} was created with another Python (python3 is now {packages.rpartition('/')[2]})"
    service.wait_for_line(said)
    ensure(service.journal().count(said) == 1, "said more than once")
    ensure(said in container.run("systemctl", "status", "--lines=3", UNIT).stdout, "systemctl status does not show it")
    shown = container.run("/srv/other/bin/python3", "-m", "fer_edge", "service", "status")
    ensure(
        shown.returncode == 1 and "was created with python3.10, but python3 is" in shown.stdout,
        shown.stdout + shown.stderr,
    )
    container.must("mv", older, packages)
    service.start_with(WATCHING)
    service.wait_until_watching()
    return "not started, no restart; one line in the journal and in systemctl status; runs again once fixed"


def _remove(container: Container, service: Service) -> str:
    container.must(PROGRAM, "service", "remove")
    ensure(service.ask("LoadState") == "not-found", "it is still there")
    container.must("test", "-f", CONFIG)
    container.must("test", "-d", "/var/lib/fer-edge")
    container.must("id", "fer-edge")
    shown = container.run(PROGRAM, "service", "status")
    ensure(shown.returncode == 1 and "not installed" in shown.stdout, shown.stdout)
    return "the unit is removed; settings, events and user are kept"


INSTALLED = Check("no camera when the service starts", "READY; a state that STATUS names, and no restart", _no_camera)
"""It runs first and installs the service, which the others need."""
CHECKS = (
    Check("all restrictions of the unit", "frames are processed", _hardening),
    Check("none: doctor, with the service running and stopped", "it reports the state of the unit", _doctor),
    Check("devices that only group `video` can read", "they are read, although users are hidden", _group_of_cameras),
    Check("the process hangs", "killed by the watchdog, restarted, no core dump", _hang),
    Check("all threads but the first hang", "the same: no timer notifies the watchdog", _threads_hang),
    Check("the process is killed", "restarted within seconds, events complete", _killed),
    Check("the camera's server stops, and returns", "STATUS names it; no restart", _camera_away),
    Check("source permanently lost (`reconnect = false`)", "exit 3, restarted", _source_lost_for_good),
    Check("invalid settings at the start", "exit 2, no restart", _wrong_settings),
    Check("an unusable model", "exit 4, no restart", _refused_model),
    Check("reload with valid settings", "they apply, without a restart", _reload),
    Check("reload with invalid settings", "refused; the service continues", _reload_of_wrong_settings),
    Check("stop", "outputs finished within seconds", _stop),
    Check("installed from an environment in a private home", "it runs, and sees nothing else in the home", _home),
    Check("installed from an environment that others cannot read", "refused with advice", _closed_folder),
    Check("installed by a user other than root", "refused with advice", _not_root),
    Check("a secret that only root can read (`LoadCredential`)", "only the program can read it", _secret),
    Check("installed with a port that is taken", "reported, with where to look", _port_taken),
    Check("another system Python after an upgrade", "not started, and the reason", _upgraded),
    Check("removed", "stopped; settings and events are kept", _remove),
)
