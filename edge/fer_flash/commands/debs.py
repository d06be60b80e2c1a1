"""``fer-edge flash debs``: download the packages that a Raspberry Pi camera needs and an image lacks."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_edge.errors import OutputError, reason_of
from fer_edge.system.user_folders import cache_folder
from fer_flash.compose import Stock, raw_image
from fer_flash.image.card_image import CardImage
from fer_flash.image.stock_system import inspect
from fer_flash.meter import print_line, size
from fer_flash.payload.packages.apt_sources import read_apt_sources
from fer_flash.payload.packages.collect import PICAMERA2, collect_packages, packages_folder


def run(arguments: argparse.Namespace) -> int:
    """Download missing packages into the cache, check all of them, and return 0.

    Raises what ``collect_packages`` raises.
    """
    folder: Path = arguments.work or cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write there: {reason_of(error)}; use another folder: --work DIR") from None
    stock = Stock(arguments.image, arguments.sha256)
    with raw_image(stock, folder) as raw, CardImage(raw, name=stock.name) as card:
        system = inspect(card.boot, card.root)
        if PICAMERA2 in system.installed:
            print_line(f"{system.release}: the image has {PICAMERA2}: nothing to fetch")
            return 0
        sources = read_apt_sources(card.root)
    wanted, cache = [PICAMERA2], arguments.cache
    found = collect_packages(system.release, sources, wanted, cache=cache, force=arguments.force, report=print_line)
    total = size(sum(deb.path.stat().st_size for deb in found.debs))
    kept_in = packages_folder(system.release, sources, wanted, cache)
    print_line(f"{system.release}: {len(found.debs)} packages, {total}, as recorded, in {kept_in}")
    return 0
