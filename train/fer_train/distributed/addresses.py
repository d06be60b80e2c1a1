"""Checks of the addresses at which the processes connect, before JAX uses them: it would abort without a reason."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket

from fer_edge.errors import ConfigError, reason_of

log = logging.getLogger(__name__)


def check_coordinator(address: str) -> None:
    """Check that process 0 can listen at ``address``, HOST:PORT.

    Raises:
        ConfigError: if it cannot.
    """
    host, _, port = address.rpartition(":")
    reason = ""
    try:
        for family, kind, protocol, _, target in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the port of a run that has just ended
                    probe.bind(target)
                    probe.listen()
                    return
            except OSError as error:  # a name can have several addresses; one is enough
                reason = reason_of(error)
    except (OSError, UnicodeError) as error:
        reason = reason_of(error)
    raise ConfigError(
        f"--coordinator {address}: process 0 cannot listen there ({reason}): "
        "give an address of that machine and a free port"
    )


def check_own_name() -> None:
    """Check that this machine's name resolves to an address of this machine, to which Gloo binds.

    JAX uses Gloo between CPUs, and starts it next to GPUs too unless ``JAX_PLATFORMS`` leaves ``cpu`` out. Where the
    name does not resolve, Gloo fails with ``rv == 0``, after the data have been read and the processes have met.

    Raises:
        ConfigError: if the name has no address, or if none of its addresses belongs to this machine.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    collectives = os.environ.get("JAX_CPU_COLLECTIVES_IMPLEMENTATION", "gloo")
    if (platforms and "cpu" not in platforms.split(",")) or collectives != "gloo":
        return
    name = socket.gethostname()
    fix = f"add a line with the address of this machine and {name} to /etc/hosts"
    try:
        addresses = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"this machine's name, {name}, has no address ({reason_of(error)}), and JAX needs one to connect the "
            f"processes: {fix}"
        ) from None
    reasons = {}
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
                return
        except OSError as error:
            reasons[address[0]] = reason_of(error)
    seen = ", ".join(f"{address} ({reason})" for address, reason in reasons.items())
    raise ConfigError(
        f"this machine's name, {name}, has no address of this machine: {seen}; JAX needs one to connect the "
        f"processes: {fix}"
    )


def warn_of_loopback(host: str) -> None:
    """Warn if this machine's name has a loopback address but the coordinator does not.

    On CPUs, JAX sends the address of this machine's name to the other processes; on Debian that is 127.0.1.1.
    """
    name = socket.gethostname()
    with contextlib.suppress(OSError, UnicodeError, ValueError):  # unknown names: see check_own_name
        own, theirs = (ipaddress.ip_address(socket.gethostbyname(each)) for each in (name, host.strip("[]")))
        if own.is_loopback and not theirs.is_loopback:
            log.warning(
                "this machine's name, %s, has the address %s, where other machines cannot reach it; if the processes "
                "do not connect, set the name's address in /etc/hosts",
                name,
                own,
            )
