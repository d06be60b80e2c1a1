"""What is installed: OpenCV and its cascade, the model, what runs it, picamera2."""

from __future__ import annotations

import importlib.util
import re
import time

from fer_edge.doctor.checks import Case, Finding, broken, doubtful, fine, skipped
from fer_edge.errors import FerEdgeError

_PICAMERA2 = re.compile(r"picamera2(?::(\d{1,2}))?")
_LEAST_OPENCV = (4, 10)
_INSTALL_OPENCV = "pip install 'opencv-python-headless>=4.10,<5'"
_RUNS = 20


def look_at_opencv(case: Case) -> Finding:
    """Its version, and whether the cascade is there: OpenCV 5 has none."""
    import cv2

    version = str(cv2.__version__)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers >= (5,):
        return broken(f"{version}: OpenCV 5 has no Haar cascade", _INSTALL_OPENCV)
    from fer_edge.detection import load_cascade

    try:
        load_cascade()
    except FerEdgeError as error:
        return broken(str(error), _INSTALL_OPENCV)
    seen = f"{version} from {cv2.__file__}, cascade loaded"
    return doubtful(f"{seen}; nobody has tried below 4.10", _INSTALL_OPENCV) if numbers < _LEAST_OPENCV else fine(seen)


def look_at_model(case: Case) -> Finding:
    """The bundle, and the hash of the variant that is to run."""
    from fer_edge.bundle import load_bundle

    model = case.settings.model
    try:
        with load_bundle(model.bundle) as bundle:
            variant = bundle.variant(model.variant)
            manifest = bundle.manifest
    except FerEdgeError as error:
        return broken(str(error), "pip install --force-reinstall fer-edge, or name another model.bundle")
    return fine(f"{manifest.name} {manifest.version}, {variant.name}, sha256 {variant.sha256[:12]}… as it should be")


def look_at_inference(case: Case) -> Finding:
    """The model runs, and on what: XNNPACK may have taken the graph, or nothing of it."""
    import numpy as np

    from fer_edge.bundle import load_bundle
    from fer_edge.classification import EmotionClassifier

    try:
        with load_bundle(case.settings.model.bundle) as bundle:
            classifier = EmotionClassifier.from_settings(bundle, case.settings.model)
    except FerEdgeError as error:
        return broken(str(error), "pip install --force-reinstall ai-edge-litert")
    with classifier:
        size = classifier.crop_spec
        blank = np.zeros((size.height, size.width), dtype=np.uint8)
        began = time.perf_counter()
        for _ in range(_RUNS):
            classifier.logits(blank)
        took_ms = 1e3 * (time.perf_counter() - began) / _RUNS
        info = classifier.interpreter
    seen = f"{info.name} {info.version}, {took_ms:.2f} ms a face"
    if info.nodes is None:
        return doubtful(f"{seen}; it does not tell what XNNPACK took")
    taken = f"{seen}, XNNPACK took {info.delegated_nodes} of {info.nodes} nodes"
    if not info.delegated_nodes:
        return doubtful(
            f"{taken}: some ten times as slow as with it", 'pip install ai-edge-litert; interpreter = "auto"'
        )
    return fine(taken)


def look_at_picamera2(case: Case) -> Finding:
    """Whether it loads in this very environment, and has the cameras that the settings name."""
    numbers = [int(match.group(1) or 0) for match in map(_PICAMERA2.fullmatch, case.settings.source.uris) if match]
    if not numbers and importlib.util.find_spec("picamera2") is None:
        return skipped("not installed here, and no source needs it")
    from fer_edge.sources.picamera2 import open_picamera2

    try:
        open_picamera2("picamera2", case.settings.source, "doctor")  # imports the package, and opens no camera yet
    except FerEdgeError as error:
        complaint, _, mend = str(error).partition(": sudo ")
        finding = broken if numbers else doubtful
        return finding(complaint, f"sudo {mend}" if mend else "see locks/ for the versions that go together")
    from picamera2 import Picamera2

    cameras = Picamera2.global_camera_info()
    named = ", ".join(str(camera.get("Model", "?")) for camera in cameras)
    seen = f"loads; libcamera sees {len(cameras)} cameras" + (f": {named}" if named else "")
    if numbers and max(numbers) >= len(cameras):
        return broken(f"{seen}, and there is no camera {max(numbers)}", "rpicam-hello --list-cameras; check the cable")
    return fine(seen)
