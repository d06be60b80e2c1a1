"""The hosts that a deployment is for: from the command line and from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer_edge.errors import InputError, reason_of
from fer_edge.system.files import read_regular
from fer_ssh.ssh import Address

_MAX_BYTES = 2**20


def choose_hosts(given: Sequence[str], file: Path | None) -> list[str]:
    """Return the ``given`` hosts and those of ``file``, each once. Raises InputError if there are none."""
    for host in given:
        Address(host).words()
    hosts = list(dict.fromkeys([*given, *(_read_hosts(file) if file is not None else ())]))
    if not hosts:
        raise InputError(f"{file}: names no host" if file is not None else "no host: give USER@HOST, or --hosts FILE")
    return hosts


def _read_hosts(file: Path) -> list[str]:
    """Return the hosts of ``file``: one per line; ``#`` begins a comment."""
    try:
        lines = read_regular(file, _MAX_BYTES).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8: one host per line, as for ssh") from None
    hosts = []
    for number, line in enumerate(lines, 1):
        host = line.partition("#")[0].strip()
        if not host:
            continue
        try:
            Address(host).words()
        except InputError as error:
            raise InputError(f"{file}: line {number}: {error}") from None
        hosts.append(host)
    return hosts
