"""Check a stock image that you have: ``make test-real-image IMAGE=raspios.img.xz``.

First it lists FER-Edge's assumptions about the image, each with its source (``image_assumptions``). Then it composes a
card: both file systems must be clean, our files must exist, and everything else must be unchanged, file by file, and
byte by byte outside of the file systems. The tests do the same with small stand-ins.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from fer_edge.errors import FerEdgeError, InputError
from fer_edge.system.files import write_bytes_atomically
from fer_flash.compose import Composition, Stock, compose
from fer_flash.image.card_image import CardImage
from fer_flash.image.unpack import unpack
from fer_flash.settings.pi_config import load_pi_config
from image_assumptions import ASSUMPTIONS, StockImage, examine, facts, listing
from support.cards.differences import differences
from support.cards.file_systems import assert_ext4_is_clean, assert_fat_is_clean

PI = """
[system]
hostname = "test"
[user]
name = "ada"
[ssh]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJk4zIUBj4Gq2JpXrUD0f2eWm8yTqUyJrKkzBd3mC5N ada@here"]
[fer_edge]
source = "0"
"""
"""A USB camera, so that no packages are downloaded; ``fer-edge flash debs`` tests that."""


def refuse_what_blocks(image: str) -> None:
    """Raise InputError for a pipe or a device, whose reading may never end."""
    path = Path(image)
    if "://" not in image and path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{image}: is not a regular file; give an image")


def look(stock: Path, record: Path | None) -> int:
    """List facts and assumptions about the raw image ``stock``; return how many assumptions do not hold.

    With ``record``, write them there as JSON too. Raises FerEdgeError.
    """
    with CardImage(stock) as card:
        image = StockImage(card)
        found = facts(image)
        findings = examine(image, ASSUMPTIONS)
    print(*(f"{name}: {value}" for name, value in found.items()), "", listing(findings), sep="\n")
    wrong = [finding.assumption.name for finding in findings if not finding.holds]
    print(
        f"{len(findings) - len(wrong)} of {len(findings)} assumptions hold{': not ' if wrong else ''}{', '.join(wrong)}"
    )
    if record is not None:
        whole = {"image": found, "assumptions": [finding.as_record() for finding in findings]}
        text = json.dumps(whole, indent=2, ensure_ascii=False)
        write_bytes_atomically(record, f"{text}\n".encode())
    return len(wrong)


def check(stock: Path, work: Path) -> None:
    """Compose a card of the raw image ``stock`` and print the observations. Raises AssertionError, FerEdgeError."""
    (work / "pi.toml").write_text(PI)
    out = work / "out.img"
    made = compose(Stock(str(stock)), out, load_pi_config(work / "pi.toml"), report=print)
    print(f"style {made.system.style}:", *made.system.why, sep="\n    ")
    found = differences(stock, out)
    assert not found.outside, f"bytes outside of the file systems differ, in MiB {found.outside}"
    ours = _ours(made)
    assert found.boot <= ours | {"fer-edge"} | _below("fer-edge", found.boot), sorted(found.boot - ours)
    assert not found.root, sorted(found.root)
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
    """Run the check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="a stock image of Raspberry Pi OS Lite, or its URL")
    parser.add_argument("--sha256", help="SHA-256 of the published image")
    parser.add_argument("--work", type=Path, help="folder with room for two unpacked images")
    parser.add_argument("--assumptions", action="store_true", help="list the assumptions only, compose nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write facts and assumptions to FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        stock = Path(folder) / "stock.img"
        try:
            refuse_what_blocks(arguments.image)
            with stock.open("w+b") as stream:
                unpack(arguments.image, stream, sha256=arguments.sha256)
            wrong = look(stock, arguments.json)
            if not arguments.assumptions:
                check(stock, Path(folder))
        except (FerEdgeError, AssertionError, OSError) as error:
            print(f"test-real-image: {error}", file=sys.stderr)
            return 1
    if not wrong:
        print("all is as assumed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
