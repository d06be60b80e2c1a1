"""The engines that can run a model file. A new one is also added to ``LatencyRow.engine``. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_edge.model.interpreter import TensorModel

LITERT, LITERT_NO_XNNPACK, TFLITE_RUNTIME, ONNX_RUNTIME = "litert", "litert-noxnnpack", "tflite-runtime", "onnxruntime"


@dataclass(frozen=True, slots=True)
class Engine:
    """A runtime: it reads files with ``suffix``, is the module ``module``, and is installed by `pip install` with
    ``requirement``.
    """

    name: str
    suffix: str
    module: str
    requirement: str

    @property
    def distribution(self) -> str:
        """The name on PyPI."""
        return self.module.partition(".")[0].replace("_", "-")


ENGINES = {
    engine.name: engine
    for engine in (
        Engine(LITERT, ".tflite", "ai_edge_litert.interpreter", "ai-edge-litert"),
        Engine(LITERT_NO_XNNPACK, ".tflite", "ai_edge_litert.interpreter", "ai-edge-litert"),
        Engine(TFLITE_RUNTIME, ".tflite", "tflite_runtime.interpreter", "tflite-runtime==2.14.0 'numpy<2'"),
        Engine(ONNX_RUNTIME, ".onnx", "onnxruntime", "onnxruntime"),
    )
}


def open_model(engine: Engine, path: Path, threads: int) -> TensorModel:
    """Load ``path`` on ``engine``, which is imported already. Raises ModelError if it cannot run the file."""
    if engine.name == ONNX_RUNTIME:
        from fer_bench.onnx_model import OnnxModel

        return OnnxModel(path, threads)
    from fer_edge.model.interpreter import LiteRtModel

    return LiteRtModel(path, threads, xnnpack=engine.name != LITERT_NO_XNNPACK, interpreter=engine.distribution)
