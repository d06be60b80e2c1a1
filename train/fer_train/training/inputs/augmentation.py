"""Label-preserving augmentation with NumPy and OpenCV, the same under every Keras backend.

One affine warp for each image does flip, rotation, scale, shift and the resize to the training size: about 1 % of a
training step's time on two CPU cores. A kind that is off draws no random number, so that a new
kind does not change the results of recipes without it.
"""

from __future__ import annotations

import cv2
import numpy as np

from fer_edge.types import Float32Array, UInt8Array
from fer_train.recipe.augmentation import AugmentSettings


def augment_batch(
    images: UInt8Array, size: int, settings: AugmentSettings, random: np.random.Generator
) -> Float32Array:
    """Return uint8 [N, H, W] as float32 [N, size, size, 1] in 0..255, each image with random changes."""
    batch = np.empty((len(images), size, size), dtype=np.float32)
    for index, image in enumerate(images):
        warped = cv2.warpAffine(
            image,
            _random_affine(image.shape[1], image.shape[0], size, settings, random),
            (size, size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        batch[index] = warped
        if settings.erase_probability and random.random() < settings.erase_probability:
            _erase(batch[index], settings.erase_area, random)
    _jitter(batch, settings, random)
    return batch[..., np.newaxis]


def degrade_batch(images: Float32Array, settings: AugmentSettings, random: np.random.Generator) -> Float32Array:
    """Return ``images`` float32 [N, S, S, 1] in 0..255 with blur and noise: what optics and sensor add, so the last."""
    if not (settings.blur or settings.noise):
        return images
    degraded = images.copy()
    for image in degraded:
        if settings.degrade_probability == 1 or random.random() < settings.degrade_probability:
            if settings.blur:
                _blur(image[..., 0], settings.blur, random)
            if settings.noise:
                _add_noise(image, settings.noise, random)
    return degraded


def training_batch(
    images: UInt8Array, targets: Float32Array, size: int, settings: AugmentSettings, random: np.random.Generator
) -> tuple[Float32Array, Float32Array]:
    """Return uint8 ``images`` [N, H, W] as float32 [N, size, size, 1], and their targets, before ``degrade_batch``.

    ``targets``, float32 [N, labels], are blended as the images are. If mixup and cutmix are both on, each batch uses
    one of them at random.
    """
    batch = augment_batch(images, size, settings, random)
    mixup, cutmix = settings.mixup_alpha, settings.cutmix_alpha
    if mixup and cutmix:
        mixup, cutmix = (mixup, 0.0) if random.random() < 0.5 else (0.0, cutmix)
    if mixup:
        return mix_up(batch, targets, mixup, random)
    return cut_mix(batch, targets, cutmix, random) if cutmix else (batch, targets)


def mix_up(
    images: Float32Array, targets: Float32Array, alpha: float, random: np.random.Generator
) -> tuple[Float32Array, Float32Array]:
    """Blend each image and its target [N, labels] with another of the batch, by one Beta(alpha, alpha) share."""
    share = np.float32(random.beta(alpha, alpha))
    partner = random.permutation(len(images))
    blend = images * share + images[partner] * (1 - share)
    return blend, targets * share + targets[partner] * (1 - share)


def cut_mix(
    images: Float32Array, targets: Float32Array, alpha: float, random: np.random.Generator
) -> tuple[Float32Array, Float32Array]:
    """Paste a rectangle of another image of the batch into each image; blend targets by the share of pixels.

    The rectangle, the same in all images, has a Beta(alpha, alpha) share of the area before it is cut at the edges.
    """
    height, width = images.shape[1:3]
    side = np.sqrt(random.beta(alpha, alpha))
    middle = random.uniform(0, height), random.uniform(0, width)
    top, left = (max(0, round(at - side * full / 2)) for at, full in zip(middle, (height, width), strict=True))
    bottom, right = (min(full, round(at + side * full / 2)) for at, full in zip(middle, (height, width), strict=True))
    partner = random.permutation(len(images))
    mixed = images.copy()
    mixed[:, top:bottom, left:right] = images[partner, top:bottom, left:right]
    share = np.float32((bottom - top) * (right - left) / (height * width))
    return mixed, targets * (1 - share) + targets[partner] * share


def _random_affine(
    width: int, height: int, size: int, settings: AugmentSettings, random: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the 2x3 matrix from source to output pixels."""
    angle = np.deg2rad(random.uniform(-settings.rotate_degrees, settings.rotate_degrees))
    zoom = 1 + random.uniform(-settings.scale, settings.scale)
    shift_x, shift_y = random.uniform(-settings.shift, settings.shift, 2) * size
    mirror = -1.0 if random.random() < settings.flip else 1.0
    scale_x, scale_y = zoom * size / width, zoom * size / height
    cosine, sine = np.cos(angle), np.sin(angle)
    linear = np.array([[cosine * scale_x * mirror, -sine * scale_y], [sine * scale_x * mirror, cosine * scale_y]])
    # Pixel centres lie at whole numbers, so the middle of an image of side n is (n - 1) / 2.
    source_centre = np.array([(width - 1) / 2, (height - 1) / 2])
    target_centre = np.array([(size - 1) / 2 + shift_x, (size - 1) / 2 + shift_y])
    return np.column_stack([linear, target_centre - linear @ source_centre])


def _erase(image: Float32Array, largest_area: float, random: np.random.Generator) -> None:
    size = image.shape[0]
    area = random.uniform(0.02, max(0.02, largest_area)) * size * size
    aspect = np.exp(random.uniform(np.log(0.3), np.log(1 / 0.3)))
    height = min(size, max(1, round(np.sqrt(area * aspect))))
    width = min(size, max(1, round(np.sqrt(area / aspect))))
    top, left = random.integers(0, size - height + 1), random.integers(0, size - width + 1)
    image[top : top + height, left : left + width] = random.uniform(0, 255, (height, width))


def _jitter(batch: Float32Array, settings: AugmentSettings, random: np.random.Generator) -> None:
    shape = (len(batch), 1, 1)
    contrast = 1 + random.uniform(-settings.contrast, settings.contrast, shape).astype(np.float32)
    brightness = 255 * random.uniform(-settings.brightness, settings.brightness, shape).astype(np.float32)
    mean = batch.mean(axis=(1, 2), keepdims=True)
    np.clip((batch - mean) * contrast + mean + brightness, 0, 255, out=batch)


def _blur(image: Float32Array, largest_sigma: float, random: np.random.Generator) -> None:
    sigma = random.uniform(0, largest_sigma)
    if sigma >= 0.1:  # below it the kernel is one pixel
        cv2.GaussianBlur(image, (0, 0), sigma, dst=image, borderType=cv2.BORDER_REPLICATE)


def _add_noise(image: Float32Array, largest: float, random: np.random.Generator) -> None:
    deviation = np.float32(255 * random.uniform(0, largest))
    image += deviation * random.standard_normal(image.shape, dtype=np.float32)
    np.clip(image, 0, 255, out=image)
