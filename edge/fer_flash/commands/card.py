"""``fer-edge flash card``: compose an image and write it to a card in one step."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge.errors import OutputError, reason_of
from fer_edge.system.user_folders import cache_folder
from fer_flash.commands.compose import show
from fer_flash.commands.write import finish
from fer_flash.compose import Sources, Stock, compose, plan
from fer_flash.meter import print_line
from fer_flash.settings.pi_config import load_pi_config
from fer_flash.write.medium import Medium
from fer_flash.write.plan import make_plan
from fer_flash.write.stream import inspect_image
from fer_flash.write.target import Target, check_replaceable, check_same, check_size, choose_target


def run(arguments: argparse.Namespace) -> int:
    """Compose into a temporary file and write it to the card; without ``--yes``, print what would be done.

    Settings and card are checked before the long steps. Raises FerEdgeError.
    """
    config = load_pi_config(arguments.config)
    stock = Stock(arguments.image, arguments.sha256)
    sources = Sources(arguments.cache, arguments.apt_online)
    target = choose_target(arguments.device, arguments.even_if_fixed)
    _check_both(stock, target)
    with _work_folder(arguments.work) as folder:
        if not arguments.yes:
            show(plan(stock, folder, config, sources=sources, report=print_line), config)
            print_line(f"nothing was written: add --yes to write, which erases {arguments.device}")
            return 0
        image = folder / "card.img"
        show(compose(stock, image, config, sources=sources, report=print_line), config)
        writing = make_plan(
            image,
            arguments.device,
            even_if_fixed=arguments.even_if_fixed,
            sha256=None,
            verify=arguments.verify,
        )
        return finish(writing)


def _check_both(stock: Stock, target: Target) -> None:
    """Refuse a card that is too small (if the image's size is known already), not a card, or write-protected."""
    if "://" not in stock.source:
        image = inspect_image(Path(stock.source))
        check_size(target, image.path, image.size)
    check_replaceable(target)
    with Medium(target.path) as medium:
        check_same(target, medium)


@contextmanager
def _work_folder(wanted: Path | None) -> Iterator[Path]:
    """Create a folder with room for an image; the system's folder for temporary files may be in memory."""
    parent = wanted or cache_folder()
    try:
        if wanted is None:
            parent.mkdir(parents=True, exist_ok=True)
            _sweep(parent)
        folder = tempfile.TemporaryDirectory(dir=parent, prefix=f"card-{os.getpid()}-")
    except OSError as error:
        raise OutputError(f"{parent}: cannot write there: {reason_of(error)}; use another folder: --work DIR") from None
    with folder as path:
        yield Path(path)


def _sweep(parent: Path) -> None:
    """Remove the folders of runs that were killed: they are large and contain secrets."""
    for folder in parent.glob("card-*-*"):
        number = folder.name.split("-")[1]
        if number.isdecimal() and not Path("/proc", number).exists():
            shutil.rmtree(folder, ignore_errors=True)
