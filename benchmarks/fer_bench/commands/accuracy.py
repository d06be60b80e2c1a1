"""``fer-edge bench accuracy``: accuracy and agreement of a bundle's variants."""

from __future__ import annotations

import argparse
import functools

from fer_bench.accuracy import split_of
from fer_bench.accuracy.groups import read_groups
from fer_bench.accuracy.variants import Further, OpenVariant, ferplus_votes, measure_accuracy
from fer_bench.commands.delivery import bundle_path, check_outputs, deliver, describe_bundle, variant_results
from fer_bench.commands.remote import open_device
from fer_bench.extras import require
from fer_bench.host import describe_host
from fer_bench.remote import measure as remote
from fer_bench.results import AccuracyResult, BenchmarkReport, DatasetInfo
from fer_bench.runners import BundleRunner, runnable_variants
from fer_edge.model.bundle import ModelBundle, load_bundle
from fer_train.data.dataset import PRIVATE_TEST, PUBLIC_TEST, load_dataset


def run(arguments: argparse.Namespace) -> int:
    """Run ``bench accuracy`` and return the exit code."""
    check_outputs(arguments)
    with load_bundle(bundle_path(arguments.bundle)) as bundle:
        if arguments.on is not None:
            found = _run_on_device(bundle, arguments)
            deliver(found, arguments)
            return 0
        variants = working_variants(bundle)
        dataset, accuracies = measure(bundle, variants, arguments)
        found = BenchmarkReport(
            describe_host(), describe_bundle(bundle), variant_results(bundle, set(variants), accuracies), dataset
        )
    deliver(found, arguments)
    return 0


def _run_on_device(bundle: ModelBundle, arguments: argparse.Namespace) -> BenchmarkReport:
    with open_device(arguments) as device:
        variants = remote.working_variants(device, bundle)
        open_variant = functools.partial(remote.RemoteRunner, device)
        dataset, accuracies = measure(bundle, variants, arguments, open_variant)
        host = remote.RemoteMachine(device, bundle).describe()
    return BenchmarkReport(host, describe_bundle(bundle), variant_results(bundle, set(variants), accuracies), dataset)


def working_variants(bundle: ModelBundle) -> tuple[str, ...]:
    """Return the variants that can be run here. Each is opened once, so that a broken one is refused at once."""
    variants = runnable_variants(bundle)
    for name in variants:
        BundleRunner(bundle, name).close()
    return variants


def measure(
    bundle: ModelBundle,
    variants: tuple[str, ...],
    arguments: argparse.Namespace,
    open_variant: OpenVariant = BundleRunner,
) -> tuple[DatasetInfo, dict[str, tuple[AccuracyResult, ...]]]:
    """Return the data set and, for each variant, its accuracy on each split."""
    require("sklearn")  # before messages about the data
    dataset = load_dataset(arguments.data)
    splits = (PUBLIC_TEST, PRIVATE_TEST) if arguments.final else (PUBLIC_TEST,)
    for split in splits:
        split_of(dataset, split)
    groups = None if arguments.groups is None else read_groups(arguments.groups, dataset)
    further = Further(ferplus_votes(dataset, arguments.data), groups, arguments.views)
    by_split = [measure_accuracy(bundle, variants, dataset, split, further, open_variant) for split in splits]
    accuracies = {name: tuple(found[name] for found in by_split) for name in variants}
    return DatasetInfo(dataset.name, dataset.rows_sha256), accuracies
