"""Recorders of frame results: the trace, statistics, annotated video and the live window."""
