"""A PyTorch network with the usual layers of face networks, to test and measure the import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def write_exported(path: Path, *, channels: int = 1, batch: int | None = None, outputs: int = 7, seed: int = 0) -> Any:
    """Write a network with random weights to ``path`` with ``torch.export.save`` and return it.

    Pixels are scaled to 0..1 before it. ``batch`` None exports it for any number of images.
    """
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            layers = [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            self.body = nn.Sequential(*layers, nn.Conv2d(width, width, 3, padding=1, groups=width))
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1), nn.Hardsigmoid())

        def forward(self, x: Any) -> Any:
            found = self.body(x)
            return torch.relu(x + found * self.gate(found))

    torch.manual_seed(seed)
    stem = [nn.Conv2d(channels, 16, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(16), nn.Hardswish()]
    body = [Residual(16), nn.MaxPool2d(3, 2, 1), nn.Conv2d(16, 32, 1), nn.ReLU6(), Residual(32), nn.AvgPool2d(2)]
    model = nn.Sequential(*stem, *body, nn.Flatten(), nn.Linear(32 * 36, outputs), nn.Softmax(1)).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):  # statistics with an effect
                layer.running_mean.uniform_(-0.2, 0.2)
                layer.running_var.uniform_(0.5, 1.5)
        model[-2].weight.mul_(8)  # otherwise all images have nearly the same output
    images = torch.from_numpy(np.zeros((batch or 2, channels, 48, 48), np.float32))
    shapes = None if batch else ({0: torch.export.Dim("images")},)
    torch.export.save(torch.export.export(model, (images,), dynamic_shapes=shapes), path)
    return model
