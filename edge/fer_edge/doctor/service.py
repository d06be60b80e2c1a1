"""What the service stands on: files of secrets, and the unit."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

from fer_edge.doctor.checks import Case, Finding, as_owner, broken, doubtful, fine, skipped
from fer_edge.errors import ConfigError
from fer_edge.service.unit_environment import unit_problem
from fer_edge.settings.secret_files import is_for_the_service_alone, read_secret
from fer_edge.system.notify import UNIT

_ASKED = (
    *("LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "StatusText"),
    "FragmentPath",
)


def look_at_secrets(case: Case) -> Finding:
    """Whether the files of secrets can be read, by their owner alone; and the settings, where they hold a password."""
    settings = case.settings
    names = {
        "mqtt.password_file": settings.mqtt.password_file,
        "mqtt.key_file": settings.mqtt.key_file,
        "webhook.token_file": settings.webhook.token_file,
        "web.token_file": settings.web.token_file,
    }
    told = []
    for key, name in names.items():
        if name is None:
            continue
        if is_for_the_service_alone(name):
            told.append(f"{key} is a credential, which the service alone can read")
            continue
        problem = _private_key(name, key) if key == "mqtt.key_file" else _secret(name, key)
        if problem is not None:
            complaint, _, mend = problem.partition(": chmod")
            return broken(complaint, f"chmod{mend}" if mend else as_owner(Path(name)))
        told.append(f"{key} is there, for its owner alone")
    held = [uri for uri in (*settings.source.uris, settings.webhook.url or "") if "@" in uri and "://" in uri]
    # The service's group may read the settings: it is how its user comes to them.
    if held and case.config is not None and _others_may_read(case.config, stat.S_IROTH):
        return doubtful(f"others may read {case.config}, which holds a password in a URL", f"chmod o-r {case.config}")
    return fine(", ".join(told)) if told else skipped("the settings name none")


def look_at_unit(case: Case) -> Finding:
    """The state of the service, where there is one."""
    if shutil.which("systemctl") is None or not (case.root / "run" / "systemd" / "system").is_dir():
        return skipped("systemd does not run here")
    done = subprocess.run(
        ["systemctl", "show", UNIT, f"--property={','.join(_ASKED)}"],
        capture_output=True,
        text=True,
        timeout=case.patience_s,
        check=False,
    )
    state = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    if done.returncode != 0 or not state:
        return doubtful(
            f"systemctl does not tell: {done.stderr.strip() or done.returncode}", f"systemctl status {UNIT}"
        )
    problem = unit_problem(Path(state["FragmentPath"])) if state.get("FragmentPath") else None
    if problem is not None:
        return broken(problem, "install FER-Edge again, in a new environment, then fer-edge service install")
    return judge_unit(state)


def judge_unit(state: dict[str, str]) -> Finding:
    """What the properties that ``systemctl show`` gave mean."""
    if state.get("LoadState") == "not-found":
        return skipped(f"{UNIT} is not installed")
    if state.get("LoadState") != "loaded":
        return broken(f"{UNIT} is {state.get('LoadState')}", f"systemd-analyze verify {UNIT}")
    active, restarts = state.get("ActiveState", "unknown"), state.get("NRestarts", "0")
    seen = f"{active} ({state.get('SubState', 'unknown')}), {state.get('UnitFileState') or 'not installed to start'}"
    if state.get("StatusText") and active == "active":  # else what it said last, which is over
        seen += f": {state['StatusText']}"
    if active == "failed":
        return broken(f"{seen}; {state.get('Result', 'unknown')}", f"journalctl -u {UNIT} -n 50")
    if active not in ("active", "reloading"):
        return doubtful(seen, f"sudo systemctl enable --now {UNIT}")
    if restarts != "0":
        return doubtful(f"{seen}, restarted {restarts} times", f"journalctl -u {UNIT} -n 200")
    return fine(seen)


def _secret(name: str, key: str) -> str | None:
    try:
        read_secret(name, key)
    except ConfigError as error:
        return str(error)
    return None


def _private_key(name: str, key: str) -> str | None:
    try:
        with Path(name).open("rb"):
            pass
    except OSError as error:
        return f"{key}: cannot read {name}: {error.strerror}"
    if _others_may_read(Path(name)):
        return f"{key}: others may read {name}, which holds a secret: chmod 600 {name}"
    return None


def _others_may_read(path: Path, who: int = stat.S_IRGRP | stat.S_IROTH) -> bool:
    try:
        return bool(path.stat().st_mode & who)
    except OSError:
        return False
