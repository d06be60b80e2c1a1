"""``fer-edge deploy``: install the payload over SSH on devices that are already running.

Only files that the device lacks are sent, into a folder of the user's account there. ``install.sh`` does the rest; it
completes or rolls back even if the connection is cut.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import shlex
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import IO

from fer_edge.errors import CheckFailedError, FerEdgeError, InputError, OutputError
from fer_edge.system.messages import print_message
from fer_flash.deploy.hosts import choose_hosts
from fer_flash.deploy.plan import DeviceState, make_plan, query_device
from fer_flash.deploy.rollout import CURRENT, INSTALLED, REMOVED, Rollout
from fer_flash.deploy.signed import fetch_payloads, payload_for, refuse_older
from fer_flash.meter import print_line
from fer_flash.payload.assemble import PayloadSettings, assemble, payload_hash, release_id, total_bytes, with_files
from fer_flash.payload.folder import read_payload
from fer_flash.payload.payload_file import PayloadFile
from fer_flash.payload.settings_files import settings_files
from fer_ssh.ssh import Address, Ssh


def run(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge deploy``; return 0, or an exit code if one of several hosts failed. Raises FerEdgeError."""
    hosts = choose_hosts(arguments.hosts, arguments.hosts_file, arguments.groups)
    if arguments.payload is not None and (arguments.config is not None or arguments.bundle is not None):
        raise InputError("--payload already contains settings and bundle: leave out --settings and --bundle")
    if arguments.from_release is not None and (arguments.payload is not None or arguments.remove):
        raise InputError("--from-release installs what is in a repository: leave out --payload and --remove")
    if arguments.trust is not None and arguments.from_release is None:
        raise InputError("--trust requires --from-release")
    if arguments.purge and not arguments.remove:
        raise InputError("--purge requires --remove")
    interactive = sys.stdin.isatty()
    if not (arguments.yes or arguments.dry_run or interactive):
        raise InputError(
            "no terminal to ask for confirmation: add --yes to confirm, or --dry-run to see what would change"
        )
    with _verified(arguments):
        return _deploy(hosts, arguments, interactive=interactive)


@contextlib.contextmanager
def _verified(arguments: argparse.Namespace) -> Iterator[None]:
    """Verify and download the payloads of ``--from-release``; while the block runs they are in ``arguments.verified``.

    The process for each of several hosts gets that folder, so that all of them install the same payloads.
    """
    if arguments.from_release is None or arguments.verified is not None:
        yield
        return
    settings_files(arguments.config, arguments.bundle, None)  # cheap checks come first
    with tempfile.TemporaryDirectory(prefix="fer-edge-payloads-") as folder:
        arguments.verified = Path(folder)
        fetch_payloads(arguments.from_release, arguments.trust, arguments.cache, arguments.verified, print_line)
        yield


def _deploy(hosts: Sequence[str], arguments: argparse.Namespace, *, interactive: bool) -> int:
    if len(hosts) > 1:
        return _deploy_to_many(hosts, arguments)
    address = Address(hosts[0], arguments.port, arguments.identity, arguments.ssh_config)
    with Ssh(address, interactive=interactive) as ssh:
        state = query_device(ssh)
        print_line(f"{ssh.host}: {state.release.name}, {state.machine}, Python {state.release.python}")
        _refuse_without_root(ssh.host, state, interactive=interactive, one_of_many=arguments.one_of_many)
        if arguments.remove:
            return _remove(ssh, state, arguments)
        return _install(ssh, state, arguments)


def _deploy_to_many(hosts: Sequence[str], arguments: argparse.Namespace) -> int:
    # What is wrong for every host is refused before any is changed.
    if arguments.payload is not None:
        read_payload(arguments.payload)
    elif not arguments.remove:
        settings_files(arguments.config, arguments.bundle, None)
    print_line(
        f"{len(hosts)} hosts, up to {arguments.jobs} at a time; with several, nothing asks for a password: each needs"
        " a known host key, your key, and root or sudo without a password"
    )
    action = "remove FER-Edge from" if arguments.remove else "install on"
    if not (arguments.dry_run or _agreed(arguments, f"{action} these {len(hosts)} hosts: {', '.join(hosts)}?")):
        return 0
    rollout = Rollout(hosts, functools.partial(_command, arguments), max_failures=arguments.max_failures)
    return rollout.run(arguments.jobs)


