"""What is to be written where, decided before anything is written, and carried out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import InputError
from fer_flash.meter import Meter
from fer_flash.write.checksum import Checksum, check_file, find_checksum
from fer_flash.write.medium import Medium
from fer_flash.write.stream import ImageFile, inspect_image
from fer_flash.write.target import Target, check_replaceable, check_same, check_size, choose_target
from fer_flash.write.writer import Written, write_image


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known before anything is written."""

    image: ImageFile
    checksum: Checksum | None
    target: Target
    verify: bool


def make_plan(image: Path, target: str, *, even_if_fixed: str | None, sha256: str | None, verify: bool) -> Plan:
    """Check the image and the target. Raises InputError if the image may not or cannot be written to the target."""
    chosen = choose_target(target, even_if_fixed)
    found = inspect_image(image)
    if chosen.device is None and image.samefile(chosen.path):
        raise InputError(f"{target}: is the image itself; give a card")
    check_size(chosen, image, found.size)
    check_replaceable(chosen)
    return Plan(found, find_checksum(image, sha256), chosen, verify)


def carry_out(plan: Plan) -> Written:
    """Check the image's SHA-256, open the device, write, read back and compare. Progress goes to standard error."""
    image = plan.image
    if plan.checksum is not None:
        with Meter(f"checking {image.path}", image.stored) as meter:
            check_file(image.path, plan.checksum, lambda done: meter.advance(done - meter.done))
    with Medium(plan.target.path) as medium:
        check_same(plan.target, medium)
        written = write_image(image, medium, verify=plan.verify)
        medium.reread_partitions()
    return written
