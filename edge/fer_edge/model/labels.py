"""FER2013's seven labels in their own order; a bundle's manifest may name others."""

from __future__ import annotations

FER2013_LABELS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Index = the ``emotion`` column of fer2013.csv (Goodfellow et al., 2013, arXiv:1307.0414)."""