def _command(arguments: argparse.Namespace, host: str) -> list[str]:
    """Return the command line that deploys to one of several hosts."""
    values = {
        "--port": arguments.port,
        "--identity": arguments.identity,
        "--ssh-config": arguments.ssh_config,
        "--settings": arguments.config,
        "--bundle": arguments.bundle,
        "--payload": arguments.payload,
        "--cache": arguments.cache,
        "--from-release": arguments.from_release,
        "--verified": arguments.verified,
    }
    flags = {
        "--replace-config": arguments.replace_config,
        "--remove": arguments.remove,
        "--purge": arguments.purge,
        "--dry-run": arguments.dry_run,
        "--debug": arguments.debug,
    }
    given = [f"{name}={value}" for name, value in values.items() if value is not None]
    given += [name for name, chosen in flags.items() if chosen]
    return [sys.executable, "-P", "-m", "fer_edge", "deploy", "--yes", "--one-of-many", *given, "--", host]


def _install(ssh: Ssh, state: DeviceState, arguments: argparse.Namespace) -> int:
    payload = _payload(ssh.host, state, arguments)
    if arguments.one_of_many and not arguments.replace_config and _has_all_of_it(ssh, state, payload):
        print_line(f"{ssh.host}: {CURRENT}")
        return 0
    plan = make_plan(ssh.host, state, payload, replace_config=arguments.replace_config)
    for line in plan.changes or ["nothing changes"]:
        print_line(line)
    print_line(
        f"to send: {len(plan.send)} files, {total_bytes(plan.send) / 1e6:.1f} of {total_bytes(payload) / 1e6:.1f} MB"
    )
    if arguments.dry_run or not _agreed(arguments, f"install on {ssh.host}?"):
        return 0
    folder = state.staging
    try:
        _prepare(ssh, folder, plan.delete, plan.copy)
        _send(ssh, folder, plan.send)
    except BaseException:
        _forget_secrets(ssh, folder, payload)
        raise
    # From here on install.sh removes them; it may need them after this connection ends.
    _run_installer(ssh, state, ["--forget-secrets", *(["--replace-config"] if arguments.replace_config else [])])
    print_line(f"{ssh.host}: {INSTALLED}")
    return 0


def _remove(ssh: Ssh, state: DeviceState, arguments: argparse.Namespace) -> int:
    print_line(f"removes {state.current or 'what there is of FER-Edge'}{' with settings and events' * arguments.purge}")
    if arguments.dry_run or not _agreed(arguments, f"remove FER-Edge from {ssh.host}?"):
        return 0
    _send(
        ssh,
        state.staging,
        [PayloadFile("install.sh", files("fer_flash").joinpath("payload", "scripts", "install.sh").read_bytes())],
    )
    _run_installer(ssh, state, ["--remove", *(["--purge"] if arguments.purge else [])])
    _run_checked(ssh, f"rm -rf {shlex.quote(state.staging)}")
    print_line(f"{ssh.host}: {REMOVED}")
    return 0


def _has_all_of_it(ssh: Ssh, state: DeviceState, payload: Sequence[PayloadFile]) -> bool:
    """Return whether this payload, with its secrets, is what was installed last, and the service runs."""
    if state.current != release_id(payload) or state.installed != payload_hash(payload):
        return False
    return ssh.run("systemctl is-active fer-edge.service").stdout.strip() == "active"


def _payload(host: str, state: DeviceState, arguments: argparse.Namespace) -> list[PayloadFile]:
    if arguments.verified is not None:
        signed, facts = read_payload(payload_for(state, arguments.verified, host))
        refuse_older(state, facts["version"], host)
        return with_files(signed, settings_files(arguments.config, arguments.bundle, None))
    if arguments.payload is None:
        chosen = PayloadSettings(arguments.config, arguments.bundle)
        return assemble(state.release.name, chosen, arguments.cache, machine=state.machine, report=print_line)
    payload, system = read_payload(arguments.payload)
    there = {"release": state.release.name, "machine": state.machine}
    if any(system[key] != value for key, value in there.items()):
        raise InputError(
            f"{arguments.payload}: made for {system['release']} on {system['machine']}, but {host} has"
            f" {state.release.name} on {state.machine}"
        )
    return payload


