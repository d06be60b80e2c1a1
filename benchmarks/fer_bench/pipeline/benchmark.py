"""Start the candidates and show them all scenes."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fer_bench.pipeline.candidates import FER_EDGE, TUTORIAL, TUTORIAL_TFLITE
from fer_bench.pipeline.contact_sheets import ContactSheets
from fer_bench.pipeline.faces import FaceSupply
from fer_bench.pipeline.measure import measure
from fer_bench.pipeline.processes import CandidateProcess, fer_package, own_candidate
from fer_bench.results import REFERENCE
from fer_bench.results.pipeline import PipelineSection, SceneSettings
from fer_bench.runners import default_variant
from fer_edge.model.bundle import ModelBundle

_NO_KERAS = "tutorial: its Keras model.predict was not measured; give a model: --keras MODEL.keras or a run's folder"
_NO_FER = "fer: not measured; give the Python of an environment that has the package: --fer PYTHON"


@dataclass(frozen=True, slots=True)
class Others:
    """The systems that FER-Edge is compared with: the tutorials' loop with the Keras file ``keras`` (None: with a
    ``.tflite`` file), and the ``fer`` package of the interpreter ``fer`` (None: not measured)."""

    keras: Path | None = None
    fer: Path | None = None


def check_pipeline(bundle: ModelBundle, others: Others) -> None:
    """Start and end the candidates, to find out whether they work. Raises FerEdgeError."""
    with ExitStack() as stack:
        _start(stack, bundle, others.keras, others.fer)


def measure_pipeline(
    bundle: ModelBundle, faces: FaceSupply, settings: SceneSettings, others: Others, sheets: Path | None = None
) -> PipelineSection:
    """Start the candidates and show them all scenes in turn. Pictures of the scenes are written to ``sheets``."""
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
    """Start FER-Edge first: the others are compared with the first one."""
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
