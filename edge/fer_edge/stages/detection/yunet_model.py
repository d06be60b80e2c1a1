"""Load a YuNet model file (ONNX) and run OpenCV's FaceDetectorYN on grey pictures of any size.

The file does not come with this package: the user names it. A published file is known by its hash. Any other one is
tried on a picture with one face, in a process of its own, because a damaged model can crash OpenCV (5.0: SIGFPE).
"""

from __future__ import annotations

import hashlib
import os
import stat
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
from fer_edge.settings.runtime import YUNET_FILE, YUNET_PAGE
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.types import Box, Float32Array, UInt8Array

KNOWN_FILES = {"8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4": "YuNet 2023mar"}
"""Names of published files by SHA-256. These are not tried before use."""
STRIDE = 32
"""Sides of a picture are multiples of this: the largest stride of the network, to which OpenCV would pad with black."""
_MAX_BYTES = 16 << 20
"""The published files have 0.1 to 0.3 MiB; a larger file is another model."""
_MAX_NETWORKS = 4
"""Networks kept, one per picture size: a change of size costs a network 0.5 ms in OpenCV 4.
A source has two or three sizes of tile, and its regions mostly one; each network holds 1 to 4 MiB."""
_NMS_CANDIDATES = 500
_COLUMNS = 15
"""Of an answer: x, y, width, height, five landmarks (x, y), score."""
_TRIAL_S = 60.0
_TRIAL_SCALE, _TRIAL_FACE, _MIN_TRIAL_IOU = 0.5, Box(177, 66, 95, 112), 0.5
"""What the trial's picture is reduced by, where YuNet 2023mar sees its face at full size, and the least agreement."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """What a model file holds: ``data`` uint8 [bytes], its ``sha256``, and its ``name`` if it is a published one."""

    path: Path
    data: UInt8Array
    sha256: str
    name: str | None


def read_model(path: Path) -> ModelFile:
    """Read the file at ``path``.

    Raises:
        ModelError: if it is missing, not a regular file, empty, unreadable or too large.
    """
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            regular, data = stat.S_ISREG(os.fstat(descriptor).st_mode), b""
            if regular:
                with open(descriptor, "rb", closefd=False) as stream:
                    data = stream.read(_MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; detector.model is {YUNET_FILE} from {YUNET_PAGE}") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ModelError(f"{path}: cannot read detector.model: {reason_of(error)}") from None
    if not regular:
        raise ModelError(f"{path}: detector.model must be a file, {YUNET_FILE} from {YUNET_PAGE}")
    if not 0 < len(data) <= _MAX_BYTES:
        size = "is empty" if not data else f"has more than {_MAX_BYTES >> 20} MiB"
        raise ModelError(f"{path}: {size}, so it is not a YuNet model: take {YUNET_FILE} from {YUNET_PAGE}")
    digest = hashlib.sha256(data).hexdigest()
    return ModelFile(path, np.frombuffer(data, np.uint8), digest, KNOWN_FILES.get(digest))


class YuNetModel:
    """A YuNet network for grey pictures. Not for use by two threads at once."""

    def __init__(self, file: ModelFile, min_score: float, max_overlap: float) -> None:
        """Load ``file``; faces below ``min_score`` and those that a surer face overlaps by more (IoU) are left out.

        Raises:
            ModelError: if OpenCV has no FaceDetectorYN or refuses the file.
        """
        if not hasattr(cv2, "FaceDetectorYN"):
            raise ModelError(f"OpenCV {cv2.__version__} has no FaceDetectorYN: pip install opencv-python-headless")
        self._file, self._min_score, self._max_overlap = file, min_score, max_overlap
        self._networks: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self.run(np.zeros((STRIDE, STRIDE), np.uint8))

    def run(self, picture: UInt8Array) -> Float32Array:
        """Return the faces of ``picture``, uint8 [H, W] with sides that are multiples of ``STRIDE``, surest first.

        Returns:
            float32 [faces, 15]: x, y, width and height of the box, x and y of both eyes, the nose and both corners of
            the mouth, all in pixels, and the score, 0..1.

        Raises:
            ModelError: if the network cannot be run, or gives anything else.
        """
        height, width = picture.shape
        try:
            _, found = self._network((width, height)).detect(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
        except cv2.error as error:
            raise self._refusal(_cause(error)) from None
        if found is None:
            return np.empty((0, _COLUMNS), np.float32)
        if found.ndim != 2 or found.shape[1] != _COLUMNS:
            raise self._refusal(f"it answers with an array of {list(found.shape)}, not of [faces, {_COLUMNS}]")
        answers: Float32Array = found[np.isfinite(found).all(axis=1)]
        return answers

    def _network(self, size: tuple[int, int]) -> Any:
        """The network that last ran at ``size`` (width, height), else the one that was not used for longest."""
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

    def _refusal(self, reason: str) -> ModelError:
        return ModelError(f"{self._file.path}: not a YuNet model: {reason}; take {YUNET_FILE} from {YUNET_PAGE}")


def load_model(path: Path, min_score: float, max_overlap: float) -> YuNetModel:
    """Read ``path``, try it in another process unless it is a published file, and load it. Raises ModelError."""
    file = read_model(path)
    if file.name is None:
        try_apart(file)
    return YuNetModel(file, min_score, max_overlap)


def try_apart(file: ModelFile) -> None:
    """Let another process find the face of a known picture with ``file``.

    Raises:
        ModelError: if it does not find the face, crashes or hangs.
    """
    command = [sys.executable, "-P", "-m", "fer_edge.stages.detection.yunet_model", str(file.path)]
    try:
        done = subprocess.run(command, input=file.data.tobytes(), capture_output=True, timeout=_TRIAL_S, check=False)
    except subprocess.TimeoutExpired:
        reason = f"it did not answer within {_TRIAL_S:g} s"
    except OSError as error:
        raise ModelError(f"{file.path}: cannot start a process to try it: {reason_of(error)}") from None
    else:
        if done.returncode == 0:
            return
        reason = " ".join(done.stdout.decode(errors="replace").split()) or f"it crashes OpenCV {cv2.__version__}"
    raise ModelError(f"{file.path}: not a YuNet model: {reason}; take {YUNET_FILE} from {YUNET_PAGE}")


def _trial(path: str, data: bytes) -> str | None:
    """Why the model ``data`` is refused: it does not find the portrait's face where it is, and no other; else None."""
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
        return f"it finds {len(found)} faces in a picture that has 1"
    if np.abs(found).max() > max(gray.shape):
        return "it finds a face outside the picture"
    box = Box(*(round(float(value) / _TRIAL_SCALE) for value in found[0, :4]))
    return None if box.iou(_TRIAL_FACE) >= _MIN_TRIAL_IOU else "it does not find the face of a picture where it is"


def _cause(error: cv2.error) -> str:
    """OpenCV's own words without its version and file: its messages have several lines."""
    text = " ".join(str(error).split())
    return "OpenCV says: " + (text.partition(" error: ")[2] or text)[:160]


if __name__ == "__main__":
    refused = _trial(sys.argv[1], sys.stdin.buffer.read())
    sys.stdout.write(refused or "")
    # Without taking down what a damaged network has left behind.
    sys.stdout.flush()
    os._exit(1 if refused else 0)
