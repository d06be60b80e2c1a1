"""Raw outputs of a bundle's variants: uint8 [N, H, W] images as .npy on stdin, an .npz on stdout.

Run on this machine and under emulation, by path, so that nothing but the installed packages takes part. The arrays are
``<variant>``, the output tensors [n, labels] of the first n images, and ``<variant>/delegated``, how many nodes of the
graph a delegate (XNNPACK) runs: LiteRT's log does not contain this number.

    raw_outputs.py BUNDLE int8=256 float32=32
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.model.bundle import load_bundle
from fer_edge.model.interpreter import LiteRtModel


def main() -> None:
    """Read, run, write."""
    bundle = load_bundle(Path(sys.argv[1]))
    images = np.load(io.BytesIO(sys.stdin.buffer.read()))
    arrays: dict[str, Any] = {}
    for argument in sys.argv[2:]:
        variant, _, count = argument.partition("=")
        path = bundle.variant(variant).path
        model = LiteRtModel(path)
        inputs = images[: int(count), :, :, np.newaxis].astype(model.input_details.dtype)
        arrays[variant] = np.concatenate([model.invoke(image[np.newaxis]) for image in inputs])
        arrays[f"{variant}/delegated"] = np.array(model.describe().delegated_nodes)
    np.savez(sys.stdout.buffer, **arrays)


if __name__ == "__main__":
    main()