def _refuse_without_root(host: str, state: DeviceState, *, interactive: bool, one_of_many: bool) -> None:
    advice = "log in as root, or add the user to the group sudo"
    if state.root == "no sudo":
        raise InputError(f"{host}: sudo is not installed there, and the user is not root: {advice}")
    if state.root == "password" and not interactive:
        way = "deploy to this host alone, in a terminal" if one_of_many else "run this in one"
        raise InputError(f"{host}: sudo asks for a password there, which needs a terminal: {way}")


def _agreed(arguments: argparse.Namespace, question: str) -> bool:
    if arguments.yes:
        return True
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print_line("nothing was changed")
    return False


def _prepare(ssh: Ssh, folder: str, delete: Sequence[str], copy: Sequence[tuple[str, str]]) -> None:
    """Delete the files of an older payload, and copy files that the device has elsewhere."""
    lines = ["set -e", "umask 077", f"mkdir -p {shlex.quote(folder)}"]
    lines += [f"rm -f -- {shlex.quote(path)}" for path in delete]
    for source, target in copy:
        quoted = shlex.quote(target)
        lines += [f"mkdir -p {shlex.quote(str(Path(target).parent))}", f"cp -- {shlex.quote(source)} {quoted}"]
    _run_checked(ssh, "\n".join(lines))


def _send(ssh: Ssh, folder: str, payload: Sequence[PayloadFile]) -> None:
    """Send files as one tar. Later runs recognise them by their sha256 and do not send them again."""
    quoted = shlex.quote(folder)
    script = f"umask 077; mkdir -p {quoted} && exec tar -x -m --no-same-owner -f - -C {quoted}"
    _run_checked(ssh, script, functools.partial(_write_tar, payload))


def _write_tar(payload: Sequence[PayloadFile], stream: IO[bytes]) -> None:
    total, sent = total_bytes(payload), 0
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        # Secrets last, so that they are there as briefly as possible.
        for file in sorted(payload, key=lambda file: file.secret):
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode = file.size, 0o600
            with io.BytesIO(file.data) if isinstance(file.data, bytes) else file.data.open("rb") as data:
                archive.addfile(entry, data)
            sent += file.size
            if sys.stderr.isatty():
                sys.stderr.write(f"\rsent {sent / 1e6:.1f} of {total / 1e6:.1f} MB ")
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")


def _run_checked(ssh: Ssh, script: str, feed: functools.partial[None] | None = None) -> None:
    """Run a script that only writes files. Raises OutputError if it fails."""
    answer = ssh.run(script, feed=feed)
    if answer.code:
        said = (answer.stderr or f"exit {answer.code}").splitlines()
        full = next((line for line in said if "No space left" in line or "quota" in line), None)
        if full is not None:
            raise OutputError(f"{ssh.host}: its disk is full ({full}): free some space there and run this again")
        raise OutputError(f"{ssh.host}: cannot write there: {said[0]}")


def _run_installer(ssh: Ssh, state: DeviceState, words: Sequence[str]) -> None:
    """Run install.sh. If it fails, it has rolled back; raises CheckFailedError with its message."""
    script = shlex.join(["sh", f"{state.staging}/install.sh", *words])
    try:
        if state.root == "password":
            code, said = ssh.run_in_terminal(f"sudo {script}"), "not installed, for the reason above"
        else:
            answer = ssh.follow(script if state.root == "yes" else f"sudo -n {script}", print_line)
            code, said = answer.code, (answer.stderr.splitlines() or [f"exit {answer.code}"])[-1]
    except KeyboardInterrupt:
        print_message(f"{ssh.host}: install.sh continues there; run this again to see the result")
        raise
    if code:
        raise CheckFailedError(f"{ssh.host}: {said.removeprefix('fer-edge install: ')}")


def _forget_secrets(ssh: Ssh, folder: str, payload: Sequence[PayloadFile]) -> None:
    paths = [shlex.quote(f"{folder}/{file.path}") for file in payload if file.secret]
    if not paths:
        return
    try:
        ssh.run(f"rm -f -- {' '.join(paths)}")
    except FerEdgeError:
        print_message(
            f"{ssh.host}: secrets may still be in {folder}, readable only by their owner: another run removes them"
        )
