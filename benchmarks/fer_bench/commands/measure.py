"""``fer-edge bench accuracy|latency|all``: a bundle's variants side by side."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fer_bench import output
from fer_bench.extras import require
from fer_bench.host import describe_host
from fer_bench.latency.measure import Plan, choose_configurations, measure_latency
from fer_bench.report import render
from fer_bench.results import (
    REFERENCE,
    AccuracyResult,
    BenchmarkReport,
    BundleInfo,
    DatasetInfo,
    LatencySettings,
    VariantResult,
)
from fer_bench.runners import BundleRunner, runnable_variants
from fer_edge.model.bundle import ModelBundle, load_bundle
from fer_edge.model.manifest import MANIFEST_NAME
from fer_edge.system.messages import print_text

CHECKOUT_BUNDLE = Path("models/fer-edge-s")
"""Where a checkout has the bundle with all its variants; the one in the package holds int8 alone."""


def run_accuracy(arguments: argparse.Namespace) -> int:
    """``bench accuracy``."""
    return _bench(arguments, accuracy=True, latency=False)


def run_latency(arguments: argparse.Namespace) -> int:
    """``bench latency``: needs no data set and nothing of the training package."""
    return _bench(arguments, accuracy=False, latency=True)


def run_all(arguments: argparse.Namespace) -> int:
    """``bench`` and ``bench all``: both in one run and one table."""
    return _bench(arguments, accuracy=True, latency=True)


def _bench(arguments: argparse.Namespace, *, accuracy: bool, latency: bool) -> int:
    for path in (arguments.json, arguments.markdown):
        if path is not None and path != output.STDOUT:
            output.check_writable(path)
    with load_bundle(bundle_path(arguments.bundle)) as bundle:
        # What can be refused is refused before minutes are spent: every file is opened and run once.
        variants = runnable_variants(bundle) if accuracy else ()
        for name in variants:
            BundleRunner(bundle, name).close()
        plan = _plan(arguments) if latency else None
        configurations = choose_configurations(bundle, plan) if plan else ()
        dataset, accuracies = _measure_accuracy(bundle, variants, arguments) if accuracy else (None, {})
        rows, machine = measure_latency(bundle, configurations, plan) if plan else ((), None)
        found = BenchmarkReport(
            describe_host(),
            describe_bundle(bundle),
            variant_results(bundle, {*variants, *(row.variant for row in rows)}, accuracies),
            dataset,
            plan.settings if plan else None,
            machine,
            rows,
        )
    deliver(found, arguments)
    return 0


def bundle_path(given: Path | None) -> Path | None:
    """The bundle asked for, else the checkout's, else None: the one in the package."""
    if given is None and (CHECKOUT_BUNDLE / MANIFEST_NAME).is_file():
        return CHECKOUT_BUNDLE
    return given


def _measure_accuracy(
    bundle: ModelBundle, variants: tuple[str, ...], arguments: argparse.Namespace
) -> tuple[DatasetInfo, dict[str, tuple[AccuracyResult, ...]]]:
    # Here, not above: latency runs on a Pi without the training package's readers.
    from fer_bench.accuracy import split_of
    from fer_bench.accuracy.variants import ferplus_votes, measure_accuracy
    from fer_train.dataset import PRIVATE_TEST, PUBLIC_TEST, load_dataset

    require("sklearn")  # before anything is said of the data
    dataset = load_dataset(arguments.data)
    splits = (PUBLIC_TEST, PRIVATE_TEST) if arguments.final else (PUBLIC_TEST,)
    for split in splits:
        split_of(dataset, split)
    votes = ferplus_votes(dataset, arguments.data)
    by_split = [measure_accuracy(bundle, variants, dataset, split, votes) for split in splits]
    accuracies = {name: tuple(found[name] for found in by_split) for name in variants}
    return DatasetInfo(dataset.name, dataset.rows_sha256), accuracies


def _plan(arguments: argparse.Namespace) -> Plan:
    return Plan(
        LatencySettings(arguments.rounds, arguments.runs),
        arguments.engines,
        arguments.threads,
        arguments.tflite_runtime,
        arguments.timeout,
    )


def variant_results(
    bundle: ModelBundle, measured: set[str], accuracies: Mapping[str, tuple[AccuracyResult, ...]] = MappingProxyType({})
) -> tuple[VariantResult, ...]:
    """One for each measured variant, float32 first."""
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
    """What a report says of the bundle."""
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
    """Write the files, then the table; a ``-`` puts that form on standard output instead of the table."""
    shown = render.to_text(found)
    for path, text in ((arguments.json, render.to_json(found)), (arguments.markdown, render.to_markdown(found))):
        if path == output.STDOUT:
            shown = text
        elif path is not None:
            output.write(path, text)
    print_text(shown)
