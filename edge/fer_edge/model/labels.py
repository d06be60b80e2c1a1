"""FER2013's seven labels in its own order. The manifest of a bundle may name other labels."""

from __future__ import annotations

FER2013_LABELS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Index = the ``emotion`` column of fer2013.csv (Goodfellow et al., 2013, arXiv:1307.0414)."""
