"""Types and limits that several settings of a recipe share."""

from __future__ import annotations

import sys
from typing import Annotated

from msgspec import Meta

MAX_COUNT = 1_000_000
"""Maximum of counts without a natural limit; arithmetic on much larger ones overflows."""
MAX_FLOAT = sys.float_info.max
"""Maximum of numbers without another limit; it excludes infinity."""

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Seed = Annotated[int, Meta(ge=0, lt=2**32)]
Width = Annotated[int, Meta(ge=1)]
ImageSize = Annotated[int, Meta(ge=16, le=512)]
"""Side of a square image in pixels."""
Adjustment = Annotated[float, Meta(ge=-10, le=10)]
"""Of a logit; a factor of e**10 is far beyond the frequencies of any labels."""
ShareBelowOne = Annotated[float, Meta(ge=0, lt=1)]
Positive = Annotated[float, Meta(gt=0, le=MAX_FLOAT, extra={"allowed": "a finite number above 0"})]
NonNegative = Annotated[float, Meta(ge=0, le=MAX_FLOAT, extra={"allowed": "a finite number of at least 0"})]
