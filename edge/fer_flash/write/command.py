"""``fer-edge flash write``: says what would be written where, and writes it with ``--yes``."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import InputError
from fer_edge.system.messages import printable
from fer_flash.image.packed import Form
from fer_flash.meter import Meter, duration, size
from fer_flash.write.bmap import BlockMap, find_block_map
from fer_flash.write.checksum import Checksum, check_file, find_checksum
from fer_flash.write.medium import Medium
from fer_flash.write.stream import ImageFile, look_at_image
from fer_flash.write.target import Target, check_same, check_size, choose_target
from fer_flash.write.writer import Written, write_image


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is known before anything is written."""

    image: ImageFile
    checksum: Checksum | None
    block_map: BlockMap | None
    target: Target
    verify: bool


def make_plan(
    image: Path, target: str, *, even_if_fixed: str | None, sha256: str | None, use_bmap: bool, verify: bool
) -> Plan:
    """Look at the image and the target. Raises InputError where one may not be written to the other."""
    chosen = choose_target(target, even_if_fixed)
    found = look_at_image(image)
    if chosen.device is None and image.samefile(chosen.path):
        raise InputError(f"{target}: is the image itself; give a card")
    check_size(chosen, image, found.size)
    block_map = find_block_map(image) if use_bmap else None
    if block_map is not None and found.size not in (None, block_map.image_size):
        raise InputError(
            f"{block_map.path}: is for an image of {block_map.image_size} bytes, and {image} has {found.size};"
            " make the map again, or write without it: --no-bmap"
        )
    if block_map is not None:
        check_size(chosen, image, block_map.image_size)
    return Plan(found, find_checksum(image, sha256), block_map, chosen, verify)


def carry_out(plan: Plan) -> Written:
    """Check the image's sum, take the device, write, read back and compare; progress goes to standard error."""
    image = plan.image
    if plan.checksum is not None:
        with Meter(f"checking {image.path}", image.stored) as meter:
            check_file(image.path, plan.checksum, lambda done: meter.advance(done - meter.done))
    with Medium(plan.target.path) as medium:
        check_same(plan.target, medium)
        written = write_image(image, medium, plan.block_map, verify=plan.verify)
        medium.reread_partitions()
    return written


def run(arguments: argparse.Namespace) -> int:
    """Print the plan; with ``--yes`` carry it out too. 0 when all that was asked for is done."""
    plan = make_plan(
        arguments.image,
        arguments.device,
        even_if_fixed=arguments.even_if_fixed,
        sha256=arguments.sha256,
        use_bmap=arguments.bmap,
        verify=arguments.verify,
    )
    lines = describe(plan)
    if not arguments.yes:
        lines.append(f"nothing was written: add --yes to write, and lose all that {plan.target.path} holds")
    with suppress(BrokenPipeError) if arguments.yes else nullcontext():  # a reader that goes away ends no writing
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    return finish(plan) if arguments.yes else 0


def finish(plan: Plan) -> int:
    """Carry ``plan`` out and tell how it ended; the exit code."""
    started = time.monotonic()
    written = carry_out(plan)
    sys.stdout.write(f"{_outcome(plan, written, time.monotonic() - started)}\n")
    return 0


def describe(plan: Plan) -> list[str]:
    """The plan as lines for people."""
    image, target, device = plan.image, plan.target, plan.target.device
    packed = "" if image.form is Form.RAW else f" ({image.form}, {size(image.stored)})"
    checksum = f"; SHA-256 as in {plan.checksum.source}" if plan.checksum is not None else "; no SHA-256 to check"
    known = size(image.size) if image.size is not None else "size known when unpacked"
    lines = [f"image   {image.path}: {known}{packed}{checksum}"]
    if plan.block_map is not None:
        mapped = size(plan.block_map.mapped_bytes)
        lines.append(f"map     {plan.block_map.path}: {mapped} are written; between them the card keeps what it held")
    if device is None:
        lines.append(f"target  {target.path}: a file of {size(target.size)}, written as if it were a card")
    else:
        about = [size(target.size), device.model, device.bus, "removable" if device.removable else "not removable"]
        lines.append(f"target  {target.path}: {', '.join(each for each in about if each)}, not mounted")
    lines.append(f"after   {'read back and compared' if plan.verify else 'not compared (--no-verify)'}")
    return [printable(line) for line in lines]


def _outcome(plan: Plan, written: Written, seconds: float) -> str:
    done = f"{plan.target.path}: {size(written.bytes_written)} written"
    if not written.bytes_compared:
        done += ", not compared"
    elif written.from_memory:
        done += f", read back and equal ({size(written.from_memory)} of it from memory, not from the medium)"
    else:
        done += ", read back and equal"
    return f"{done}, in {duration(seconds)}" + ("; the card can be taken out" if plan.target.device is not None else "")
