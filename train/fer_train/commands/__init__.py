"""The subcommands ``fer-edge data``, ``fer-edge train`` and ``fer-edge average``."""

from fer_train.commands.arguments import AVERAGE, DATA, TRAIN

__all__ = ["AVERAGE", "DATA", "TRAIN"]
