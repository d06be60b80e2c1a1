"""The subcommands ``fer-edge convert``, ``fer-edge bundle``, ``fer-edge bench layers`` and ``bench study``."""

from fer_convert.commands.arguments import BUNDLE, CONVERT, LAYERS, STUDY

__all__ = ["BUNDLE", "CONVERT", "LAYERS", "STUDY"]
