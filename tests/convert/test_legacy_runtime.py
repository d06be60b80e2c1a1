"""Released files and every variant on tflite-runtime 2.14, the oldest supported runtime, in a separate environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_convert.export.variants import VARIANTS
from support.environments.fresh_install import CHECKOUT

RELEASED = CHECKOUT / "models" / "fer-edge-s"
RUN = """
import sys
import numpy as np
try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
(given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
random = np.random.default_rng(0)
outputs = []
for _ in range(20):
    interpreter.set_tensor(given["index"], random.integers(0, 256, given["shape"]).astype(given["dtype"]))
    interpreter.invoke()
    outputs.append(interpreter.get_tensor(result["index"]).copy())
np.save(sys.argv[2], np.concatenate(outputs))
"""


def run(python: Path, model: Path, output: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    subprocess.run([python, "-c", RUN, model, output], check=True, capture_output=True, timeout=300)
    return np.load(output).astype(np.float64)


@pytest.mark.slow
def test_every_tflite_variant_runs_on_both(legacy_python: Path, mini_bundle: Path, tmp_path: Path) -> None:
    for spec in VARIANTS.values():
        if spec.onnx_of is None:
            ours = run(Path(sys.executable), mini_bundle / spec.file, tmp_path / "ours.npy")
            theirs = run(legacy_python, mini_bundle / spec.file, tmp_path / "theirs.npy")
            assert np.ptp(ours) > 0, spec.name
            tolerance = 2.0 if spec.output_dtype == "int8" else 2e-3 * np.ptp(ours)
            np.testing.assert_allclose(theirs, ours, atol=tolerance, err_msg=spec.name)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "tolerance"), [("float32", 1e-4), ("int8", 2.0)])
def test_both_runtimes_agree(legacy_python: Path, tmp_path: Path, variant: str, tolerance: float) -> None:
    model = RELEASED / f"{variant}.tflite"
    ours = run(Path(sys.executable), model, tmp_path / "ours.npy")
    theirs = run(legacy_python, model, tmp_path / "theirs.npy")
    assert np.ptp(ours) > 0
    # int8, in steps of the quantized logit: each layer may round differently, and sometimes two such errors add up.
    np.testing.assert_allclose(theirs, ours, atol=tolerance)
    assert (np.abs(theirs - ours) <= min(tolerance, 1.0)).mean() > 0.95
