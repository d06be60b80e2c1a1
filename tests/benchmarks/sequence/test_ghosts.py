"""Videos without a face in which the cascade alone would detect and track one: none is reported."""

from __future__ import annotations

import numpy as np
import pytest

from fer_bench.sequence.costs import Portraits
from fer_bench.sequence.scenes import FaceSequence, Kind
from fer_edge.model.bundle import load_bundle
from fer_edge.pipeline import Pipeline
from fer_edge.settings.pipeline import DetectorSettings
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.types import Frame, UInt8Array
from fer_train.data.face_check.clutter import text


def frames_with_a_face(film: list[UInt8Array], *, verify: bool) -> int:
    set_up_opencv()
    settings = RuntimeSettings(detector=DetectorSettings(verify=verify))
    with Pipeline.from_bundle(load_bundle(), settings) as pipeline:
        run = pipeline.open()
        results = [run.process(Frame("film", index, index / 15, gray)) for index, gray in enumerate(film)]
    return sum(bool(result.tracks) for result in results)


@pytest.mark.slow
def test_ghosts_in_clutter_are_not_followed():
    without = verified = 0
    for clutter, seed in (("foliage", 5), ("foliage", 7), *(("cartoons", seed) for seed in range(1, 9))):
        sequence = FaceSequence(Kind(clutter, faces=0, clutter=clutter), (640, 480), 30, Portraits(), (seed, 77))
        film = [sequence.frame(index).gray for index in range(30)]
        without += frames_with_a_face(film, verify=False)
        verified += frames_with_a_face(film, verify=True)
    assert without >= 150
    assert verified <= 0.2 * without


@pytest.mark.parametrize("seed", [31, 114])
def test_a_ghost_over_a_page_of_text_is_not_followed(seed: int):
    random = np.random.default_rng((seed, 9))
    page = text(random, (640, 480))
    noisy = [page + random.normal(0, 3, page.shape) for _ in range(20)]
    film = [np.clip(picture, 0, 255).astype(np.uint8) for picture in noisy]
    assert frames_with_a_face(film, verify=False) >= 15
    assert frames_with_a_face(film, verify=True) == 0
