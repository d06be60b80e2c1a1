"""The subcommands ``fer-edge flash`` and ``fer-edge deploy``."""

from fer_flash.commands.arguments import DEPLOY, FLASH

__all__ = ["DEPLOY", "FLASH"]
