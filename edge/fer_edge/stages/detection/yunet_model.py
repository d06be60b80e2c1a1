"""Load a YuNet model file (ONNX), and run OpenCV's FaceDetectorYN on grey images of any size.

The file is not part of this package: the user names it. Published files are recognized by their hash. Any other file is
tested on an image with one face in a separate process, because a damaged model can crash OpenCV (5.0: SIGFPE).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer_edge.errors import ModelError, reason_of
from fer_edge.images.files import decode_gray
from fer_edge.model.bundle import bytes_sha256
from fer_edge.settings.pipeline import YUNET_FILE, YUNET_PAGE
from fer_edge.system.files import read_regular
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.types import Box, Float32Array, UInt8Array

KNOWN_FILES = {"8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4": "YuNet 2023mar"}
"""Names of published files by SHA-256. These are used without a test."""
STRIDE = 32
"""Sides of an image must be multiples of this, the largest stride of the network; OpenCV would pad them with black."""
_MAX_BYTES = 16 << 20
"""The published files have 0.1 to 0.3 MiB; a much larger file is not a YuNet model."""
_MAX_NETWORKS = 4
"""Number of networks, one per image size, because changing the size of a network takes 0.5 ms in OpenCV 4. A source has
two or three sizes of tiles, and usually one of regions. Each network takes 1 to 4 MiB."""
_NMS_CANDIDATES = 500
_COLUMNS = 15
"""Columns of a detection: x, y, width, height, five landmarks (x, y), score."""
_TRIAL_S = 60.0
_TRIAL_SCALE, _TRIAL_FACE, _MIN_TRIAL_IOU = 0.5, Box(177, 66, 95, 112), 0.5
"""Scale of the test image, the face that YuNet 2023mar finds in it (at full size), and the IoU required with that."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """Content of a model file.

    Attributes:
        path: The file.
        data: Its bytes, uint8 [size].
        sha256: Their SHA-256, hexadecimal.
        name: Name of the published file; None if it is another one.
    """

    path: Path
    data: UInt8Array
    sha256: str
    name: str | None


def read_model(path: Path) -> ModelFile:
    """Read the file at ``path``.

    Raises:
        ModelError: If it is missing, not a regular file, empty, unreadable or too large.
    """
    try:
        data = read_regular(path, _MAX_BYTES)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; detector.model is {YUNET_FILE} from {YUNET_PAGE}") from None
    except OSError as error:
        raise ModelError(
            f"{path}: cannot read detector.model: {reason_of(error)}; it must be a file, {YUNET_FILE} from {YUNET_PAGE}"
        ) from None
    if not data:
        raise _refusal(path, "it is empty")
    digest = bytes_sha256(data)
    return ModelFile(path, np.frombuffer(data, np.uint8), digest, KNOWN_FILES.get(digest))


class YuNetModel:
    """A YuNet network for grey images. Not thread-safe."""

    def __init__(self, file: ModelFile, min_score: float, max_iou: float) -> None:
        """Load a network.

        Args:
            file: The model file.
            min_score: Score below which detections are left out, 0..1.
            max_iou: IoU with a detection of higher score above which a detection is left out.

        Raises:
            ModelError: If OpenCV has no FaceDetectorYN or refuses the file.
        """
        if not hasattr(cv2, "FaceDetectorYN"):
            raise ModelError(f"OpenCV {cv2.__version__} has no FaceDetectorYN: pip install opencv-python-headless")
        self._file, self._min_score, self._max_overlap = file, min_score, max_iou
        self._networks: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self.run(np.zeros((STRIDE, STRIDE), np.uint8))

    def run(self, image: UInt8Array) -> Float32Array:
        """Return the faces in ``image``, uint8 [H, W] with sides that are multiples of ``STRIDE``, by descending score.

        Returns:
            float32 [faces, 15]: x, y, width and height of the box; x and y of both eyes, the nose and both corners of
            the mouth, all in pixels; the score, 0..1.

        Raises:
            ModelError: If the network fails, or if its output has another shape.
        """
        height, width = image.shape
        try:
            _, found = self._network((width, height)).detect(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
        except cv2.error as error:
            raise _refusal(self._file.path, _cause(error)) from None
        if found is None:
            return np.empty((0, _COLUMNS), np.float32)
        if found.ndim != 2 or found.shape[1] != _COLUMNS:
            raise _refusal(self._file.path, f"its output is {list(found.shape)}, not [faces, {_COLUMNS}]")
        answers: Float32Array = found[np.isfinite(found).all(axis=1)]
        return answers

    def _network(self, size: tuple[int, int]) -> Any:
        """Return a network for images of ``size`` (width, height); at the limit, resize the least recently used one."""
        network = self._networks.pop(size, None)
        if network is None and len(self._networks) < _MAX_NETWORKS:
            no_config = np.empty(0, np.uint8)
            network = cv2.FaceDetectorYN.create(
                "onnx", self._file.data, no_config, size, self._min_score, self._max_overlap, _NMS_CANDIDATES
            )
        elif network is None:
            _, network = self._networks.popitem(last=False)
            network.setInputSize(size)
        self._networks[size] = network
        return network


def test_in_subprocess(file: ModelFile) -> None:
    """Test in another process whether ``file`` finds the face of a known image.

    Raises:
        ModelError: If it does not find the face, crashes or hangs.
    """
    command = [sys.executable, "-P", "-m", "fer_edge.stages.detection.yunet_model", str(file.path)]
    try:
        done = subprocess.run(command, input=file.data.tobytes(), capture_output=True, timeout=_TRIAL_S, check=False)
    except subprocess.TimeoutExpired:
        reason = f"the test did not finish within {_TRIAL_S:g} s"
    except OSError as error:
        raise ModelError(f"{file.path}: cannot start a process to test it: {reason_of(error)}") from None
    else:
        if done.returncode == 0:
            return
        reason = " ".join(done.stdout.decode(errors="replace").split()) or f"it crashes OpenCV {cv2.__version__}"
    raise _refusal(file.path, reason)


def _trial(path: str, data: bytes) -> str | None:
    """Return why the model ``data`` is refused; None if it finds exactly the face of the test image."""
    set_up_opencv()
    file = ModelFile(Path(path), np.frombuffer(data, np.uint8), "", None)
    gray = decode_gray((files("fer_edge") / "assets" / "astronaut.jpg").read_bytes(), "astronaut.jpg")
    height, width = (round(side * _TRIAL_SCALE) // STRIDE * STRIDE for side in gray.shape)
    try:
        model = YuNetModel(file, 0.6, 0.3)
        found = model.run(np.asarray(cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
    except ModelError as error:
        return str(error).removeprefix(f"{path}: not a YuNet model: ").rpartition(";")[0]
    if len(found) != 1:
        return f"it finds {len(found)} faces in an image with 1"
    if np.abs(found).max() > max(gray.shape):
        return "it finds a face outside the image"
    box = Box(*(round(float(value) / _TRIAL_SCALE) for value in found[0, :4]))
    return None if box.iou(_TRIAL_FACE) >= _MIN_TRIAL_IOU else "it finds the face of the test image in the wrong place"


def _refusal(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path}: not a YuNet model: {reason}; use {YUNET_FILE} from {YUNET_PAGE}")


def _cause(error: cv2.error) -> str:
    """Return OpenCV's message on one line, without its version and source file."""
    text = " ".join(str(error).split())
    return "OpenCV reports: " + (text.partition(" error: ")[2] or text)[:160]


if __name__ == "__main__":
    refused = _trial(sys.argv[1], sys.stdin.buffer.read())
    sys.stdout.write(refused or "")
    # Exit without cleaning up: that could crash after a damaged network.
    sys.stdout.flush()
    os._exit(1 if refused else 0)
