"""Image sets, one folder per class, with images that are easy to classify, in a given format and size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from support.data.fer2013 import LABELS, mini_images

THREE = ("angry", "happy", "surprise")
FOLDERS = {"Angry": "angry", "Happy Face": "happy", "Suprise": "surprise"}
CLASSES = {"Happy Face": "happy", "Suprise": "surprise"}
"""The entries of ``FOLDERS`` that a recipe must map; case does not matter."""

KINDS = (".jpg", ".png", ".bmp", ".webp", ".tif", ".jpeg")


def write_image_set(root: Path, classes: dict[str, str], *, count: int = 12, seed: int = 0) -> Path:
    """Write ``count`` different images for each folder of ``classes`` (folder's name: FER2013's label).

    Format and size change between images, every second one is in colour, and some are wider than high.
    """
    for number, (folder, label) in enumerate(classes.items()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image = mini_images([LABELS.index(label)], seed=seed + 1000 * number + index, side=50 + index % 5 * 7)[0]
            if index % 3 == 0:
                image = np.pad(image, ((0, 0), (6, 9)), mode="edge")
            picture = np.dstack([image, image, image]) if index % 2 else image
            assert cv2.imwrite(str(root / folder / f"{index:03}{KINDS[index % len(KINDS)]}"), picture)
    return root


def recipe_text(path: Path, labels: tuple[str, ...], classes: dict[str, str], extra: str = "") -> str:
    """Return ``[data]`` of a recipe for one set; ``extra`` are more lines of its table."""
    table = ", ".join(f'"{name}" = "{label}"' for name, label in classes.items())
    return f"[data]\nlabels = {list(labels)!r}\n[[data.sets]]\npath = '{path}'\n{extra}\nclasses = {{ {table} }}\n"
