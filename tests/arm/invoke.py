"""Run a variant ``N`` times on one image; executed under emulation: ``invoke.py BUNDLE VARIANT N``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fer_edge.model.bundle import load_bundle
from fer_edge.model.interpreter import LiteRtModel

model = LiteRtModel(load_bundle(Path(sys.argv[1])).variant(sys.argv[2]).path)
image = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 1)).astype(model.input_details.dtype)
for _ in range(int(sys.argv[3])):
    model.invoke(image)
