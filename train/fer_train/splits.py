"""Names of the splits of a data set."""

from __future__ import annotations

TRAINING, PUBLIC_TEST, PRIVATE_TEST = SPLIT_NAMES = ("Training", "PublicTest", "PrivateTest")
"""The ``Usage`` values of fer2013.csv. PublicTest is for every choice, PrivateTest for reports only."""
OWN_SPLIT_NAMES = ("train", "validation", "test")
"""The names of the same splits in other data than FER2013."""
