"""The plots of moving faces: processor time by stage, by number of faces, and by frame size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fer_bench.plots import BLUE, GREY, RED, new_figure
from fer_bench.results.sequence import (
    FER_EDGE,
    FER_EDGE_YUNET,
    FULL_SEARCHES,
    FULL_YUNET,
    CostCell,
    SequenceSection,
)

_COLOURS = {
    FER_EDGE: BLUE,
    **dict(zip(FULL_SEARCHES, (RED, GREY), strict=True)),
    FER_EDGE_YUNET: "#2f855a",
    FULL_YUNET: "#b7791f",
}
_MIN_LABEL = 0.06
"""Minimum share of the axis for a part of a bar with a label."""
_ONE_SIZE = (640, 480)


def frame_time(section: SequenceSection) -> Any:
    """Draw the time of each stage: the full search and FER-Edge on one scale, and FER-Edge enlarged below."""
    systems = [name for name in (next(iter(FULL_SEARCHES)), FER_EDGE) if _parts(section, name)]
    if not systems:
        return None
    stages = list(dict.fromkeys(share.stage for share in section.stages))
    figure, (both, alone) = new_figure(8.2, 3.9, rows=2, height_ratios=[2, 1.15])
    for axes, names in ((both, systems), (alone, systems[-1:])):
        widest = max(sum(_parts(section, name).values()) for name in names)
        for place, name in enumerate(reversed(names)):
            _bar(axes, place, _parts(section, name), stages, widest)
        axes.set_yticks(range(len(names)), list(reversed(names)))
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlim(0, widest * 1.12)
    both.set_title("Where a frame's time goes: one easy face, 640×480")
    alone.set_xlabel("processor milliseconds a frame; below: the same, enlarged")
    handles, names = alone.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _parts(section: SequenceSection, system: str) -> dict[str, float]:
    return {share.stage: share.ms_per_frame for share in section.stages if share.system == system}


def _bar(axes: Any, place: int, parts: dict[str, float], stages: Sequence[str], widest: float) -> None:
    left = 0.0
    for number, stage in enumerate(stages):
        width = parts.get(stage, 0.0)
        axes.barh(place, width, left=left, height=0.7, color=f"C{number}", label=stage)
        if width > _MIN_LABEL * widest:
            axes.text(left + width / 2, place, f"{width:.1f}", ha="center", va="center", fontsize=8, color="white")
        left += width
    axes.text(left + 0.01 * widest, place, f"{left:.1f} ms", va="center", fontsize=9)


def costs(section: SequenceSection) -> Any:
    """Draw processor time per frame by the number of faces at 640x480, and by frame size."""
    if not section.costs:
        return None
    figure, (by_faces, by_size) = new_figure(9.6, 4.2, columns=2)
    for name, colour in _COLOURS.items():
        cells = [cell for cell in section.costs if cell.system == name]
        if not cells:
            continue
        _line(by_faces, [cell for cell in cells if (cell.width, cell.height) == _ONE_SIZE], "faces", colour, name)
        for faces, style in ((1, "-"), (3, "--")):
            if name == FER_EDGE or faces == 1:
                of_size = sorted((cell for cell in cells if cell.faces == faces), key=lambda cell: cell.width)
                label = f"{name}, {faces} face{'s' * (faces > 1)}"
                _line(by_size, of_size, "megapixels", colour, label, style)
    by_faces.set_xlabel("faces, 640×480")
    by_size.set_xlabel("megapixels of the frame: 320×240 to 1920×1080")
    by_size.set_xscale("log")
    for axes in (by_faces, by_size):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_ylabel("processor milliseconds a frame (logarithmic)")
        axes.grid(alpha=0.25, which="both")
        axes.legend(frameon=False, fontsize=8)
    by_size.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    by_size.xaxis.set_minor_formatter(lambda value, _: "")
    figure.suptitle("What a frame costs while faces are followed")
    return figure


def _line(axes: Any, cells: Sequence[CostCell], across: str, colour: str, label: str, style: str = "-") -> None:
    places = [cell.faces if across == "faces" else cell.width * cell.height / 1e6 for cell in cells]
    axes.plot(places, [cell.cpu_ms for cell in cells], style, marker="o", markersize=4, color=colour, label=label)
