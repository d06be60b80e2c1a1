"""The scaling of pixels that a model expects (``--input-range``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Mean and standard deviation of each channel, for pixels 0..255. From Keras'
# `keras.applications.imagenet_utils.preprocess_input`. "caffe" has the order blue, green, red. The order matters
# only for these numbers, because the channels of a grey image are equal.
_NAMED = {
    "caffe": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "torch": ((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255)),
}


@dataclass(frozen=True, slots=True)
class InputRange:
    """Pixels 0..255 times ``scale`` plus ``offset``, each one value for all channels or one for each channel."""

    text: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def for_channels(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return scale and offset of each channel. Raises ValueError if they are for another number of channels."""
        if len(self.scale) not in (1, channels):
            raise ValueError(f"{self.text} is for {len(self.scale)} channels, and the model takes {channels}")
        repeat = channels // len(self.scale)
        return self.scale * repeat, self.offset * repeat


RAW = InputRange("0..255", (1.0,), (0.0,))


def parse_input_range(text: str) -> InputRange:
    """Parse ``LOW..HIGH``, ``caffe`` or ``torch``. Raises ValueError for other text."""
    if text in _NAMED:
        mean, spread = _NAMED[text]
        pairs = list(zip(mean, spread, strict=True))
        return InputRange(text, tuple(1 / s for _, s in pairs), tuple(-m / s for m, s in pairs))
    low_text, dots, high_text = text.partition("..")
    try:
        low, high = float(low_text), float(high_text)
    except ValueError:
        low = high = math.nan
    if not dots or not (math.isfinite(low) and math.isfinite(high)) or not low < high <= 1e6 or low < -1e6:
        raise ValueError(
            f"must be the input values for black and white, such as 0..1, -1..1 or 0..255, or caffe or torch: {text!r}"
        )
    return InputRange(text, ((high - low) / 255,), (low,))
