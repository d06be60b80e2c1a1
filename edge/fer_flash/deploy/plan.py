"""What a device is and has, as it tells, and what a payload would change there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from fer_edge.errors import InputError, OutputError
from fer_flash.deploy.ssh import Ssh
from fer_flash.payload.assemble import release_id
from fer_flash.payload.payload_file import PayloadFile
from fer_flash.payload.releases import MACHINES, RELEASES, Release


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device as it told of itself.

    ``root`` is how one becomes root there: ``yes`` (is already), ``sudo``, ``password`` (sudo asks for one) or ``no
    sudo``. ``staging`` is the folder there that payloads are copied to; ``current`` the release in force, "" for none,
    and ``packages`` its versions. ``settings`` and ``shipped`` are the sha256 of the settings there, and of those that
    were put there last; "" where there are none or they may not be read. ``room_staging`` and ``room_opt`` are in KiB.
    ``files`` maps each file of the payloads that lie there to its sha256.
    """

    release: Release
    machine: str
    root: str
    staging: str
    current: str
    packages: dict[str, str]
    settings: str
    shipped: str
    room_staging: int
    room_opt: int
    files: dict[str, str]


def look_at(ssh: Ssh) -> DeviceState:
    """Ask the device. Raises InputError where FER-Edge cannot be put there, and what ``Ssh.run`` raises."""
    answer = ssh.run(files(__package__).joinpath("probe.sh").read_text(encoding="utf-8"))
    facts: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():
        name, _, value = line.partition("\t")
        facts.setdefault(name, []).append(value)
    if "complete" not in facts:
        said = answer.stderr.splitlines() or [f"exit {answer.code}"]
        raise InputError(f"{ssh.host}: it does not answer as a Linux system does: {said[-1]}")
    release, machine = _system(ssh.host, facts["release"][0], facts["python"][0].split())
    if "systemd" not in facts:
        raise InputError(f"{ssh.host}: systemd does not run there, and the service needs it")
    lying = [entry.partition("\t") for entry in facts.get("file", ())]
    return DeviceState(
        release=release,
        machine=machine,
        root=facts["root"][0],
        staging=facts["staging"][0],
        current=facts["current"][0].removeprefix("releases/"),
        packages=_versions(facts.get("package", ())),
        settings=facts["settings"][0],
        shipped=facts["shipped"][0],
        room_staging=int(facts["room_staging"][0] or 0),
        room_opt=int(facts["room_opt"][0] or 0),
        files={path: digest for digest, _, path in lying},
    )


def _system(host: str, release: str, python: Sequence[str]) -> tuple[Release, str]:
    if release not in RELEASES:
        known = " and ".join(RELEASES)
        raise InputError(f"{host}: its system is {release or 'none that tells its name'}; FER-Edge goes onto {known}")
    if len(python) != 3:
        raise InputError(f"{host}: there is no /usr/bin/python3: sudo apt-get install python3")
    machine, bits, version = python
    if machine not in MACHINES or bits != "64":
        raise InputError(f"{host}: a {bits}-bit system on {machine}; FER-Edge needs 64 bit on {' or '.join(MACHINES)}")
    if version != RELEASES[release].python:
        raise InputError(f"{host}: its Python is {version}, and that of {release} is {RELEASES[release].python}")
    return RELEASES[release], machine


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done about a payload: ``send`` goes over the line, ``copy`` (from, to) is there already, ``delete`` is
    of an older one.
    """

    send: list[PayloadFile]
    copy: list[tuple[str, str]]
    delete: list[str]
    changes: list[str]


def make_plan(host: str, state: DeviceState, payload: Sequence[PayloadFile], *, replace_config: bool) -> Plan:
    """Compare. Raises OutputError where there is no room for it there."""
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
    facts = {file.path: file for file in payload}["payload.conf"].read().decode().splitlines()
    installed_kib = int(dict(line.split("=", 1) for line in facts)["installed_kib"])
    if release_id(payload) == state.current:
        installed_kib = 0
    needed_kib = needed_bytes // 1024
    # Both may well be on one file system.
    places = ((state.staging, needed_kib, state.room_staging), ("/opt", installed_kib + needed_kib, state.room_opt))
    for place, needed, free in places:
        if needed > free:
            raise OutputError(f"{host}: no room in {place}: {needed // 1024} MiB are needed, {free // 1024} are free")
    return Plan(send, copy, delete, _changes(state, payload, replace_config=replace_config))


def _changes(state: DeviceState, payload: Sequence[PayloadFile], *, replace_config: bool) -> list[str]:
    """What will be other than it is, in words; nothing that is secret."""
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
            told = "kept, since they were changed there (--replace-config)" if kept else "these in place of those there"
            if not state.settings:
                told = "new, or as they are: sudo would have to ask" if state.root == "password" else "new"
            lines.append(f"settings: {told}")
    secrets = [path for path in by_path if path.startswith("secrets/")]
    return lines + ([f"secrets: {', '.join(path.removeprefix('secrets/') for path in secrets)}"] if secrets else [])


def _versions(requirements: Iterable[str]) -> dict[str, str]:
    found = {}
    for line in requirements:
        name, _, version = line.partition(" ")[0].partition("==")
        found[name] = version
    return found
