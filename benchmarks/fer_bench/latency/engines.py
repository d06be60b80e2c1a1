"""What can run a model file. An engine is added here, and named in the report's schema; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_edge.model.interpreter import TensorModel

LITERT, LITERT_NO_XNNPACK, TFLITE_RUNTIME, ONNX_RUNTIME = "litert", "litert-noxnnpack", "tflite-runtime", "onnxruntime"


@dataclass(frozen=True, slots=True)
class Engine:
    """A runtime and how it is used: it reads files with ``suffix``, is the module ``module`` and comes with
    `pip install` and ``requirement``.
    """

    name: str
    suffix: str
    module: str
    requirement: str

    @property
    def distribution(self) -> str:
        """Its name on PyPI."""
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
    """Load ``path`` on ``engine``, which is imported already. Raises ModelError for a file that it cannot run."""
    if engine.name == ONNX_RUNTIME:
        from fer_bench.onnx_model import OnnxModel

        return OnnxModel(path, threads)
    from fer_edge.model.interpreter import LiteRtModel

    return LiteRtModel(path, threads, xnnpack=engine.name != LITERT_NO_XNNPACK, interpreter=engine.distribution)
