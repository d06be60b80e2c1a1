"""``fer-edge bench pipeline``: compare FER-Edge with the tutorials' pipeline and the ``fer`` package."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_bench import output
from fer_bench.commands.delivery import bundle_path, check_outputs, deliver, describe_bundle, variant_results
from fer_bench.host import describe_host
from fer_bench.pipeline.benchmark import Others, measure_pipeline
from fer_bench.pipeline.faces import open_faces
from fer_bench.pipeline.scenes import FPS
from fer_bench.results import REFERENCE, BenchmarkReport
from fer_bench.results.pipeline import SceneSettings
from fer_bench.runners import default_variant
from fer_edge.model.bundle import load_bundle

_RUN_MODEL = "model.keras"
"""The model in the folder of a finished run of ``fer-edge train``."""


def run(arguments: argparse.Namespace) -> int:
    """Run ``bench pipeline`` and return the exit code."""
    check_outputs(arguments)
    if arguments.save_scenes is not None:
        output.check_folder(arguments.save_scenes)
    settings = SceneSettings(
        tuple(dict.fromkeys(arguments.sizes)),
        tuple(dict.fromkeys(arguments.faces)),
        arguments.frames,
        arguments.rounds,
        FPS,
    )
    others = Others(_keras_model(arguments.keras), arguments.fer)
    faces = open_faces(arguments.data)
    with load_bundle(bundle_path(arguments.bundle)) as bundle:
        section = measure_pipeline(bundle, faces, settings, others, arguments.save_scenes)
        variants = {default_variant(bundle), *((REFERENCE,) if REFERENCE in bundle.manifest.variants else ())}
        found = BenchmarkReport(
            describe_host(), describe_bundle(bundle), variant_results(bundle, variants), pipeline=section
        )
    deliver(found, arguments)
    return 0


def _keras_model(given: Path | None) -> Path | None:
    """Return ``given``, or the .keras file in it if it is the folder of a run. Raises InputError, ModelError."""
    if given is None:
        return None
    # Imported here: a device does not need the training package.
    from fer_train.networks.model_files import check_model_file

    path = given / _RUN_MODEL if given.is_dir() else given
    check_model_file(path)
    return path
