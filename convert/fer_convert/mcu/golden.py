"""Golden inputs and outputs: what a model on a microcontroller must compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError, ModelError
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.demo.emotions_scene import EmotionsScene
from fer_edge.sources.demo.source import DemoSource
from fer_edge.stages.crop import crop_face
from fer_edge.stages.detection.haar import HaarFaceDetector
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import CropSpec, Frame, Search, UInt8Array
from fer_train.data.dataset import load_dataset

_SECONDS = 18.0
"""Length of the scene from which the faces are taken: the drawn face shows every emotion of the demo."""


def drawn_faces(count: int, size: CropSpec) -> UInt8Array:
    """Return the crops of ``count`` faces of the demo's scene, uint8 [count, height, width], then black and white."""
    detector = HaarFaceDetector()
    crops: list[UInt8Array] = []
    with DemoSource(SourceSettings(), seconds=_SECONDS, scene=EmotionsScene()) as source:
        wanted = set(np.linspace(0, source.frame_count - 1, 3 * count, dtype=int).tolist())
        while len(crops) < count and isinstance(frame := source.read(1.0), Frame):
            if frame.index in wanted and (faces := detector.detect(frame.gray, Search.whole(frame.gray))):
                face = max(faces, key=lambda face: face.box.area)
                crops.append(crop_face(frame.gray, face, size).pixels)
    black_and_white = [np.full((size.height, size.width), value, np.uint8) for value in (0, 255)]
    return np.stack([*crops, *black_and_white][-count:])


def data_faces(data: Path, count: int, size: CropSpec) -> UInt8Array:
    """Return the first ``count`` PublicTest images of ``data``, uint8 [count, height, width].

    Raises:
        InputError: If the data cannot be read, lack such images, or have images of another size.
    """
    images = load_dataset(data).splits["PublicTest"].images[:count]
    if images.shape[1:] != (size.height, size.width):
        shape = "x".join(map(str, images.shape[2:0:-1]))
        raise InputError(f"{data}: its images have {shape} pixels, the model takes {size.width}x{size.height}")
    return images


def reference_outputs(path: Path, inputs: UInt8Array) -> npt.NDArray[np.int8]:
    """Return the outputs of the file at ``path`` by LiteRT's reference kernels, int8 [N, labels].

    TFLM's portable kernels are the same code; XNNPACK, which the runtime uses, rounds differently by a few steps.

    Raises:
        ModelError: If LiteRT refuses the file.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        with hidden_stderr():
            interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: LiteRT refuses it: {error}") from None
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    found: list[npt.NDArray[np.int8]] = []
    for stored in inputs:
        interpreter.set_tensor(entry["index"], stored.view(entry["dtype"]).reshape(entry["shape"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(result["index"])[0])
    return np.stack(found)
