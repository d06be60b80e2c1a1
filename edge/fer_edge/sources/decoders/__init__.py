"""Decoders of films and streams: OpenCV's FFmpeg, and PyAV where it is installed."""
