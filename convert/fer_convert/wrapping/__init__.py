"""Bundles of ``.tflite`` files that exist already (``fer-edge bundle make``)."""
