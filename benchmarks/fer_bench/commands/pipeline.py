"""``fer-edge bench pipeline``: whole frames, FER-Edge against the tutorials' pipeline and the ``fer`` package."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fer_bench import output
from fer_bench.commands.measure import bundle_path, deliver, describe_bundle, variant_results
from fer_bench.host import describe_host
from fer_bench.pipeline.candidates import FER_EDGE, TUTORIAL, TUTORIAL_TFLITE
from fer_bench.pipeline.contact_sheets import ContactSheets
from fer_bench.pipeline.faces import FaceSupply, open_faces
from fer_bench.pipeline.measure import measure
from fer_bench.pipeline.processes import CandidateProcess, fer_package, own_candidate
from fer_bench.pipeline.scenes import FPS
from fer_bench.results import REFERENCE, BenchmarkReport
from fer_bench.results.pipeline import PipelineSection, SceneSettings
from fer_bench.runners import default_variant
from fer_edge.model.bundle import ModelBundle, load_bundle

_RUN_MODEL = "model.keras"
"""The finished model in the folder of a run of ``fer-edge train``."""
_NO_KERAS = "tutorial: its Keras model.predict was not measured; give a model: --keras MODEL.keras or a run's folder"
_NO_FER = "fer: not measured; give the Python of an environment that has the package: --fer PYTHON"


def run(arguments: argparse.Namespace) -> int:
    """``bench pipeline``; returns the exit code. Raises FerEdgeError."""
    for path in (arguments.json, arguments.markdown):
        if path is not None and path != output.STDOUT:
            output.check_writable(path)
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


@dataclass(frozen=True, slots=True)
class Others:
    """Whom FER-Edge is measured against: the tutorials' loop with the Keras file ``keras`` (None: with a ``.tflite``
    file), and the ``fer`` package of the interpreter ``fer`` (None: not)."""

    keras: Path | None = None
    fer: Path | None = None


def check_pipeline(bundle: ModelBundle, others: Others) -> None:
    """Start the candidates and end them, so that what they refuse is refused. Raises FerEdgeError."""
    with ExitStack() as stack:
        _start(stack, bundle, others.keras, others.fer)


def measure_pipeline(
    bundle: ModelBundle, faces: FaceSupply, settings: SceneSettings, others: Others, sheets: Path | None = None
) -> PipelineSection:
    """Start the candidates, show them all scenes in turn, and end them; pictures of the scenes go into ``sheets``."""
    with ExitStack() as stack:
        candidates = _start(stack, bundle, others.keras, others.fer)
        names = tuple(candidate.name for candidate in candidates)
        drawn = None if sheets is None else ContactSheets(sheets, names)
        return PipelineSection(
            settings=settings,
            face_source=faces.source,
            results=measure(candidates, faces, settings, drawn.write if drawn else lambda turn: None),
            candidates=tuple(candidate.info for candidate in candidates),
            left_out=(
                *((_NO_KERAS,) if others.keras is None else ()),
                *((_NO_FER,) if others.fer is None else ()),
            ),
        )


def _start(stack: ExitStack, bundle: ModelBundle, keras: Path | None, fer: Path | None) -> list[CandidateProcess]:
    """Ours first: the others are compared with it."""
    variant = default_variant(bundle)
    started = [stack.enter_context(own_candidate(FER_EDGE, bundle.folder, variant))]
    if keras is not None:
        started.append(stack.enter_context(own_candidate(TUTORIAL, bundle.folder, variant, keras)))
    else:
        in_float = REFERENCE if REFERENCE in bundle.manifest.variants else variant
        started.append(stack.enter_context(own_candidate(TUTORIAL_TFLITE, bundle.folder, in_float)))
    if fer is not None:
        started.append(stack.enter_context(fer_package(fer)))
    return started


def _keras_model(given: Path | None) -> Path | None:
    """The .keras file that is meant: itself, or the one in a run's folder. Raises InputError, ModelError."""
    if given is None:
        return None
    # Here, not above: it belongs to the training package, which a device has no use for.
    from fer_train.backend import check_model_file

    path = given / _RUN_MODEL if given.is_dir() else given
    check_model_file(path)
    return path
