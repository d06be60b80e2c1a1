"""Write the face check's data set: ``python -m fer_train.data.face_check OUT [--data PATH] [--scale S] [--seed N]``.

OUT holds class folders: ``train`` and ``val``, each with ``clutter`` and ``face``. The faces of ``train`` are
FER2013's Training, those of ``val`` its PublicTest. The crops show FER2013's faces: keep them out of any repository.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from fer_edge.errors import FerEdgeError, InputError
from fer_edge.system.opencv_setup import set_up_opencv
from fer_train.data.dataset import PUBLIC_TEST, TRAINING, load_dataset
from fer_train.data.face_check.making import chunks, images_of, write


def main() -> int:
    """Write both folders; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_train.data.face_check", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--data", type=Path, metavar="PATH", help="FER2013, as for fer-edge data audit")
    parser.add_argument("--scale", type=float, default=1.0, metavar="S", help="share of the usual number of crops")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the random numbers (default: 1)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="(default: all cores)")
    arguments = parser.parse_args()
    try:
        if arguments.out.exists():
            raise InputError(f"{arguments.out}: already exists: remove it or name another folder")
        if not 0 < arguments.scale <= 10 or arguments.seed < 0 or not 1 <= arguments.processes <= 256:
            raise InputError("--scale must be above 0 and at most 10, --seed 0 or more, --processes in 1..256")
        dataset = load_dataset(arguments.data)
    except FerEdgeError as error:
        sys.stderr.write(f"face_check: {error}\n")
        return error.exit_code
    with ProcessPoolExecutor(arguments.processes, get_context("spawn"), initializer=set_up_opencv) as pool:
        for number, (name, split) in enumerate((("train", TRAINING), ("val", PUBLIC_TEST))):
            images = dataset.splits[split].images
            parts = list(chunks(arguments.out / name, name, arguments.scale, (arguments.seed, number)))
            for chunk in parts:
                chunk.folder.mkdir(parents=True, exist_ok=True)
            list(pool.map(write, parts, (images_of(images, chunk) for chunk in parts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
