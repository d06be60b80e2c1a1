"""``fer-edge convert model.pt2``: a file of torch.export.save becomes a bundle with the same outputs."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from support.data.fer2013 import write_mini_fer2013
from support.models.bundles import random_faces
from support.training.mini_run import assert_refused, fer_edge

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-backends")
pytest.importorskip("torch._dynamo")  # before another test imports TensorFlow; see import_before_tensorflow
# In a separate process: onnx2tf removes the recursion limit, on which other tests of this process rely.
pytestmark = pytest.mark.skipif(find_spec("onnx2tf") is None, reason="the extra [import] is not installed")


@pytest.mark.parametrize(("channels", "batch"), [(1, None), (3, 1)])
def test_an_exported_program_becomes_a_bundle(channels: int, batch: int | None, tmp_path: Path) -> None:
    from fer_bench.runners import open_runner
    from fer_edge.model.quantization import softmax
    from support.models.torch_network import write_exported

    data = write_mini_fer2013(tmp_path / "fer2013.csv")
    path = tmp_path / "theirs.pt2"
    model = write_exported(path, channels=channels, batch=batch)
    done = fer_edge(
        "convert", path, "--out", tmp_path / "out", "--input-range", "0..1", "--variants", "float32", data=data
    )
    assert done.returncode == 0, done.stderr
    for words in ("a program of torch.export", "softmax is removed", "differ from PyTorch's"):
        assert words in done.stderr
    images = random_faces(20)
    pixels = np.repeat(images[:, np.newaxis].astype(np.float32) / 255, channels, axis=1)
    with torch.no_grad():
        theirs = model(torch.from_numpy(pixels)).numpy()
    assert np.ptp(theirs, axis=0).max() > 0.02  # the outputs differ between the images
    with open_runner(tmp_path / "out") as runner:
        np.testing.assert_allclose(softmax(runner.logits(images)), theirs, atol=1e-4)


def test_a_truncated_program_is_refused(tmp_path: Path) -> None:
    from support.models.torch_network import write_exported

    data = write_mini_fer2013(tmp_path / "fer2013.csv")
    path = tmp_path / "theirs.pt2"
    write_exported(path)
    path.write_bytes(path.read_bytes()[:2000])
    done = fer_edge("convert", path, "--out", tmp_path / "out", "--input-range", "0..1", data=data)
    assert_refused(done, 4, "theirs.pt2", "cannot load it")
