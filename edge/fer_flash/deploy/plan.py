"""The state of a device, and what a payload would change there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from fer_edge.errors import InputError, OutputError
from fer_flash.payload.assemble import facts_of, release_id
from fer_flash.payload.payload_file import PayloadFile
from fer_flash.payload.releases import MACHINES, RELEASES, Release
from fer_ssh.ssh import Ssh


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device, as it reports itself.

    Attributes:
        release: its Raspberry Pi OS.
        machine: its processor.
        root: how to become root: ``yes`` (is root), ``sudo``, ``password`` (sudo asks for one) or ``no sudo``.
        staging: folder there that payloads are copied to.
        current: the installed release, "" for none.
        packages: version of each package of the installed release.
        settings: sha256 of the settings there; "" if there are none or they are not readable.
        shipped: sha256 of the settings that were deployed last; "" as above.
        installed: ``payload_hash`` of the last payload, if its installation is complete; "" as above.
        room_staging, room_opt: free space in KiB in ``staging`` and /opt.
        files: sha256 of each file of the payloads that are there, by path.
    """

    release: Release
    machine: str
    root: str
    staging: str
    current: str
    packages: dict[str, str]
    settings: str
    shipped: str
    installed: str
    room_staging: int
    room_opt: int
    files: dict[str, str]


def query_device(ssh: Ssh) -> DeviceState:
    """Query the device. Raises InputError if FER-Edge cannot be installed there, and what ``Ssh.run`` raises."""
    answer = ssh.run(files(__package__).joinpath("probe.sh").read_text(encoding="utf-8"))
    facts: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():
        name, _, value = line.partition("\t")
        facts.setdefault(name, []).append(value)
    if "complete" not in facts:
        said = answer.stderr.splitlines() or [f"exit {answer.code}"]
        raise InputError(f"{ssh.host}: does not respond like a Linux system: {said[-1]}")
    release, machine = _system(ssh.host, facts["release"][0], facts["python"][0].split())
    if "systemd" not in facts:
        raise InputError(f"{ssh.host}: systemd is not running there, and the service needs it")
    return DeviceState(
        release=release,
        machine=machine,
        root=facts["root"][0],
        staging=facts["staging"][0],
        current=facts["current"][0].removeprefix("releases/"),
        packages=_versions(facts.get("package", ())),
        settings=facts["settings"][0],
        shipped=facts["shipped"][0],
        installed=facts["installed"][0],
        room_staging=int(facts["room_staging"][0] or 0),
        room_opt=int(facts["room_opt"][0] or 0),
        files={path: digest for digest, _, path in (line.partition("\t") for line in facts.get("file", ()))},
    )


def _system(host: str, release: str, python: Sequence[str]) -> tuple[Release, str]:
    if release not in RELEASES:
        known = " and ".join(RELEASES)
        raise InputError(f"{host}: its system is {release or 'unknown'}; FER-Edge supports {known}")
    if len(python) != 3:
        raise InputError(f"{host}: /usr/bin/python3 is not installed: sudo apt-get install python3")
    machine, bits, version = python
    if machine not in MACHINES or bits != "64":
        raise InputError(f"{host}: a {bits}-bit system on {machine}; FER-Edge needs 64 bits on {' or '.join(MACHINES)}")
    if version != RELEASES[release].python:
        raise InputError(f"{host}: its Python is {version}, but {release} has {RELEASES[release].python}")
    return RELEASES[release], machine


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for a payload.

    Attributes:
        send: files to send.
        copy: files that are on the device already, as (from, to).
        delete: files of an older payload.
        changes: what changes, in words.
    """

    send: list[PayloadFile]
    copy: list[tuple[str, str]]
    delete: list[str]
    changes: list[str]


def make_plan(host: str, state: DeviceState, payload: Sequence[PayloadFile], *, replace_config: bool) -> Plan:
    """Compare the device with a payload. Raises OutputError if the device has not enough free space."""
    inside = f"{state.staging}/"
    by_sum = {digest: path for path, digest in state.files.items() if not path.startswith(inside)}
    send, copy, needed_bytes = [], [], 0
    for file in payload:
        target, digest = f"{inside}{file.path}", file.sha256()
        if state.files.get(target) == digest:
            continue
        needed_bytes += file.size
        if digest in by_sum:
            copy.append((by_sum[digest], target))
        else:
            send.append(file)
    wanted = {f"{inside}{file.path}" for file in payload}
    delete = [path for path in state.files if path.startswith(inside) and path not in wanted]
    conf = next(file for file in payload if file.path == "payload.conf")
    installed_kib = 0 if release_id(payload) == state.current else int(facts_of(conf)["installed_kib"])
    needed_kib = needed_bytes // 1024
    # Both may be on the same file system.
    places = ((state.staging, needed_kib, state.room_staging), ("/opt", installed_kib + needed_kib, state.room_opt))
    for place, needed, free in places:
        if needed > free:
            raise OutputError(f"{host}: no room in {place}: {needed // 1024} MiB needed, {free // 1024} MiB free")
    return Plan(send, copy, delete, _changes(state, payload, replace_config=replace_config))


def _changes(state: DeviceState, payload: Sequence[PayloadFile], *, replace_config: bool) -> list[str]:
    """Describe what changes, without secrets."""
    by_path = {file.path: file for file in payload}
    lines = []
    new = release_id(payload)
    if state.current != new:
        lines.append(f"release: {state.current or 'none'} -> {new}")
        versions = _versions(by_path["requirements.txt"].read().decode().splitlines())
        for name in sorted(versions.keys() | state.packages.keys()):
            before, after = state.packages.get(name, "none"), versions.get(name, "none")
            if before != after and state.current:
                lines.append(f"  {name}: {before} -> {after}")
        if not state.current:
            lines.append(f"  {len(versions)} packages")
    if "config.toml" in by_path:
        digest = by_path["config.toml"].sha256()
        if digest != state.settings:
            kept = state.settings not in ("", state.shipped) and not replace_config
            text = "kept, because they were changed there (--replace-config)" if kept else "replaced"
            if not state.settings:
                text = "new, or unchanged: reading them needs sudo's password" if state.root == "password" else "new"
            lines.append(f"settings: {text}")
    secrets = [path for path in by_path if path.startswith("secrets/")]
    return lines + ([f"secrets: {', '.join(path.removeprefix('secrets/') for path in secrets)}"] if secrets else [])


def _versions(requirements: Iterable[str]) -> dict[str, str]:
    found = {}
    for line in requirements:
        name, _, version = line.partition(" ")[0].partition("==")
        found[name] = version
    return found
