"""The interpreter of this environment: LiteRT, or only tflite-runtime in one of ``make test-locks``."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from fer_edge.model.interpreter import LITERT, TFLITE_RUNTIME

HERE = LITERT if find_spec("ai_edge_litert") else TFLITE_RUNTIME

checks_files = pytest.mark.skipif(
    HERE == TFLITE_RUNTIME, reason="tflite-runtime does not check a file, and dies of a damaged one"
)
