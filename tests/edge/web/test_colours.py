"""The contrast of the page's colours meets WCAG 2.2, level AA."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = (files("fer_edge.web") / "page" / "page.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
)
TEXTS = [(text, ground) for text in ("ink", "quiet", "accent", "good", "warn", "bad") for ground in ("ground", "card")]
TINTED = [(kind, f"{kind}-tint") for kind in ("good", "warn", "bad")] + [("ink", "bad-tint"), ("quiet", "track")]


def luminance(colour: str) -> float:
    """Return the relative luminance; https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_is_sufficient(colours: dict[str, str]) -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    for text, ground in TEXTS + TINTED:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for mark in (f"e{number}" for number in (*range(7), "u")):
        assert contrast(colours[mark], colours["card"]) >= 3, mark
