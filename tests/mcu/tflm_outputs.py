"""Run in an environment with the package tflite-micro: python tflm_outputs.py MODEL INPUTS.npy OUTPUTS.npy"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tflite_micro.python.tflite_micro import runtime


def main(model: str, inputs: str, outputs: str) -> None:
    """Write the int8 outputs [N, labels] for the inputs [N, height, width], stored as the model takes them."""
    interpreter = runtime.Interpreter.from_bytes(Path(model).read_bytes(), arena_size=1 << 20)
    found = []
    for stored in np.load(inputs):
        interpreter.set_input(stored[np.newaxis, :, :, np.newaxis], 0)
        interpreter.invoke()
        found.append(interpreter.get_output(0)[0].copy())
    np.save(outputs, np.stack(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
