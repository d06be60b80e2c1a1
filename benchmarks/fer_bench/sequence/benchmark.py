"""Show all sequences to all systems, and hash the code that was measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

import fer_edge
from fer_bench.results.sequence import (
    FER_EDGE_YUNET,
    FULL_SEARCHES,
    FULL_YUNET,
    CastInfo,
    SequenceSection,
    SequenceSettings,
)
from fer_bench.runners import default_variant
from fer_bench.sequence.cast import Cast
from fer_bench.sequence.costs import measure_costs
from fer_bench.sequence.measure import measure, sequences
from fer_bench.sequence.systems import FerEdge, FullSearch, System, haar_search, yunet_search
from fer_bench.sequence.truth import CleanView, rows_of
from fer_edge.model.bundle import ModelBundle
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.classification import EmotionClassifier


def measure_sequences(
    bundle: ModelBundle, cast: Cast, settings: SequenceSettings, systems: Sequence[System], *, costs: bool
) -> SequenceSection:
    """Show all sequences to ``systems``, of which FER-Edge is the first. Raises ModelError.

    With ``costs``, also measure processor time by frame size and number of faces.
    """
    with EmotionClassifier(bundle, default_variant(bundle)) as classifier:
        clean = CleanView(cast, classifier)
        results, stages = measure(systems, settings, cast, clean)
        rows = {row for sequence in sequences(settings, cast) for row in rows_of(sequence.parts)}
        findable, shown = clean.share_found(rows)
        cells = measure_costs(systems) if costs else ()
    return SequenceSection(
        settings,
        CastInfo(
            cast.name, cast.split, cast.rows_sha256, cast.by_votes, cast.left_out, cast.candidates, shown, findable
        ),
        results,
        stages,
        cells,
        code_sha256(),
    )


def systems_of(
    bundle: ModelBundle, settings: SequenceSettings, runtime: RuntimeSettings, yunet: Path | None
) -> list[System]:
    """Return FER-Edge, the full searches that ``settings`` ask for, and both with the model file ``yunet`` if given."""
    variant = default_variant(bundle)
    systems: list[System] = [FerEdge(bundle, variant, runtime)]
    if yunet is not None:
        detector = structs.replace(runtime.detector, kind="yunet", model=str(yunet))
        systems.append(FerEdge(bundle, variant, structs.replace(runtime, detector=detector), FER_EDGE_YUNET))
    if settings.baseline_every:
        systems += [FullSearch(name, haar_search(factor), bundle, variant) for name, factor in FULL_SEARCHES.items()]
        if yunet is not None:
            systems.append(FullSearch(FULL_YUNET, yunet_search(yunet), bundle, variant))
    return systems


def code_sha256() -> str:
    """Return the hash of the code that decides what is detected: the stages, the pipeline and their settings."""
    package = Path(fer_edge.__file__).parent
    files = [*sorted((package / "stages").rglob("*.py")), package / "pipeline.py", package / "settings" / "pipeline.py"]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
