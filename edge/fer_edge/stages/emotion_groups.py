"""Report groups of emotions: ``emotion.groups``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fer_edge.errors import ConfigError
from fer_edge.protocols import Classifier
from fer_edge.system.closing import Closing
from fer_edge.types import UNCERTAIN, EmotionProbabilities, FaceCrop


def grouped_labels(labels: Sequence[str], groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the names under which ``labels`` are reported: the groups, then the labels without one.

    Raises:
        ConfigError: If a group names an emotion that is not in ``labels``, or has the name of another result.

    >>> grouped_labels(("angry", "happy", "surprise"), {"positive": ("happy", "surprise")})
    ('positive', 'angry')
    """
    grouped = {emotion: name for name, emotions in groups.items() for emotion in emotions}
    for emotion, name in grouped.items():
        if emotion not in labels:
            raise ConfigError(
                f"emotion.groups.{name}: the model has no emotion {emotion!r}; its emotions: {', '.join(labels)}"
            )
    single = tuple(label for label in labels if label not in grouped)
    for name in groups:
        if name in single or name == UNCERTAIN:
            raise ConfigError(f"emotion.groups.{name}: faces are reported as {name} already; choose another name")
    return (*groups, *single)


class GroupedClassifier(Closing):
    """A classifier whose labels are groups of the labels of ``classifier``: their probabilities are added.

    Raises:
        ConfigError: As ``grouped_labels``.
    """

    def __init__(self, classifier: Classifier, groups: Mapping[str, Sequence[str]]) -> None:
        self._classifier = classifier
        self.labels = grouped_labels(classifier.labels, groups)
        self.crop_spec = classifier.crop_spec
        self.interpreter = getattr(classifier, "interpreter", None)
        members = [groups.get(label, (label,)) for label in self.labels]
        self._sums = np.array([[label in own for label in classifier.labels] for own in members], dtype=np.float32)

    def classify(self, crop: FaceCrop) -> EmotionProbabilities:
        """Return the probability of each group."""
        return EmotionProbabilities(self._sums @ self._classifier.classify(crop).values)

    def close(self) -> None:
        """Release the model. Idempotent."""
        self._classifier.close()
