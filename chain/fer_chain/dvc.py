"""A chain as a ``dvc.yaml``, which DVC runs without FER-Edge's own runner."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from fer_chain.plan import Step
from fer_edge.errors import InputError


def dvc_yaml(steps: Sequence[Step], file: Path) -> str:
    """Return the stages of ``steps`` as YAML. A step that another one must follow is a dependency by its outputs.

    Raises:
        InputError: if an output is outside of the current folder, which DVC does not allow.
    """
    outputs = {step.name: step.outputs for step in steps}
    lines = [f"# Written by: fer-edge chain export dvc {shlex.quote(str(file))}", "stages:"]
    for step in steps:
        for path in step.outputs:
            if path.is_absolute() or ".." in path.parts:
                raise InputError(f"{file}: out: DVC needs a folder below the current one, not {path}")
        reads = [*step.inputs, *(path for name in step.after for path in outputs[name])]
        command = shlex.join(("fer-edge", *step.words))
        if not step.after:  # the first step, in a new checkout
            folders = dict.fromkeys(str(path.parent) for path in step.outputs)
            command = f"{shlex.join(('mkdir', '-p', *folders))} && {command}"
        lines += [f"  {step.name}:", f"    cmd: {_text(command)}"]
        for key, paths in (("deps", _without_parts(reads)), ("outs", step.outputs)):
            lines += [f"    {key}:", *(f"      - {_text(str(path))}" for path in paths)] if paths else []
    return "\n".join(lines) + "\n"


def _without_parts(paths: Sequence[Path]) -> list[Path]:
    """Return each path once, without those inside another one."""
    distinct = list(dict.fromkeys(paths))
    return [path for path in distinct if not any(other in path.parents for other in distinct)]


def _text(text: str) -> str:
    """Return a YAML string: JSON's are. ``${`` would be a template of DVC."""
    return json.dumps(text.replace("${", "\\${"), ensure_ascii=False)
