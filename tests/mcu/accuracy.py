"""``make bench-mcu``: compare the released int8 models by TFLM with XNNPACK, which a Pi uses, on PrivateTest.

The package tflite-micro is TFLM built for this machine: the portable kernels of a microcontroller, and faster than an
emulated one. Prints the accuracy by both, and the differences of the outputs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from fer_edge.model.bundle import load_bundle
from fer_edge.model.interpreter import LiteRtModel
from fer_train.data.dataset import load_dataset
from mcu.__main__ import BUNDLES, ROOT

HERE = Path(__file__).parent


def main() -> int:
    """Compare all bundles."""
    parser = argparse.ArgumentParser(prog="make bench-mcu", description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="Python with the package tflite-micro")
    parser.add_argument("--data", type=Path, help="FER2013 (default: as for fer-edge data)")
    parser.add_argument("--split", default="PrivateTest", help="split to run (default: PrivateTest)")
    arguments = parser.parse_args()
    split = load_dataset(arguments.data).splits[arguments.split]
    sys.stdout.write(
        "| bundle | images | top-1 by TFLM | by XNNPACK | other labels | outputs that differ | largest difference |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    for name in BUNDLES:
        with tempfile.TemporaryDirectory() as folder, load_bundle(ROOT / "models" / name) as bundle:
            path, inputs, outputs = bundle.variant("int8").path, Path(folder) / "in.npy", Path(folder) / "out.npy"
            np.save(inputs, split.images)
            command = (arguments.python, HERE / "tflm_outputs.py", path, inputs, outputs)
            subprocess.run([str(word) for word in command], check=True)
            micro = np.load(outputs)
            model = LiteRtModel(path, 1)
            xnnpack = np.stack([model.invoke(image[np.newaxis, :, :, np.newaxis])[0].copy() for image in split.images])
            model.close()
        apart = np.abs(micro.astype(int) - xnnpack.astype(int))
        same = (micro.argmax(1) == split.labels).mean(), (xnnpack.argmax(1) == split.labels).mean()
        sys.stdout.write(
            f"| {name} | {len(micro):,} | {same[0]:.2%} | {same[1]:.2%} |"
            f" {(micro.argmax(1) != xnnpack.argmax(1)).sum()} | {(apart > 0).mean():.1%} | {apart.max()} |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
