"""What the subcommands of ``fer-edge bench`` share: which bundle is measured, and where the report goes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fer_bench import output
from fer_bench.report import render
from fer_bench.results import (
    REFERENCE,
    AccuracyResult,
    BenchmarkReport,
    BundleInfo,
    VariantResult,
    report_to_json,
)
from fer_edge.model.bundle import ModelBundle
from fer_edge.model.manifest import MANIFEST_NAME
from fer_edge.system.messages import print_text

CHECKOUT_BUNDLE = Path("models/fer-edge-s")
"""The bundle of a checkout, with all variants; the one in the package has only int8."""


def check_outputs(arguments: argparse.Namespace) -> None:
    """Raise OutputError if the files of --json and --markdown cannot be written."""
    output.check_files(arguments.json, arguments.markdown)


def bundle_path(given: Path | None) -> Path | None:
    """Return ``given``, else the bundle of the checkout, else None, which is the one in the package."""
    if given is None and (CHECKOUT_BUNDLE / MANIFEST_NAME).is_file():
        return CHECKOUT_BUNDLE
    return given


def variant_results(
    bundle: ModelBundle, measured: set[str], accuracies: Mapping[str, tuple[AccuracyResult, ...]] = MappingProxyType({})
) -> tuple[VariantResult, ...]:
    """Return a result for each measured variant, float32 first."""
    names = sorted(measured, key=lambda name: (name != REFERENCE, list(bundle.manifest.variants).index(name)))
    return tuple(
        VariantResult(
            variant=name,
            size_bytes=bundle.variant(name).size_bytes,
            sha256=bundle.variant(name).sha256,
            accuracy=accuracies.get(name, ()),
        )
        for name in names
    )


def describe_bundle(bundle: ModelBundle) -> BundleInfo:
    """Return the description of ``bundle`` for a report."""
    manifest = bundle.manifest
    return BundleInfo(
        name=manifest.name,
        version=manifest.version,
        labels=manifest.labels,
        height=manifest.input.height,
        width=manifest.input.width,
        temperature=manifest.temperature,
    )


def deliver(found: BenchmarkReport, arguments: argparse.Namespace) -> None:
    """Write the files, then print the table; with ``-`` for a file, print that form instead of the table."""
    shown = render.to_text(found)
    for path, text in ((arguments.json, report_to_json(found)), (arguments.markdown, render.to_markdown(found))):
        if path == output.STDOUT:
            shown = text
        elif path is not None:
            output.write(path, text)
    print_text(shown)
