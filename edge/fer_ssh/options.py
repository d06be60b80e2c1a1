"""The options of commands that connect to a device."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_ssh_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--port``, ``--identity`` and ``--ssh-config``."""
    parser.add_argument("--port", type=int, metavar="N", help="SSH port (default: that of ssh)")
    parser.add_argument("--identity", type=Path, metavar="F", help="private key to log in with (default: that of ssh)")
    parser.add_argument("--ssh-config", type=Path, metavar="F", help="configuration file of ssh (default: that of ssh)")
