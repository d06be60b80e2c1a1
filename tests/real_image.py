"""Compose on a stock image that somebody has: ``make test-real-image IMAGE=raspios.img.xz``.

The stand-ins of the tests are small; this holds a real Raspberry Pi OS to the same: both file systems clean, our files
in place, and all else, file by file and byte by byte outside of the file systems, as it was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from fer_edge.errors import FerEdgeError
from fer_flash.compose import Composition, Stock, compose
from fer_flash.image.card_image import CardImage
from fer_flash.image.stock import unpack
from fer_flash.pi_config import load_pi_config
from support.card_differences import differences
from support.file_systems import assert_ext4_is_clean, assert_fat_is_clean

PI = """
[system]
hostname = "test"
[user]
name = "ada"
[ssh]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJk4zIUBj4Gq2JpXrUD0f2eWm8yTqUyJrKkzBd3mC5N ada@here"]
"""


def check(stock: Path, work: Path) -> None:
    """Compose on the raw image ``stock`` and say what was seen. Raises AssertionError, FerEdgeError."""
    (work / "pi.toml").write_text(PI)
    out = work / "out.img"
    made = compose(Stock(str(stock)), out, load_pi_config(work / "pi.toml"), tell=print)
    print(f"style {made.system.style}:", *made.system.why, sep="\n    ")
    found = differences(stock, out)
    assert not found.outside, f"bytes outside of the file systems differ, in MiB {found.outside}"
    ours = _ours(made)
    assert found.boot <= ours | {"fer-edge"} | _below("fer-edge", found.boot), sorted(found.boot - ours)
    assert made.place.on_boot and not found.root, sorted(found.root)
    print(f"boot partition: {len(found.boot)} files and folders are ours; root file system: as it was")
    with CardImage(out) as card:
        boot = next(each for each in card.partitions if each.start == card.boot.start)
        root = card.root.start
    assert_fat_is_clean(out, boot.start, boot.size)
    assert_ext4_is_clean(out, root)
    print("both file systems are clean")


def _ours(made: Composition) -> set[str]:
    return {path for path, _, _ in made.written}


def _below(folder: str, names: frozenset[str]) -> set[str]:
    return {name for name in names if name.startswith(f"{folder}/")}


def main() -> int:
    """Run the check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="a stock image of Raspberry Pi OS Lite, or its URL")
    parser.add_argument("--sha256", help="of the image as it is published")
    parser.add_argument("--work", type=Path, help="folder with room for two unpacked images")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        stock = Path(folder) / "stock.img"
        try:
            with stock.open("w+b") as stream:
                unpack(arguments.image, stream, sha256=arguments.sha256)
            check(stock, Path(folder))
        except (FerEdgeError, AssertionError) as error:
            print(f"test-real-image: {error}", file=sys.stderr)
            return 1
    print("all is as promised")
    return 0


if __name__ == "__main__":
    sys.exit(main())
