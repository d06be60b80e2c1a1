"""The device of ``--on``."""

from __future__ import annotations

import argparse
import sys

from fer_bench.remote.device import Device
from fer_ssh.ssh import Address


def open_device(arguments: argparse.Namespace) -> Device:
    """Connect to the device that the options name. Raises what ``Device`` does."""
    address = Address(arguments.on, arguments.port, arguments.identity, arguments.ssh_config)
    return Device(address, interactive=sys.stdin.isatty())
