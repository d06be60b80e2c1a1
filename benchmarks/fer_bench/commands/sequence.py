"""``fer-edge bench sequence``: compare FER-Edge on moving faces with a full search of every frame."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from fer_bench import output
from fer_bench.accuracy import split_of
from fer_bench.accuracy.variants import ferplus_votes
from fer_bench.commands.delivery import bundle_path, check_outputs, deliver, describe_bundle, variant_results
from fer_bench.commands.scene_arguments import QUICK_SECONDS
from fer_bench.extras import require
from fer_bench.host import describe_host
from fer_bench.pipeline.scenes import FPS
from fer_bench.report.page import write_charts
from fer_bench.results import BenchmarkReport, load_report, report_to_json
from fer_bench.results.sequence import SequenceSettings
from fer_bench.runners import default_variant
from fer_bench.sequence.benchmark import code_sha256, measure_sequences, systems_of
from fer_bench.sequence.cast import Cast
from fer_bench.sequence.scenes import KINDS
from fer_edge.errors import InputError
from fer_edge.model.bundle import load_bundle
from fer_edge.settings.base import to_table
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from fer_edge.settings.toml_files import dump_toml
from fer_edge.stages.detection.yunet_model import read_model
from fer_edge.system.opencv_setup import set_up_opencv
from fer_train.data.dataset import PRIVATE_TEST, PUBLIC_TEST, load_dataset

_WIDTH, _HEIGHT = 640, 480
_NAME = "sequence"
"""Name of the files in --out."""


def run(arguments: argparse.Namespace) -> int:
    """Run ``bench sequence`` and return the exit code."""
    if arguments.quick:
        arguments.seconds, arguments.no_costs = min(arguments.seconds, QUICK_SECONDS), True
    check_outputs(arguments)
    if arguments.out is not None:
        output.check_folder(arguments.out)
        require("matplotlib")  # before the measurement, which takes minutes
    runtime = load_settings(arguments.config, environment={})  # the environment must not change a benchmark
    settings = SequenceSettings(
        _kinds(arguments.kinds),
        _WIDTH,
        _HEIGHT,
        round(arguments.seconds * FPS),
        FPS,
        arguments.rounds,
        arguments.baseline_every,
        _fingerprint(runtime),
        None if arguments.yunet is None else read_model(arguments.yunet).sha256,
    )
    if arguments.final:
        _check_was_measured(arguments.public, settings)
    dataset = load_dataset(arguments.data)
    split = PRIVATE_TEST if arguments.final else PUBLIC_TEST
    split_of(dataset, split)
    votes = ferplus_votes(dataset, arguments.data)
    cast = Cast(dataset, split, None if votes is None else votes[split])
    set_up_opencv()
    with load_bundle(bundle_path(arguments.bundle)) as bundle:
        systems = systems_of(bundle, settings, runtime, arguments.yunet)
        section = measure_sequences(bundle, cast, settings, systems, costs=not arguments.no_costs)
        variant = default_variant(bundle)
        found = BenchmarkReport(
            describe_host(), describe_bundle(bundle), variant_results(bundle, {variant}), sequence=section
        )
    if arguments.out is not None:
        output.write(arguments.out / f"{_NAME}.json", report_to_json(found))
        output.write(arguments.out / f"{_NAME}.md", write_charts([found], arguments.out))
    deliver(found, arguments)
    return 0


def _fingerprint(runtime: RuntimeSettings) -> str | None:
    if runtime == RuntimeSettings():
        return None
    return hashlib.sha256(dump_toml(to_table(runtime)).encode()).hexdigest()


def _check_was_measured(public: Path | None, settings: SequenceSettings) -> None:
    """Refuse PrivateTest unless ``public``, a report on PublicTest, is of the same code and settings.

    Otherwise the schedule could be tuned on PrivateTest.
    """
    if public is None:
        raise InputError(f"--final shows {PRIVATE_TEST}: give --public FILE, the report of this code on {PUBLIC_TEST}")
    section = load_report(public).sequence
    if section is None or section.cast.split != PUBLIC_TEST:
        raise InputError(f"{public}: not a report of bench sequence on {PUBLIC_TEST}")
    if section.code_sha256 != code_sha256():
        raise InputError(
            f"{public}: the runtime's code has changed since: measure {PUBLIC_TEST} again, without --final"
        )
    if (section.settings.config, section.settings.kinds) != (settings.config, settings.kinds):
        raise InputError(f"{public}: is of other settings or kinds: measure {PUBLIC_TEST} again, without --final")


def _kinds(given: list[str] | None) -> tuple[str, ...]:
    names = [kind.name for kind in KINDS]
    for name in given or ():
        if name not in names:
            raise InputError(f"--kinds: no kind of sequence called {name!r}; there are {', '.join(names)}")
    return tuple(name for name in names if not given or name in given)
