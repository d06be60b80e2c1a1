"""The work of ``fer-edge export mcu``."""

from __future__ import annotations

import argparse

from fer_convert.mcu.export import Limits, export
from fer_edge.model.bundle import load_bundle
from fer_edge.system.messages import print_text


def run(arguments: argparse.Namespace) -> int:
    """Write the sources, and print what the model takes. Raises FerEdgeError."""
    with load_bundle(arguments.bundle) as bundle:
        done = export(
            bundle,
            arguments.variant,
            arguments.out,
            limits=Limits(arguments.max_flash, arguments.max_arena),
            golden=arguments.golden,
            data=arguments.data,
            force=arguments.force,
        )
    needs = done.needs
    print_text(
        f"{done.folder}: {needs.model:,} bytes of model and about {needs.code:,} of code in flash, an arena of"
        f" {needs.arena:,} bytes in RAM; {done.golden} golden inputs\n"
    )
    return 0
