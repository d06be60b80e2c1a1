"""The random numbers of an epoch's augmentation, drawn by NumPy: they depend on seed and epoch, not on the device.

They have the distributions of ``inputs.augmentation``, but not its order, so that both give other images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.types import Float32Array
from fer_train.recipe.augmentation import AugmentSettings

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Arrays for ``S`` steps of ``B`` images, by step.

    - ``rows`` int64 [S, B]: the images, in the order of the epoch;
    - ``affine`` float32 [S, B, 2, 3]: maps a point of the augmented image to one of the image, both in -1..1;
    - ``contrast``, ``brightness`` float32 [S, B]: factor about the mean, and offset in 0..255;
    - ``erased`` float32 [S, B, 4]: top, left, bottom, right of the erased rectangle, as shares of the side;
    - ``sigma``, ``noise`` float32 [S, B]: standard deviations of blur in pixels and of noise in 0..255;
    - ``partner`` int64 [S, B]: the image of the batch that each one is blended with;
    - ``share`` float32 [S]: the own share of each image in mixup;
    - ``pasted`` float32 [S, 4]: the rectangle that cutmix pastes, as ``erased``.
    """

    rows: Int64Array
    affine: Float32Array
    contrast: Float32Array
    brightness: Float32Array
    erased: Float32Array
    sigma: Float32Array
    noise: Float32Array
    partner: Int64Array
    share: Float32Array
    pasted: Float32Array


def draw_epoch(images: int, batch: int, settings: AugmentSettings, seed: tuple[int, int]) -> Draws:
    """Return the random numbers for one pass over ``images``; the last, incomplete batch is left out.

    Args:
        images: Number of images.
        batch: Images in each step.
        settings: The kinds of augmentation.
        seed: Seed of the run, and epoch.
    """
    random = np.random.default_rng(seed)
    steps = images // batch
    of_images, of_steps = (steps, batch), (steps,)
    sigma, noise = _degradations(of_images, settings, random)
    share, pasted = _blends(of_steps, settings, random)
    return Draws(
        rows=random.permutation(images)[: steps * batch].reshape(of_images),
        affine=_affines(of_images, settings, random),
        contrast=_floats(1 + random.uniform(-settings.contrast, settings.contrast, of_images)),
        brightness=_floats(255 * random.uniform(-settings.brightness, settings.brightness, of_images)),
        erased=_rectangles(of_images, settings, random),
        sigma=sigma,
        noise=noise,
        partner=np.argsort(random.random(of_images), axis=1),
        share=share,
        pasted=pasted,
    )


def _affines(shape: tuple[int, ...], settings: AugmentSettings, random: np.random.Generator) -> Float32Array:
    """Return the inverse of what ``inputs.augmentation`` does: rotate, zoom and mirror about the centre, then shift."""
    angle = np.deg2rad(random.uniform(-settings.rotate_degrees, settings.rotate_degrees, shape))
    zoom = 1 + random.uniform(-settings.scale, settings.scale, shape)
    shift = random.uniform(-settings.shift, settings.shift, (*shape, 2))
    mirror = np.where(random.random(shape) < settings.flip, -1.0, 1.0)
    cosine, sine = np.cos(angle), np.sin(angle)
    # Both images have the range -1..1 here, whatever their sides are.
    inverse = np.empty((*shape, 2, 2))
    inverse[..., 0, 0], inverse[..., 0, 1] = cosine * mirror, sine * mirror
    inverse[..., 1, 0], inverse[..., 1, 1] = -sine, cosine
    inverse /= zoom[..., np.newaxis, np.newaxis]
    offset = -2 * np.einsum("...ij,...j->...i", inverse, shift)
    return _floats(np.concatenate([inverse, offset[..., np.newaxis]], axis=-1))


def _rectangles(shape: tuple[int, ...], settings: AugmentSettings, random: np.random.Generator) -> Float32Array:
    """Return the erased rectangle of each image; an empty one where nothing is erased."""
    area = random.uniform(0.02, max(0.02, settings.erase_area), shape)
    aspect = np.exp(random.uniform(np.log(0.3), np.log(1 / 0.3), shape))
    height, width = np.minimum(1, np.sqrt(area * aspect)), np.minimum(1, np.sqrt(area / aspect))
    erased = random.random(shape) < settings.erase_probability
    top, left = random.random(shape) * (1 - height), random.random(shape) * (1 - width)
    found = np.stack([top, left, top + height, left + width], axis=-1)
    return _floats(found * erased[..., np.newaxis])


def _degradations(
    shape: tuple[int, ...], settings: AugmentSettings, random: np.random.Generator
) -> tuple[Float32Array, Float32Array]:
    degraded = random.random(shape) < settings.degrade_probability
    sigma = random.uniform(0, settings.blur, shape) * degraded
    noise = 255 * random.uniform(0, settings.noise, shape) * degraded
    return _floats(sigma), _floats(noise)


def _blends(
    shape: tuple[int, ...], settings: AugmentSettings, random: np.random.Generator
) -> tuple[Float32Array, Float32Array]:
    """Return mixup's share (1: none) and cutmix' rectangle (empty: none) of each step; with both on, one of them."""
    mixup, cutmix = settings.mixup_alpha, settings.cutmix_alpha
    mixes = np.full(shape, bool(mixup))
    if mixup and cutmix:
        mixes = random.random(shape) < 0.5
    share = np.where(mixes, random.beta(mixup, mixup, shape), 1.0) if mixup else np.ones(shape)
    if not cutmix:
        return _floats(share), np.zeros((*shape, 4), np.float32)
    side = np.sqrt(random.beta(cutmix, cutmix, shape))[..., np.newaxis]
    middle = random.random((*shape, 2))
    rectangle = np.concatenate([middle - side / 2, middle + side / 2], axis=-1).clip(0, 1)
    return _floats(share), _floats(rectangle * ~mixes[..., np.newaxis])


def _floats(array: npt.NDArray[np.float64]) -> Float32Array:
    return array.astype(np.float32)
