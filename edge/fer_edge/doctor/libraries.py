"""What is installed: OpenCV and its cascade, the model, what runs it, picamera2."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import time
from pathlib import Path

from fer_edge.doctor.checks import Case, Finding, broken, doubtful, fine, skipped
from fer_edge.errors import FerEdgeError
from fer_edge.settings.runtime import YUNET_FILE, YUNET_PAGE
from fer_edge.types import Search

_LEAST_OPENCV = (4, 10)
_INSTALL_OPENCV = "pip install 'opencv-python-headless>=4.10,<5'"
_RUNS = 20
_SEARCHES = 5


def look_at_opencv(case: Case) -> Finding:
    """Its version, and whether the cascade is there if it is what looks for faces: OpenCV 5 has none."""
    import cv2

    version = str(cv2.__version__)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if case.settings.detector.kind == "yunet":
        seen = f"{version} from {cv2.__file__}"
        return (
            doubtful(f"{seen}; nobody has tried below 4.10", _INSTALL_OPENCV) if numbers < _LEAST_OPENCV else fine(seen)
        )
    if numbers >= (5,):
        return broken(f"{version}: OpenCV 5 has no Haar cascade", f'{_INSTALL_OPENCV}, or detector.kind = "yunet"')
    from fer_edge.stages.detection.haar import load_cascade

    try:
        load_cascade()
    except FerEdgeError as error:
        return broken(str(error), _INSTALL_OPENCV)
    seen = f"{version} from {cv2.__file__}, cascade loaded"
    return doubtful(f"{seen}; nobody has tried below 4.10", _INSTALL_OPENCV) if numbers < _LEAST_OPENCV else fine(seen)


def look_at_detector(case: Case) -> Finding:
    """What looks for faces, and whether YuNet's file, if it is to, is the published one and finds a face."""
    import numpy as np

    from fer_edge.stages.detection.yunet import YuNetFaceDetector
    from fer_edge.stages.detection.yunet_model import STRIDE, read_model, test_in_subprocess

    detector = case.settings.detector
    if detector.kind != "yunet" or detector.model is None:
        return fine(f"Haar cascade; for turned faces there is YuNet: {YUNET_FILE} from {YUNET_PAGE}")
    try:
        file = read_model(Path(detector.model))
        test_in_subprocess(file)
        finder = YuNetFaceDetector(detector)
    except FerEdgeError as error:
        complaint, _, _ = str(error).partition(f"; take {YUNET_FILE}")
        return broken(complaint, f"download {YUNET_FILE} from {YUNET_PAGE}")
    blank = np.full((10 * STRIDE, 10 * STRIDE), 128, dtype=np.uint8)
    everywhere = Search.whole(blank)
    finder.detect(blank, everywhere)
    began = time.perf_counter()
    for _ in range(_SEARCHES):
        finder.detect(blank, everywhere)
    took_ms = 1e3 * (time.perf_counter() - began) / _SEARCHES
    seen = f"sha256 {file.sha256[:12]}…, finds the face of a test picture; {took_ms:.1f} ms for 320x320 pixels"
    if file.name is None:
        return doubtful(
            f"{file.path} is no published YuNet model that this version knows: {seen}",
            f"if that is not intended: {YUNET_FILE} from {YUNET_PAGE}",
        )
    return fine(f"{file.name}: {seen}")


def look_at_model(case: Case) -> Finding:
    """The bundle, and the hash of the variant that is to run."""
    from fer_edge.model.bundle import load_bundle

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

    from fer_edge.model.bundle import load_bundle
    from fer_edge.stages.classification import EmotionClassifier

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
    """Whether it loads in this very environment: a fact of the installation, whatever is plugged in."""
    from fer_edge.sources.picamera.source import import_picamera2

    named = _pi_cameras(case)
    if not named and importlib.util.find_spec("picamera2") is None:
        return skipped("not installed here, and no source needs it")
    try:
        import_picamera2()
    except FerEdgeError as error:
        complaint, _, mend = str(error).partition(": sudo ")
        finding = broken if named else doubtful
        return finding(complaint, f"sudo {mend}" if mend else "see locks/ for the versions that go together")
    try:
        version = f"{importlib.metadata.version('picamera2')} "
    except importlib.metadata.PackageNotFoundError:  # copied in by hand
        version = ""
    return fine(f"{version}loads in this environment")


def look_at_libcamera(case: Case) -> Finding:
    """Whether libcamera sees the cameras that the settings name; without picamera2 there is no way to ask."""
    from fer_edge.sources.picamera.source import import_picamera2

    try:
        package = import_picamera2()
    except FerEdgeError:  # why, the check picamera2 says
        return skipped("picamera2 does not load here")
    cameras = package.Picamera2.global_camera_info()
    ids = [str(camera.get("Id", "?")) for camera in cameras]
    listed = ", ".join(
        f'{camera.get("Model", "?")} as "picamera2:{known}"' for camera, known in zip(cameras, ids, strict=True)
    )
    seen = f"sees {len(cameras)} cameras" + (f": {listed}" if listed else "")
    missing = [
        which for which in _pi_cameras(case) if (which not in ids if isinstance(which, str) else which >= len(ids))
    ]
    if missing:
        return broken(f"{seen}, and there is no camera {missing[0]}", "rpicam-hello --list-cameras; check the cable")
    return fine(seen)


def _pi_cameras(case: Case) -> list[int | str]:
    """The Raspberry Pi cameras that the settings name: their numbers, or libcamera's ids."""
    from fer_edge.sources.picamera.source import camera_of

    return [which for which in map(camera_of, case.settings.source.uris) if which is not None]
