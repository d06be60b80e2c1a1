"""Model files are loaded or refused with a one-line message, and run as specified in the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import ModelError
from fer_edge.model.interpreter import LITERT, LiteRtModel
from support.environments.interpreters import HERE, checks_files


def test_details_and_a_run(tiny_bundle: Path) -> None:
    model = LiteRtModel(tiny_bundle / "int8.tflite")
    details = model.input_details
    assert (details.dtype, details.scale, details.zero_point) == ("uint8", 1.0, 0)
    assert details.shape == (1, 48, 48, 1)
    assert model.output_details.dtype == "int8" and model.output_details.shape == (1, 7)
    image = np.random.default_rng(1).integers(0, 256, (1, 48, 48, 1), dtype=np.uint8)
    first = model.invoke(image)
    model.invoke(255 - image)
    again = model.invoke(image)
    # The result is a copy, which later runs do not change.
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.int8 and first.shape == (1, 7)
    model.close()
    model.close()


def test_float_tensors_have_scale_one(tiny_bundle: Path) -> None:
    details = LiteRtModel(tiny_bundle / "float32.tflite").input_details
    assert (details.dtype, details.scale, details.zero_point) == ("float32", 1.0, 0)


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_delegated_nodes_are_counted(tiny_bundle: Path, variant: str) -> None:
    with_it = LiteRtModel(tiny_bundle / f"{variant}.tflite").describe()
    without = LiteRtModel(tiny_bundle / f"{variant}.tflite", xnnpack=False).describe()
    # It runs two convolutions as one part and the dense layer as another, and not the shape computation between them.
    # XNNPACK of tflite-runtime supports neither int8 graphs nor shapes that the graph computes.
    taken = 3 if HERE == LITERT else 0
    assert (with_it.delegated_nodes, without.delegated_nodes) == (taken, 0)
    assert with_it.nodes == without.nodes > 3
    assert (with_it.delegate, without.delegate) == ("XNNPACK" if taken else None, None)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 48, 48), "uint8"), ((1, 48, 48, 1), "float32"), ((2, 48, 48, 1), "uint8")]
)
def test_a_wrong_tensor_is_refused(tiny_bundle: Path, shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        LiteRtModel(tiny_bundle / "int8.tflite").invoke(np.zeros(shape, dtype))


@checks_files
@pytest.mark.parametrize("keep", [0, 4, 0.25, 0.5, 0.9, -4])
def test_a_truncated_model_is_refused(tiny_bundle: Path, tmp_path: Path, keep: float) -> None:
    whole = (tiny_bundle / "int8.tflite").read_bytes()
    size = int(keep * len(whole)) if 0 < keep < 1 else int(keep)
    path = tmp_path / "cut.tflite"
    path.write_bytes(whole[:size])
    with pytest.raises(ModelError, match=r"cut\.tflite: not a usable") as caught:
        LiteRtModel(path)
    assert "\n" not in str(caught.value)


@checks_files
@pytest.mark.parametrize("content", [b"PK\x03\x04" + bytes(100), b"hello\n" * 50, bytes(4096)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"other\.tflite"):
        LiteRtModel(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tflite", tmp_path):
        with pytest.raises(ModelError, match="no such model file"):
            LiteRtModel(path)


def test_loading_prints_nothing_and_leaves_stderr_open(tiny_bundle: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from fer_edge.model.interpreter import LiteRtModel;"
        f"LiteRtModel(Path({str(tiny_bundle / 'int8.tflite')!r})); sys.stderr.write('still here')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "still here" and done.stdout == ""
