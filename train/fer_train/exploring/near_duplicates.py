"""Find near duplicates: another size, crop, contrast or compression of the same picture.

They are compared by a perceptual hash of 64 bits, of the lowest 8 x 8 frequencies of the image (imagehash's ``phash``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fer_edge.types import UInt8Array
from fer_train.exploring.extras import require
from fer_train.progress import progress

MAX_BITS = 4
"""Maximum number of different bits between hashes of one picture. Of twenty random pairs of each distance in FER2013,
nearly all at 0, 2 and 4 bits were near duplicates, and some at 6. It is always even: half of the bits are set."""

_BANDS = MAX_BITS + 1
"""Bands into which a hash is cut: two hashes that differ in up to ``MAX_BITS`` bits are equal in one or more bands."""
_PROGRESS_EVERY = 64


def perceptual_hashes(images: UInt8Array) -> npt.NDArray[np.uint64]:
    """Return the hash of each of ``images`` uint8 [N, H, W], uint64 [N]. Raises MissingExtraError without imagehash."""
    imagehash, pillow = require("imagehash"), require("PIL.Image")
    hashes = np.empty(len(images), dtype=np.uint64)
    with progress("hashing", len(images), " images") as show:
        for index, image in enumerate(images):
            bits = imagehash.phash(pillow.fromarray(image)).hash
            hashes[index] = np.packbits(bits).view(">u8")[0]
            if index % _PROGRESS_EVERY == 0:
                show(index)
    return hashes


def find_near_duplicates(hashes: npt.NDArray[np.uint64]) -> tuple[tuple[int, ...], ...]:
    """Return groups of images, each of whose ``hashes`` [N] differs from another in at most ``MAX_BITS`` bits.

    Each group holds 2 or more indices, ascending.
    """
    distinct, number = np.unique(hashes, return_inverse=True)
    leader = np.arange(len(distinct))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = int(leader[index])
        return index

    for left, right in _near_pairs(distinct):
        first, second = sorted((find(left), find(right)))
        leader[second] = first
    members: dict[int, list[int]] = {}
    for image, hash_number in enumerate(number.tolist()):
        members.setdefault(find(hash_number), []).append(image)
    return tuple(sorted(tuple(group) for group in members.values() if len(group) > 1))


def _near_pairs(hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Yield pairs of different ``hashes`` that differ in few bits; a pair may be repeated.

    Only hashes that are equal in a band are compared: far fewer than all pairs of 30,000.
    """
    edges = np.linspace(0, 64, _BANDS + 1).astype(int)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        key = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(key, kind="stable")
        ends = np.flatnonzero(np.diff(key[order])) + 1
        for bucket in np.split(order, ends):
            for at in range(len(bucket) - 1):
                rest = bucket[at + 1 :]
                differing = np.unpackbits((hashes[rest] ^ hashes[bucket[at]]).view(np.uint8)).reshape(-1, 64)
                for other in rest[differing.sum(axis=1) <= MAX_BITS].tolist():
                    yield int(bucket[at]), other
