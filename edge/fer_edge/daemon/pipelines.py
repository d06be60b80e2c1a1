"""The pipelines of a session, one for each source."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import structs

from fer_edge.model.bundle import ModelBundle
from fer_edge.pipeline import Pipeline, SourceRun
from fer_edge.protocols import Classifier, FrameSource
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sources import NamedSource
from fer_edge.status import StatusBoard
from fer_edge.telemetry import Telemetry
from fer_edge.types import RuntimeStatus


class Pipelines:
    """Loads a pipeline for each source, since each runs in its own thread. Safe to call from any thread.

    ``bundle`` is None if faces are not classified. ``watch``, if it is set, replaces each classifier that is loaded.
    """

    def __init__(
        self, settings: RuntimeSettings, sources: Sequence[NamedSource], bundle: ModelBundle | None, board: StatusBoard
    ) -> None:
        self._bundle, self._board = bundle, board
        self.watch: Callable[[Classifier], Classifier] | None = None
        self._settings = {source.name: structs.replace(settings, source=source.settings) for source in sources}
        self._made: dict[str, tuple[Pipeline, Telemetry]] = {}

    def load(self, name: str) -> tuple[Pipeline, Telemetry]:
        """Load the pipeline for the source ``name``, if it is not loaded yet.

        Raises:
            ModelError: If the bundle or the detector is refused.
        """
        if name not in self._made:
            telemetry = Telemetry()
            pipeline = Pipeline.from_bundle(self._bundle, self._settings[name])
            if self.watch is not None and pipeline.classifier is not None:
                pipeline.classifier = self.watch(pipeline.classifier)
            self._made[name] = pipeline, telemetry
            self._board.watch_runtime(name, telemetry.snapshot)
        return self._made[name]

    def open(self, name: str, source: FrameSource) -> SourceRun:
        """Return a run over ``source``, loading the pipeline if necessary. Raises as ``load``."""
        pipeline, telemetry = self.load(name)
        return pipeline.open(source, telemetry=telemetry)

    def scale_budget(self, share: float) -> None:
        """Limit all pipelines to ``share``, 0..1, of their search budget."""
        for pipeline, _ in list(self._made.values()):
            pipeline.budget_share = share

    def statuses(self) -> dict[str, RuntimeStatus]:
        """Return the counts and times so far by source name, in the order of the sources."""
        names = [name for name in self._settings if name in self._made]
        return {name: self._made[name][1].snapshot() for name in names}
