"""Compare an imported model on real images with its ONNX or PyTorch original.

    python benchmarks/import_exactness.py models/fer-edge-s/onnx_float32.onnx --input-range 0..255
    python benchmarks/import_exactness.py model.pt2 --input-range 0..1 --data path/to/FER2013

Prints the largest difference of a logit over FER2013's PublicTest, and the share of images with the same label.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from fer_bench.runners import fitted
from fer_convert.foreign.files import check_kind, load
from fer_convert.foreign.input_range import parse_input_range
from fer_convert.foreign.open_foreign import ForeignOptions, open_foreign
from fer_train.data.dataset import PUBLIC_TEST, load_dataset


def main() -> None:
    """Measure the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--input-range", type=parse_input_range, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=int, help="the first N of PublicTest (default: all)")
    arguments = parser.parse_args()
    check_kind(arguments.model)
    dataset = load_dataset(arguments.data)
    imported = open_foreign(arguments.model, ForeignOptions(arguments.input_range)).keras
    reference = load(arguments.model)
    height, width = imported.input_shape[1:3]
    images = fitted(dataset.splits[PUBLIC_TEST].images[: arguments.images], (height, width))[..., np.newaxis].astype(
        np.float32
    )
    channels = reference.shape[2]
    scale, offset = (np.array(each, np.float32) for each in arguments.input_range.for_channels(channels))
    theirs = np.concatenate([reference.call(image[np.newaxis] * scale + offset) for image in images])
    ours = np.asarray(imported.predict(images, verbose=0))
    if np.allclose(theirs.sum(axis=1), 1, atol=1e-3):  # the import removes a softmax: compare logits
        theirs = np.log(theirs)
        theirs += (ours - theirs).mean(axis=1, keepdims=True)
    same = (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()
    sys.stdout.write(
        f"{arguments.model.name}: {len(images)} images, largest logit {np.abs(ours).max():.3g}, largest difference "
        f"from {reference.reference} {np.abs(ours - theirs).max():.2g}, same label on {same:.2%}\n"
    )


if __name__ == "__main__":
    main()
