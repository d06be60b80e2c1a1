"""``python -m fer_edge`` is ``fer-edge``."""

from fer_edge.commands.cli import program

program()
