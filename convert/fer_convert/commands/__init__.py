"""The subcommands ``convert``, ``bundle``, ``export``, ``profile``, ``bench layers`` and ``bench study``."""

from fer_convert.commands.arguments import BUNDLE, CONVERT, EXPORT, LAYERS, PROFILE, STUDY

__all__ = ["BUNDLE", "CONVERT", "EXPORT", "LAYERS", "PROFILE", "STUDY"]
