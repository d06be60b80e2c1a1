"""Verify that a track is a face with a small network, which makes other mistakes than the cascade.

The network classifies crops as face or clutter. The log-odds of its readings are summed for each track: the track is
reported once the sum is above a threshold, and ends when it falls below another. The result depends only on the frames,
not on the load of the machine.
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
from fer_edge.model.trial import try_variant
from fer_edge.protocols import FaceLikelihood
from fer_edge.system.closing import Closing
from fer_edge.types import Box, CropSpec, Face, Track, UInt8Array

BUNDLE_FOLDER = Path(__file__).parents[1] / "model" / "face_check"
"""Bundle of the network, trained with ``train/configs/face-check.toml``."""
CROP = CropSpec(24, 24, margin=0.9)
"""Input of the network. It shows less than the whole box, so that the surroundings of a face have no influence."""
LABELS = ("clutter", "face")
MAX_READING = 4.0
"""Bound of the log-odds of one reading: a single crop cannot end a well-established track."""
READING_BIAS = -2.0
"""Added to each reading. The readings of a false detection resemble each other, so small positive ones must not add up
to a proof. 99 % of real faces have readings above 2 (sequences of PublicTest); a cartoon face had 0.2 to 3.9."""
SURE_READING = 4.0
"""Reading from which a single detection confirms a track, without waiting for ``tracking.min_hits``."""
MAX_EVIDENCE = 6.0
"""Bound of a track's log-odds: a track that moves from a face to clutter ends after a few readings."""
PROVEN_LOG_ODDS, REJECTED_LOG_ODDS = 1.5, -3.0
"""Log-odds above which a track is a face, and at or below which it ends."""
MAX_UNPROVEN_READINGS = 6
"""Readings after which an unproven track ends: it costs one search of the cascade per frame."""
MIN_TRACK_IOU = 0.25
"""IoU of a detection with its track's last box below which the track has jumped, possibly to a false detection."""
READ_INTERVAL_S, DOUBT_INTERVAL_S = 0.5, 0.4
"""Seconds between two readings of a proven or matched face, and after a negative reading."""


class FaceCheck(Closing):
    """Face verification by the network in the package. Not thread-safe."""

    def __init__(self, interpreter: str = AUTO, folder: Path = BUNDLE_FOLDER) -> None:
        """Load the bundle in ``folder``.

        Raises:
            ModelError: If a file is missing or damaged, the model fails ``try_variant``, or no interpreter is usable.
        """
        with load_bundle(folder) as bundle:
            manifest, variant = bundle.manifest, bundle.variant("int8")
            try_variant(variant, interpreter)  # a new version of the interpreter could crash on it
            self._model = LiteRtModel(variant.path, interpreter=interpreter)
        tensor = self._model.input_details
        if manifest.labels != LABELS or (tensor.dtype, tensor.shape) != ("uint8", (1, CROP.height, CROP.width, 1)):
            raise ModelError(f"{folder}: not the face check of this version; reinstall fer-edge")
        self._output, self._temperature = variant.io.output, manifest.temperature

    def read(self, gray: UInt8Array, face: Face) -> float:
        """Return the log-odds (natural logarithm) that ``face`` in ``gray``, uint8 [H, W], is a face.

        They are minus infinity for a box that is empty or completely outside the image.
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
    """The result of verification.

    Attributes:
        doubted: Ids of the tracks that are not proven yet.
        rejected: Ids of the tracks to end.
        sure: Ids of the tracks that need no further detection to be confirmed.
    """

    doubted: frozenset[int] = frozenset()
    rejected: frozenset[int] = frozenset()
    sure: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Evidence:
    """The evidence for one track: its last ``box``, the sum of its readings, and the ``newest`` reading."""

    box: Box
    log_odds: float = 0.0
    newest: float = 0.0
    readings: int = 0
    proven: bool = False
    jumped: bool = False
    read_at: float = -math.inf

    @property
    def rejected(self) -> bool:
        return self.log_odds <= REJECTED_LOG_ODDS or (not self.proven and self.readings >= MAX_UNPROVEN_READINGS)

    def due(self, track: Track, now: float) -> bool:
        waited = now - self.read_at >= (READ_INTERVAL_S if self.newest > 0 else DOUBT_INTERVAL_S)
        # A track lost by the detector may have a template that matches the background.
        return (track.found and (waited or self.log_odds < MAX_EVIDENCE)) or (track.matched and (waited or track.lost))

    def jump(self) -> None:
        """Restart the evidence after a jump of the box. Fast faces jump, too, so a proven track is not doubted yet."""
        self.log_odds, self.readings, self.jumped = 0.0, 0, True

    def add(self, reading: float, now: float) -> None:
        self.newest = reading
        added = min(max(reading + READING_BIAS, -MAX_READING), MAX_READING)
        self.log_odds = min(max(self.log_odds + added, -MAX_EVIDENCE), MAX_EVIDENCE)
        self.readings += 1
        self.read_at = now
        if self.log_odds > PROVEN_LOG_ODDS:
            self.proven, self.jumped = True, False
        elif self.jumped and reading < 0:
            self.proven = False


class TrackVerifier:
    """Verify the tracks of one source."""

    def __init__(self, check: FaceLikelihood) -> None:
        self._check = check
        self._known: dict[int, _Evidence] = {}

    def judge(self, gray: UInt8Array, tracks: Sequence[Track], now: float) -> Verdict:
        """Read the tracks that are due in one frame, and judge all of them.

        Every detection is read until the evidence is at its maximum; after that, as well as for matched tracks, every
        ``READ_INTERVAL_S``, or ``DOUBT_INTERVAL_S`` after a negative reading. Matched tracks that the detector lost are
        read in every frame. A track whose box jumps has to be proven again.

        Args:
            gray: The frame, uint8 [H, W].
            tracks: All tracks of the source.
            now: Time of the frame, seconds.
        """
        self._known = {track.track_id: self._known.get(track.track_id) or _Evidence(track.box) for track in tracks}
        for track in tracks:
            evidence = self._known[track.track_id]
            if track.found and track.face is not None and track.face.box.iou(evidence.box) < MIN_TRACK_IOU:
                evidence.jump()
            evidence.box = track.box
            if track.face is not None and evidence.due(track, now):
                evidence.add(self._check.read(gray, track.face), now)
        known = self._known.items()
        return Verdict(
            doubted=frozenset(track_id for track_id, evidence in known if not evidence.proven),
            rejected=frozenset(track_id for track_id, evidence in known if evidence.rejected),
            sure=frozenset(track_id for track_id, evidence in known if evidence.newest >= SURE_READING),
        )
