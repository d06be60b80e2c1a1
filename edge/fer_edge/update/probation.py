"""Whether a version in use proves itself: it must not hang, nor make frames slower than allowed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from statistics import median

from fer_edge.protocols import Classifier
from fer_edge.settings.update import UpdateSettings
from fer_edge.types import EmotionProbabilities, FaceCrop, UInt8Array
from fer_edge.update.state import Comparison

MAX_CLASSIFY_S = 20.0
"""Seconds after which a classification is considered to hang; it takes milliseconds."""
MIN_CROPS = 30
"""Classifications before a judgement: the first ones of a process are slow."""
_KEPT_TIMES = 500


class WatchedClassifier:
    """A classifier that records how long it takes. ``offer`` is called with the pixels of each crop, if it is set."""

    def __init__(self, inner: Classifier) -> None:
        self._inner = inner
        self.labels, self.crop_spec = inner.labels, inner.crop_spec
        self.interpreter = getattr(inner, "interpreter", None)
        self.offer: Callable[[UInt8Array], None] | None = None
        self.crops = 0
        self.times_ms: deque[float] = deque(maxlen=_KEPT_TIMES)
        self._began_at: float | None = None

    def classify(self, crop: FaceCrop) -> EmotionProbabilities:
        """Return the probabilities of the labels for ``crop``."""
        start = self._began_at = time.monotonic()
        result = self._inner.classify(crop)
        self._began_at = None
        self.times_ms.append(1000 * (time.monotonic() - start))
        self.crops += 1
        if (offer := self.offer) is not None:
            offer(crop.pixels)
        return result

    def close(self) -> None:
        """Release the model. Idempotent."""
        self._inner.close()

    def busy_s(self, now: float) -> float:
        """Return for how many seconds a classification has been running."""
        began_at = self._began_at
        return 0.0 if began_at is None else now - began_at


class Watch:
    """The classifiers of all sources, each used in its own thread. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._classifiers: list[WatchedClassifier] = []
        self._offer: Callable[[UInt8Array], None] | None = None

    def add(self, classifier: Classifier) -> WatchedClassifier:
        """Return ``classifier``, watched."""
        watched = WatchedClassifier(classifier)
        with self._lock:
            watched.offer = self._offer
            self._classifiers.append(watched)
        return watched

    def offer_to(self, offer: Callable[[UInt8Array], None] | None) -> None:
        """Pass crops to ``offer`` from now on."""
        with self._lock:
            self._offer = offer
            for classifier in self._classifiers:
                classifier.offer = offer

    @property
    def crops(self) -> int:
        """Number of crops that were classified."""
        return sum(classifier.crops for classifier in self._all())

    def hangs(self, now: float) -> bool:
        """Return whether a classification does not return."""
        return any(classifier.busy_s(now) > MAX_CLASSIFY_S for classifier in self._all())

    def median_ms(self) -> float:
        """Return the median time of a classification, milliseconds; 0 before the first."""
        times = [value for classifier in self._all() for value in classifier.times_ms.copy()]
        return median(times) if times else 0.0

    def _all(self) -> list[WatchedClassifier]:
        with self._lock:
            return list(self._classifiers)


def frame_time_ratio(frame_ms: float, old_ms: float, new_ms: float) -> float:
    """Return how much longer a frame of ``frame_ms`` with the new model takes than with the old one.

    A frame's time depends on the scene more than on the model, so that times of different hours cannot be compared.
    The frame without the change is the same frame with the other model's time of a classification.

    >>> round(frame_time_ratio(30.0, old_ms=1.0, new_ms=3.0), 2), frame_time_ratio(30.0, old_ms=1.0, new_ms=16.0)
    (1.07, 2.0)
    """
    frame_ms = max(frame_ms, new_ms)
    before_ms = frame_ms - new_ms + old_ms
    return frame_ms / before_ms if before_ms > 0 else 1.0


def too_slow(settings: UpdateSettings, compared: Comparison | None, frame_ms: float, new_ms: float) -> str | None:
    """Return why the version is too slow; None if it is not, or nothing is known of the other one."""
    if compared is None or compared.old_ms <= 0 or new_ms <= 0:
        return None
    ratio = frame_time_ratio(frame_ms, compared.old_ms, new_ms)
    if ratio <= settings.max_frame_time_ratio:
        return None
    return (
        f"a frame takes {ratio:.2f} times as long as with the previous version, at most"
        f" {settings.max_frame_time_ratio:g} is allowed (a classification {new_ms:.1f} ms, before"
        f" {compared.old_ms:.1f} ms)"
    )
