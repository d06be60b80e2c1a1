"""Rules of a gate file (TOML), each defined once: type, range, default, description.

``make gate`` writes the JSON Schema ``convert/gate.schema.json`` and the reference page ``docs/gate.md`` from them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from fer_bench.results import REFERENCE
from fer_edge.errors import ConfigError
from fer_edge.settings.base import Settings, decode, table_schema
from fer_edge.settings.toml_files import read_toml

_MAX_FLOAT = sys.float_info.max
"""The limit that refuses infinity; NaN is within no limits."""
Points = Annotated[float, Meta(ge=-_MAX_FLOAT, le=_MAX_FLOAT, extra={"allowed": "a finite number"})]
Ratio = Annotated[float, Meta(gt=0, le=_MAX_FLOAT, extra={"allowed": "a finite number above 0"})]


class AccuracyRules(Settings, frozen=True):
    """``[accuracy]``: losses against the Keras model on the same images, in percentage points.

    The images are those of PublicTest, or of other data's validation split.
    """

    max_loss_points: Annotated[
        Points | None, Meta(description="Maximum loss of top-1 accuracy: the upper end of its 95 % interval.")
    ] = None
    max_recall_loss_points: Annotated[Points | None, Meta(description="Maximum loss of recall of any class.")] = None
    max_ece_rise_points: Annotated[
        Points | None,
        Meta(description="Maximum rise of the expected calibration error, at the temperature of the bundle."),
    ] = None


class FileRules(Settings, frozen=True):
    """``[file]``: size and operators of the model file."""

    max_bytes: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Maximum size of the file in bytes.")] = (
        None
    )
    operators: Annotated[
        tuple[str, ...] | None,
        Meta(description='Allowed operators, by their names in the file\'s format, such as "CONV_2D" in TFLite.'),
    ] = None


class LatencyRules(Settings, frozen=True):
    """``[latency]``: inference time on the machine that converts, with one thread."""

    max_time_over_float32: Annotated[
        Ratio | None,
        Meta(description="Maximum ratio of the time to that of `float32`, both measured in turns in one run."),
    ] = None


class Gate(Settings, frozen=True):
    """Rules that a bundle must keep to be written. A rule that is not set is not checked."""

    variants: Annotated[
        tuple[str, ...] | None,
        Meta(description="Variants to check. If not set: all variants except for `float32`."),
    ] = None
    accuracy: AccuracyRules = AccuracyRules()
    file: FileRules = FileRules()
    latency: LatencyRules = LatencyRules()

    def judged(self, made: Sequence[str]) -> tuple[str, ...]:
        """Return the variants to check, out of the variants ``made``.

        Raises:
            ConfigError: If a variant of the gate is not made, if float32 is needed and not made, or if there is
                nothing to check.
        """
        if missing := [name for name in self.variants or () if name not in made]:
            raise ConfigError(f"the gate judges {', '.join(missing)}: not among the variants made, {', '.join(made)}")
        if self.latency.max_time_over_float32 is not None and REFERENCE not in made:
            raise ConfigError(f"the gate compares times with {REFERENCE}'s: add {REFERENCE} to --variants")
        judged = self.variants or tuple(name for name in made if name != REFERENCE)
        if not judged:
            raise ConfigError(f"the gate has nothing to judge: only {REFERENCE} is made; name it in its variants")
        return judged


def read_gate(path: Path) -> Gate:
    """Read a gate file.

    Raises:
        ConfigError: If a key is unknown, a value has the wrong type or is out of range, or no rule is set.
    """
    gate = decode(Gate, read_toml(path), str(path))
    rules = (gate.accuracy, gate.file, gate.latency)
    if all(getattr(rule, name) is None for rule in rules for name in rule.__struct_fields__):
        raise ConfigError(f"{path}: holds no rule; give one, such as max_loss_points under [accuracy]")
    return gate


def gate_schema() -> dict[str, Any]:
    """Return the JSON Schema of a gate file.

    >>> gate_schema()["title"]
    'Gate of fer-edge convert'
    """
    return table_schema(Gate, "Gate of fer-edge convert", Gate.__doc__)
