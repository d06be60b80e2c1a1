"""``fer-edge flash card``: from a stock image to a written card in one step."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge.errors import InputError, OutputError, reason_of
from fer_edge.user_folders import cache_folder
from fer_flash.compose import Stock, compose, plan
from fer_flash.compose_command import show, tell
from fer_flash.pi_config import load_pi_config
from fer_flash.write import command as write
from fer_flash.write.target import choose_target


def run(arguments: argparse.Namespace) -> int:
    """Compose into a file that is gone afterwards, and write that; without ``--yes`` tell what would be done.

    What is wrong with the settings or with the card is told before anything takes long. Raises FerEdgeError.
    """
    if not sys.platform.startswith("linux"):
        raise InputError(
            f"writing cards needs Linux; this is {sys.platform}: use fer-edge flash compose, and write its image with "
            "Raspberry Pi Imager (operating system: Use custom; no customisation, since the image has it)"
        )
    config = load_pi_config(arguments.config)
    choose_target(arguments.device, arguments.even_if_fixed)
    stock = Stock(arguments.image, arguments.sha256)
    with _work_folder(arguments.work) as folder:
        if not arguments.yes:
            show(plan(stock, folder, config, cache=arguments.cache, tell=tell), config)
            tell(f"nothing was written: add --yes to write, and lose all that {arguments.device} holds")
            return 0
        image = folder / "card.img"
        show(compose(stock, image, config, cache=arguments.cache, tell=tell), config)
        return write.run(
            argparse.Namespace(
                image=image,
                device=arguments.device,
                yes=True,
                even_if_fixed=arguments.even_if_fixed,
                sha256=None,
                bmap=False,
                verify=arguments.verify,
            )
        )


@contextmanager
def _work_folder(wanted: Path | None) -> Iterator[Path]:
    """A new folder with room for an image: the system's own place for temporary files may be in memory."""
    parent = wanted or cache_folder()
    try:
        if wanted is None:
            parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=parent, prefix=f"card-{os.getpid()}-")
    except OSError as error:
        raise OutputError(f"{parent}: cannot work there: {reason_of(error)}; name another folder: --work DIR") from None
    with folder as path:
        yield Path(path)
