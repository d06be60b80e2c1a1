"""``inputs.augmentation`` on a batch at once, in PyTorch: float32 [B, 1, S, S] in 0..255."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

_SMALLEST_SIGMA = 0.05
"""Pixels; the kernel of this standard deviation is one pixel, and that of 0 cannot be calculated."""


def warp(images: torch.Tensor, affine: torch.Tensor, size: int) -> torch.Tensor:
    """Return uint8 ``images`` [B, H, W] as float32 [B, 1, size, size], mapped by ``affine`` [B, 2, 3]."""
    grid = functional.affine_grid(affine, [len(images), 1, size, size], align_corners=False)
    pixels = images[:, None].float()
    return functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def erase(images: torch.Tensor, rectangles: torch.Tensor) -> torch.Tensor:
    """Return ``images`` with noise in each one's rectangle (top, left, bottom, right as shares of the side) [B, 4]."""
    inside = _inside(rectangles, images.shape[-1])
    return torch.where(inside, torch.rand_like(images) * 255, images)


def jitter(images: torch.Tensor, contrast: torch.Tensor, brightness: torch.Tensor) -> torch.Tensor:
    """Return ``images`` with the factors ``contrast`` [B] about their means, and the offsets ``brightness`` [B]."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((images - mean) * _each(contrast) + mean + _each(brightness)).clamp(0, 255)


def blend(
    images: torch.Tensor, targets: torch.Tensor, partner: torch.Tensor, share: torch.Tensor, pasted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend images and targets [B, labels] with those of ``partner`` [B]: by ``share``, then in ``pasted`` [4]."""
    inside = _inside(pasted[None], images.shape[-1])
    images = torch.lerp(images[partner], images, share)
    images = torch.where(inside, images[partner], images)
    targets = torch.lerp(targets[partner], targets, share)
    return images, torch.lerp(targets, targets[partner], inside.float().mean())


def degrade(images: torch.Tensor, sigma: torch.Tensor, noise: torch.Tensor, max_sigma: float) -> torch.Tensor:
    """Return ``images`` blurred by ``sigma`` [B] pixels, at most ``max_sigma``, then with noise of ``noise`` [B]."""
    if max_sigma:
        images = _blur(images, sigma, max_sigma)
    return (images + _each(noise) * torch.randn_like(images)).clamp(0, 255)


def _blur(images: torch.Tensor, sigma: torch.Tensor, max_sigma: float) -> torch.Tensor:
    radius = math.ceil(4 * max_sigma)
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma.clamp(min=_SMALLEST_SIGMA)[:, None] ** 2))
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    side = images.shape[-1]
    for axis in (2, 3):
        padding = (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius)
        padded = functional.pad(images, padding, mode="replicate")
        parts = (padded.narrow(axis, at, side) * _each(kernel[:, at]) for at in range(2 * radius + 1))
        images = torch.stack(list(parts)).sum(dim=0)
    return images


def _inside(rectangles: torch.Tensor, side: int) -> torch.Tensor:
    """Return which pixels [B, 1, side, side] have their centres in ``rectangles`` [B, 4]."""
    at = (torch.arange(side, device=rectangles.device) + 0.5) / side
    top, left, bottom, right = (edge[:, None] for edge in rectangles.unbind(dim=1))
    rows, columns = (at >= top) & (at < bottom), (at >= left) & (at < right)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _each(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]
