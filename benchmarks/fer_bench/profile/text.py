"""The profile of a model, or of two, as text of at most 100 columns."""

from __future__ import annotations

from fer_bench.results.profile import KerasLayer, LayerProfile, LayerTime, ModelProfile, ProfileReport
from fer_bench.tables import percent, text_table

_COLUMNS = 100
_NAME = 24
"""Characters that are shown of the name of a model, at most, and of a layer, if its table has the room."""


def to_text(report: ProfileReport) -> str:
    """Return the tables of each model, a comparison if there are two, and how it was measured."""
    parts = [_model(model) for model in report.models]
    parts += [_comparison(report)] if len(report.models) == 2 else []
    parts += ["".join(_roofline(model, report) for model in report.models)]
    return "\n".join([*parts, _method(report)])


def share(time: LayerTime | None, total_us: float) -> str:
    """Return a share in percent: ``<`` and a limit if noise hides it, ``↓`` if the time is part of the next layer's."""
    if time is None:
        return "↓"
    if time.measured:
        return percent(time.us / total_us)
    return f"<{max(0.1, 100 * time.max_us / total_us):.1f}"


def _model(model: ModelProfile) -> str:
    keras = _keras_table(model.keras_layers) + "\nexported as float32:\n" if model.keras_layers else ""
    rows = [_row(layer, model) for layer in model.layers]
    header = ["layer", "operator", "output", "params", "MACs", "weights", "out B", "live B", "µs", "time %"]
    return (
        f"{model.model}, {model.variant}: {model.file_bytes:,} bytes\n\n"
        + keras
        + _fitting(header, rows)
        + f"\n{model.parameters:,} parameters, {model.macs:,} MACs, {model.weight_bytes:,} bytes of weights\n"
        f"peak of activations: {model.peak_bytes:,} bytes, at {model.peak_layer}\n"
        f"time of one inference: {model.time_us:,.0f} µs\n"
    )


def _row(layer: LayerProfile, model: ModelProfile) -> list[str]:
    return [
        _short(layer.layer),
        _short(layer.operator.lower().removesuffix("_2d"), 16),
        _shape(layer.shape[1:] or layer.shape),
        _thousands(layer.parameters),
        _thousands(layer.macs),
        _thousands(layer.weight_bytes),
        _thousands(layer.output_bytes),
        _thousands(layer.live_bytes),
        f"{layer.time.us:,.0f}" if layer.time is not None and layer.time.measured else "",
        share(layer.time, model.time_us),
    ]


def _keras_table(layers: tuple[KerasLayer, ...]) -> str:
    rows = [
        [
            _short(layer.layer),
            _short(layer.kind),
            _shape(layer.shape[1:]),
            f"{layer.parameters:,}",
            f"{layer.macs:,}",
            f"{layer.weight_bytes:,}",
        ]
        for layer in layers
    ]
    return _fitting(["layer", "kind", "output", "params", "MACs", "weight bytes"], rows)


def _fitting(header: list[str], rows: list[list[str]]) -> str:
    """Return a table whose first column is shortened until its lines have at most ``_COLUMNS`` characters."""
    table = text_table(header, rows, names=3)
    excess = max(map(len, table.splitlines())) - _COLUMNS
    if excess <= 0:
        return table
    most = max(4, max(len(row[0]) for row in rows) - excess)
    return text_table(header, [[_short(row[0], most), *row[1:]] for row in rows], names=3)


def _comparison(report: ProfileReport) -> str:
    first, second = report.models
    rows = [
        [name, f"{a:,.0f}", f"{b:,.0f}", f"{b / a:.3f}" if a else "–"]
        for name, a, b in (
            ("file bytes", first.file_bytes, second.file_bytes),
            ("parameters", first.parameters, second.parameters),
            ("MACs", first.macs, second.macs),
            ("weight bytes", first.weight_bytes, second.weight_bytes),
            ("peak of activations, bytes", first.peak_bytes, second.peak_bytes),
            ("layers", len(first.layers), len(second.layers)),
        )
    ]
    ratio = "–" if report.time_ratio is None else f"{report.time_ratio:.3f}"
    rows.append(["µs; ratio: alternating", f"{first.time_us:,.0f}", f"{second.time_us:,.0f}", ratio])
    names = [
        f"{label}: {_short(f'{model.model}, {model.variant}')}"
        for label, model in zip("AB", report.models, strict=True)
    ]
    return text_table(["", *names, "B / A"], rows)


def _roofline(model: ModelProfile, report: ProfileReport) -> str:
    roof = report.roof
    limit = roof.attainable(model.macs_per_byte)
    bound = "processor" if limit == roof.int8_macs_per_s else "memory"
    return (
        f"roofline of {_short(model.model)}, {_short(model.variant)}:\n"
        f"  {model.macs_per_s / 1e9:.1f} GMAC/s, {percent(model.macs_per_s / roof.int8_macs_per_s)} % of this core's"
        f" measured int8 peak ({roof.int8_macs_per_s / 1e9:.1f} GMAC/s)\n"
        f"  {model.macs_per_byte:.1f} MACs per byte: the {bound} limits it to {limit / 1e9:.1f} GMAC/s"
        f" (copies: {roof.copied_bytes_per_s / 1e9:.1f} GB/s)\n"
    )


def _method(report: ProfileReport) -> str:
    return (
        f"times: {report.rounds} rounds of truncated models, paired differences (LiteRT's wheel has no op profiler);\n"
        "  <: below noise, at most this; ↓: timed as one with the next layer; the first includes the call\n"
    )


def _short(name: str, most: int = _NAME) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _shape(shape: tuple[int | None, ...]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape)


def _thousands(number: int) -> str:
    """Return ``number`` in at most five characters: 950, 12.3k, 4.5M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}" if number < 1000 * size else f"{number / size:.0f}{unit}"
    return str(number)
