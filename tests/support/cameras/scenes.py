"""Pictures with a real face at a known place."""

from __future__ import annotations

from importlib.resources import files

from fer_edge.images.files import decode_gray
from fer_edge.sources.demo.source import DemoScene, pose_at
from fer_edge.types import Box, Frame, UInt8Array

FACE_IN_PORTRAIT = Box(177, 66, 95, 95)
"""The face that the cascade detects in the portrait at full size."""


def portrait() -> UInt8Array:
    """The demo's portrait, uint8 [H, W], one face."""
    return decode_gray((files("fer_edge") / "assets" / "astronaut.jpg").read_bytes(), "astronaut.jpg")


def demo_frames(start_s: float, end_s: float, fps: float = 15.0) -> list[tuple[Frame, Box]]:
    """Frames of the demo's scene, each with the true box of the face (which may lie outside)."""
    scene = DemoScene()
    frames = []
    for index in range(round((end_s - start_s) * fps)):
        at = start_s + index / fps
        pose = pose_at(at)
        side = 95 * pose.scale
        box = Box(round(pose.x - side / 2), round(pose.y - side / 2), round(side), round(side))
        frames.append((Frame("demo", index, at, scene.render(at, index)), box))
    return frames
