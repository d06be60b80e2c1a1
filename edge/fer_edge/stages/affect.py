"""Valence and arousal, derived from the probabilities of the emotions: ``emotion.valence_arousal``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fer_edge.errors import ConfigError
from fer_edge.types import EmotionProbabilities

_AFFECT = {
    "angry": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "happy": (0.81, 0.51),
    "sad": (-0.63, -0.27),
    "surprise": (0.40, 0.67),
    "neutral": (0.0, 0.0),
}
"""Valence (pleasure) and arousal of each emotion, -1..1: the means for angry, disgusted, fearful, happy, sad and
surprised in Russell and Mehrabian, "Evidence for a three-factor theory of emotions", Journal of Research in Personality
11 (1977), table 1. Neutral is the origin by definition."""


class AffectReader:
    """The mean valence and arousal of a face's probabilities.

    Raises:
        ConfigError: If the values of a label are not known.

    >>> reader = AffectReader(("happy", "neutral"))
    >>> reader.read(EmotionProbabilities(np.array([0.5, 0.5], np.float32)))
    (0.405, 0.255)
    """

    def __init__(self, labels: Sequence[str]) -> None:
        unknown = [label for label in labels if label not in _AFFECT]
        if unknown:
            raise ConfigError(
                f"emotion.valence_arousal: the model has the emotion {unknown[0]!r}, whose valence and arousal are not"
                f" known; known are {', '.join(_AFFECT)}"
            )
        self._values = np.array([_AFFECT[label] for label in labels], dtype=np.float64)

    def read(self, probabilities: EmotionProbabilities) -> tuple[float, float]:
        """Return valence and arousal, -1..1, rounded to thousandths."""
        valence, arousal = probabilities.values.astype(np.float64) @ self._values
        return round(float(valence), 3), round(float(arousal), 3)
