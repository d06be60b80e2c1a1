"""Recorders of frame results: the trace, statistics, and annotated video."""
