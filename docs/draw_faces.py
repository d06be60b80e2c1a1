"""Draw a small data set for the tutorials: class folders of pictures, each with a cartoon face somewhere in it.

    python docs/draw_faces.py FOLDER

makes FOLDER/angry, FOLDER/smiling and FOLDER/surprised, and next to FOLDER group.png with one face of each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

KINDS, COUNT, SIDE = ("angry", "smiling", "surprised"), 100, 160


def draw_face(kind: str, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return a noisy grey picture with one face, uint8 [SIDE, SIDE]; place, width, light and features vary."""
    picture = np.full((SIDE, SIDE), random.integers(20, 70), np.uint8)
    x, y = (SIDE // 2 + random.integers(-15, 16, 2)).tolist()
    skin, ink = int(random.integers(170, 240)), int(random.integers(0, 50))
    cv2.ellipse(picture, (x, y), (int(random.integers(44, 52)), 60), 0, 0, 360, skin, -1)
    tilt, mouth = int(random.integers(4, 10)), int(random.integers(9, 15))
    inner, outer = {"angry": (tilt, -tilt), "smiling": (-4, 2), "surprised": (-tilt, 0)}[kind]
    for side in (-1, 1):
        cv2.circle(picture, (x + 20 * side, y - 14), 7 if kind == "surprised" else 4, ink, -1)
        cv2.line(picture, (x + 9 * side, y - 30 + inner), (x + 32 * side, y - 30 + outer), ink, 4)
    if kind == "angry":
        cv2.ellipse(picture, (x, y + 37), (20, mouth), 0, 200, 340, ink, 5)
    elif kind == "smiling":
        cv2.ellipse(picture, (x, y + 18), (20, mouth), 0, 10, 170, ink, 5)
    else:
        cv2.ellipse(picture, (x, y + 30), (10, mouth), 0, 0, 360, ink, -1)
    return np.clip(picture + random.normal(0, 10, picture.shape), 0, 255).astype(np.uint8)


def main(folder: Path) -> None:
    """Write the pictures; the same ones each time."""
    random = np.random.default_rng(1)
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(COUNT):
            cv2.imwrite(str(folder / kind / f"{number:03}.png"), draw_face(kind, random))
    group = folder.with_name("group.png")
    # Space to the right of each face, where fer-edge writes its result.
    parts = [np.pad(draw_face(kind, random), ((20, 20), (20, 100)), constant_values=40) for kind in KINDS]
    cv2.imwrite(str(group), np.hstack(parts))
    sys.stdout.write(f"{len(KINDS) * COUNT} pictures in {folder}, and {group}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
