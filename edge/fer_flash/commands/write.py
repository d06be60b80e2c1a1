"""``fer-edge flash write``: print what would be written where, and write it with ``--yes``."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext, suppress

from fer_edge.system.one_line import printable
from fer_flash.image.packed import Form
from fer_flash.meter import duration, size
from fer_flash.write.plan import Plan, carry_out, make_plan
from fer_flash.write.writer import Written


def run(arguments: argparse.Namespace) -> int:
    """Print the plan, and with ``--yes`` carry it out; return 0."""
    plan = make_plan(
        arguments.image,
        arguments.device,
        even_if_fixed=arguments.even_if_fixed,
        sha256=arguments.sha256,
        verify=arguments.verify,
    )
    lines = describe(plan)
    if not arguments.yes:
        lines.append(f"nothing was written: add --yes to write, which erases {plan.target.path}")
    with suppress(BrokenPipeError) if arguments.yes else nullcontext():  # a closed pipe must not stop the write
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    return finish(plan) if arguments.yes else 0


def finish(plan: Plan) -> int:
    """Carry ``plan`` out, print the result, and return the exit code."""
    started = time.monotonic()
    written = carry_out(plan)
    sys.stdout.write(f"{_outcome(plan, written, time.monotonic() - started)}\n")
    return 0


def describe(plan: Plan) -> list[str]:
    """Return the plan as lines of text."""
    image, target, device = plan.image, plan.target, plan.target.device
    packed = "" if image.form is Form.RAW else f" ({image.form}, {size(image.stored)})"
    checksum = f"; SHA-256 as in {plan.checksum.source}" if plan.checksum is not None else "; no SHA-256 to check"
    known = size(image.size) if image.size is not None else "size known after unpacking"
    lines = [f"image   {image.path}: {known}{packed}{checksum}"]
    if device is None:
        lines.append(f"target  {target.path}: a file of {size(target.size)}, written like a card")
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
    return f"{done}, in {duration(seconds)}" + ("; you can remove the card" if plan.target.device is not None else "")
