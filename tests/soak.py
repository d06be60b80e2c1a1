"""Check that hours of frames leak nothing: ``make soak`` (``ARGS='--frames 20000'`` for fewer).

Two real faces cross a small picture, leave, and later return. They are processed by the pipeline with the default
bundle and the schedule of a live source. Memory, live objects and the ids used for each round are printed at intervals.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from fer_edge.model.bundle import load_bundle
from fer_edge.pipeline import Pipeline
from fer_edge.settings.pipeline import DetectorSettings
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.system.process_memory import resident_mib
from fer_edge.types import Frame, UInt8Array
from support.cameras.scenes import portrait

FPS = 15.0
ROUND_FRAMES = 240
_WIDTH, _HEIGHT, _HEAD = 224, 128, 80
_SAMPLES = 20
GROWTH_MIB = 4.0
"""Permitted growth of resident memory after the first part: allocators keep some."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The state after ``frames``: MiB resident, live Python objects, maximum of tracks, ids and events so far."""

    frames: int
    rss_mib: float
    objects: int
    tracks: int
    ids: int
    events: int


def run(frames: int, every: int) -> Iterator[Sample]:
    """Process ``frames`` frames; return a sample after each ``every`` of them, but only at the end of a round."""
    pictures = _round()
    settings = RuntimeSettings(detector=DetectorSettings(min_face_px=36))
    ids = events = tracks = 0
    with load_bundle(None) as bundle:
        run = Pipeline.from_bundle(bundle, settings).open(live=True)
        for index in range(frames):
            frame = Frame("soak", index, index / FPS, pictures[index % len(pictures)])
            result = run.process(frame)
            ids = max([ids, *(track.track_id for track in result.tracks)])
            events += len(result.events)
            tracks = max(tracks, len(result.tracks))
            if (index + 1) % every == 0:
                gc.collect()
                yield Sample(index + 1, resident_mib(), len(gc.get_objects()), tracks, ids, events)
                tracks = 0


def problems(samples: list[Sample]) -> list[str]:
    """Return what has grown, compared with the second sample, when everything was loaded."""
    first, last = samples[1], samples[-1]
    rounds = (last.frames - first.frames) / ROUND_FRAMES
    early_rounds = first.frames / ROUND_FRAMES
    found = []
    if last.rss_mib - first.rss_mib > GROWTH_MIB:
        found.append(f"resident memory grew from {first.rss_mib:.1f} to {last.rss_mib:.1f} MiB")
    if last.objects > first.objects + 200:
        found.append(f"live objects grew from {first.objects} to {last.objects}")
    if last.ids == 0 or (last.ids - first.ids) / rounds > 1.25 * first.ids / early_rounds + 1:
        found.append(
            f"ids drift: {first.ids} in the first {early_rounds:.0f} rounds, {last.ids} after {rounds:.0f} more"
        )
    most = max(sample.tracks for sample in samples)
    if most != 2:
        found.append(f"{most} tracks at once of two faces")
    return found


def _round() -> list[UInt8Array]:
    """One round: two heads pass each other and leave; for a quarter of the time no face is visible."""
    random = np.random.default_rng(5)
    head = cv2.resize(portrait()[20:210, 130:320], (_HEAD, _HEAD), interpolation=cv2.INTER_AREA)
    wall = cv2.resize(random.normal(120, 12, (8, 14)).astype(np.float32), (_WIDTH, _HEIGHT))
    pictures = []
    for index in range(ROUND_FRAMES):
        picture = wall + random.normal(0, 3, wall.shape)
        share = index / (0.75 * ROUND_FRAMES)
        for x, y in ((share, 0), (1 - share, _HEIGHT - _HEAD)):
            left = round(-_HEAD + x * (_WIDTH + _HEAD))
            from_x, to_x = max(0, left), min(_WIDTH, left + _HEAD)
            if share <= 1 and from_x < to_x:
                picture[y : y + _HEAD, from_x:to_x] = head[:, from_x - left : to_x - left]
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures


def main() -> int:
    """Print the samples; return 1 if something has grown."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=200_000, metavar="N")
    frames = parser.parse_args().frames
    set_up_opencv()
    every = max(1, frames // _SAMPLES // ROUND_FRAMES) * ROUND_FRAMES
    if frames < 3 * every:
        parser.error(f"--frames: at least {3 * every} are needed to tell growth from loading")
    samples, start = [], time.monotonic()
    print("  frames  seconds  RSS MiB  objects  tracks    ids  events")
    for sample in run(frames, every):
        samples.append(sample)
        print(
            f"{sample.frames:8}{time.monotonic() - start:9.0f}{sample.rss_mib:9.1f}{sample.objects:9}{sample.tracks:8}"
            f"{sample.ids:7}{sample.events:8}",
            flush=True,
        )
    found = problems(samples)
    print("\n".join(found) if found else "nothing grew")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
