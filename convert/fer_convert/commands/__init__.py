"""The subcommands ``fer-edge convert``, ``bundle``, ``export``, ``bench layers`` and ``bench study``."""

from fer_convert.commands.arguments import BUNDLE, CONVERT, EXPORT, LAYERS, STUDY

__all__ = ["BUNDLE", "CONVERT", "EXPORT", "LAYERS", "STUDY"]
