"""The hosts that a deployment is for: from the command line, and from a file with groups.

The file has one host per line; ``#`` begins a comment. A line ``[name]`` begins a group, as in an inventory of Ansible.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fer_edge.errors import InputError, reason_of
from fer_edge.system.files import read_regular
from fer_edge.system.user_folders import config_folder
from fer_ssh.ssh import Address

_MAX_BYTES = 2**20
_GROUP = re.compile(r"\[([A-Za-z0-9_][A-Za-z0-9_.-]*)\]")


def choose_hosts(given: Sequence[str], file: Path | None, groups: Sequence[str] = ()) -> list[str]:
    """Return the ``given`` hosts and those of ``file``, each once.

    Args:
        given: Hosts from the command line.
        file: The file; None for the user's, which is read only for ``groups``.
        groups: Only the hosts of these groups of the file; empty for all.

    Raises:
        InputError: If there are none, or the file cannot be used.
    """
    for host in given:
        Address(host).words()
    if file is None and groups:
        file = config_folder() / "hosts.txt"
    found = [*given, *(_of_groups(file, groups) if file is not None else ())]
    if not found:
        raise InputError(f"{file}: names no host" if file is not None else "no host: give USER@HOST, or --hosts FILE")
    return list(dict.fromkeys(found))


def _of_groups(file: Path, groups: Sequence[str]) -> list[str]:
    by_group = _read(file)
    for name in groups:
        if name not in by_group:
            known = ", ".join(group for group in by_group if group) or "none"
            raise InputError(f"{file}: has no group {name!r}; its groups: {known}")
        if not by_group[name]:
            raise InputError(f"{file}: the group {name} names no host")
    return [host for name in groups or by_group for host in by_group[name]]


def _read(file: Path) -> dict[str, list[str]]:
    """Return the hosts of ``file`` by group; those before the first group are in the group ""."""
    try:
        lines = read_regular(file, _MAX_BYTES).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8: one host per line, as for ssh") from None
    group: list[str] = []
    found = {"": group}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            if not text.startswith("["):
                Address(text).words()
                group.append(text)
            elif match := _GROUP.fullmatch(text):
                group = found.setdefault(match[1], [])
            else:
                raise InputError(
                    f"{text!r}: not a group: write it as [ground-floor], with letters, digits, dots and dashes"
                )
        except InputError as error:
            raise InputError(f"{file}: line {number}: {error}") from None
    return found
