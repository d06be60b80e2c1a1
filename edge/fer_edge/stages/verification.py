"""Verify that what is tracked is a face: a second opinion by a small network, which sees other things than a cascade.

The network reads a crop as face or clutter. For each track its answers add up to log-odds: the track is reported once
they speak for a face, and ends when they speak against one. The result depends on the frames alone, not on the load.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.errors import ModelError
from fer_edge.images.resample import cut_out
from fer_edge.model.bundle import load_bundle
from fer_edge.model.interpreter import AUTO, LiteRtModel
from fer_edge.protocols import FaceLikelihood
from fer_edge.system.closing import Closing
from fer_edge.types import Box, CropSpec, Face, Track, UInt8Array

MODEL = Path(__file__).parents[1] / "model" / "face_check"
"""The network's bundle: ``train/configs/face-check.toml`` is its recipe."""
CROP = CropSpec(24, 24, margin=0.9)
"""The network's input. Less than the whole box, so that what surrounds a face has no say."""
LABELS = ("clutter", "face")
MAX_READING = 4.0
"""Bound of one reading's log-odds: a single crop cannot end a track that has been in sight for long."""
PRIOR = -2.0
"""Added to each reading. The readings of one ghost are alike: small positive ones must not add up to a proof. Of real
faces 99 % read more than 2 (PublicTest's sequences); a cartoon of a face read 0.2 to 3.9."""
SURE = 4.0
"""A reading from which one hit of the detector is enough: the track does not wait for ``tracking.confirm_hits``."""
MAX_EVIDENCE = 6.0
"""Bound of a track's log-odds: a face that turns into a ghost is dropped after a few readings."""
PROVEN, REJECTED = 1.5, -3.0
"""Log-odds above which a track is a face, and at which it ends."""
PROBATION = 6
"""Readings after which a track that is not proven ends: each frame of waiting costs a search of the cascade."""
MIN_OVERLAP = 0.25
"""Intersection over union of a hit with its track's last box below which the track has jumped: maybe onto a ghost."""
READ_EVERY_S, DOUBT_EVERY_S = 0.5, 0.4
"""Seconds between two readings of a face that is sure or followed by its appearance, and after a doubtful reading."""


class FaceCheck(Closing):
    """The network that comes with the package. Not for use by two threads at once."""

    def __init__(self, interpreter: str = AUTO, folder: Path = MODEL) -> None:
        """Load the bundle in ``folder``.

        Raises:
            ModelError: if a file is missing or damaged, or if no interpreter works here.
        """
        with load_bundle(folder) as bundle:
            manifest, variant = bundle.manifest, bundle.variant("int8")
            self._model = LiteRtModel(variant.path, interpreter=interpreter)
        taken = self._model.input_details
        if manifest.labels != LABELS or (taken.dtype, taken.shape) != ("uint8", (1, CROP.height, CROP.width, 1)):
            raise ModelError(f"{folder}: not the face check of this version: install fer-edge again")
        self._output, self._temperature = variant.io.output, manifest.temperature

    def read(self, gray: UInt8Array, face: Face) -> float:
        """Return the log-odds (natural logarithm) that ``face`` in ``gray``, uint8 [H, W], is a face.

        They are minus infinity for a box that is empty or wholly outside the picture.
        """
        box = face.box.grown(CROP.margin)
        if box.clipped(gray.shape[1], gray.shape[0]).area == 0:
            return -math.inf
        pixels = cut_out(gray, box, CROP.height, CROP.width)
        logits = self._output.dequantize(self._model.invoke(pixels[np.newaxis, :, :, np.newaxis]))[0]
        return float(logits[1] - logits[0]) / self._temperature

    def close(self) -> None:
        """Release the model. Idempotent."""
        self._model.close()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ids of the tracks that are not proven yet (``doubted``), that end (``rejected``), and that need no other hit of
    the detector (``sure``)."""

    doubted: frozenset[int] = frozenset()
    rejected: frozenset[int] = frozenset()
    sure: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Evidence:
    """What the readings of one track, whose box was ``box``, add up to; ``newest`` is what the last one added."""

    box: Box
    log_odds: float = 0.0
    newest: float = 0.0
    readings: int = 0
    proven: bool = False
    jumped: bool = False
    read_at: float = -math.inf

    @property
    def rejected(self) -> bool:
        return self.log_odds <= REJECTED or (not self.proven and self.readings >= PROBATION)

    def due(self, track: Track, now: float) -> bool:
        waited = now - self.read_at >= (READ_EVERY_S if self.newest > 0 else DOUBT_EVERY_S)
        # A face that the detector has lost is somewhere else if its template matches the background.
        return (track.found and (waited or self.log_odds < MAX_EVIDENCE)) or (track.matched and (waited or track.lost))

    def jump(self) -> None:
        """The box is where it was not. A fast face does that as well: it stays proven until a reading is negative."""
        self.log_odds, self.readings, self.jumped = 0.0, 0, True

    def add(self, reading: float, now: float) -> None:
        self.newest = reading
        added = min(max(reading + PRIOR, -MAX_READING), MAX_READING)
        self.log_odds = min(max(self.log_odds + added, -MAX_EVIDENCE), MAX_EVIDENCE)
        self.readings += 1
        self.read_at = now
        if self.log_odds > PROVEN:
            self.proven, self.jumped = True, False
        elif self.jumped and reading < 0:
            self.proven = False


class TrackVerifier:
    """Keep the evidence for the tracks of one source."""

    def __init__(self, check: FaceLikelihood) -> None:
        self._check = check
        self._known: dict[int, _Evidence] = {}

    def judge(self, gray: UInt8Array, tracks: Sequence[Track], now: float) -> Verdict:
        """Read those of ``tracks`` that are due at ``now`` in the frame ``gray``, uint8 [H, W], and judge all of them.

        Each hit of the detector is read unless the track is sure, a face that is followed by its appearance every
        ``READ_EVERY_S``, and both sooner after a doubtful reading. A track that jumps has to be proven again.
        """
        self._known = {track.track_id: self._known.get(track.track_id) or _Evidence(track.box) for track in tracks}
        for track in tracks:
            evidence = self._known[track.track_id]
            if track.found and track.face is not None and track.face.box.iou(evidence.box) < MIN_OVERLAP:
                evidence.jump()
            evidence.box = track.box
            if track.face is not None and evidence.due(track, now):
                evidence.add(self._check.read(gray, track.face), now)
        known = self._known.items()
        return Verdict(
            doubted=frozenset(track_id for track_id, evidence in known if not evidence.proven),
            rejected=frozenset(track_id for track_id, evidence in known if evidence.rejected),
            sure=frozenset(track_id for track_id, evidence in known if evidence.newest >= SURE),
        )
