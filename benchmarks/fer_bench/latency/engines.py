"""The engines that can run a model file. A new one is also added to ``LatencyRow.engine``. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

LITERT, LITERT_NO_XNNPACK, TFLITE_RUNTIME, ONNX_RUNTIME = "litert", "litert-noxnnpack", "tflite-runtime", "onnxruntime"


@dataclass(frozen=True, slots=True)
class Engine:
    """A runtime: it reads files with ``suffix``, is the module ``module``, and is installed by `pip install` with
    ``requirement``. The class ``loader``, as module:name, loads a file for it, with the arguments ``options``.
    """

    name: str
    suffix: str
    module: str
    requirement: str
    loader: str = "fer_edge.model.interpreter:LiteRtModel"
    options: Mapping[str, bool | str] = field(default_factory=dict)

    @property
    def distribution(self) -> str:
        """The name on PyPI."""
        return self.module.partition(".")[0].replace("_", "-")


def _tflite(name: str, module: str, requirement: str, *, xnnpack: bool = True) -> Engine:
    engine = Engine(name, ".tflite", module, requirement)
    return replace(engine, options={"xnnpack": xnnpack, "interpreter": engine.distribution})


ENGINES = {
    engine.name: engine
    for engine in (
        _tflite(LITERT, "ai_edge_litert.interpreter", "ai-edge-litert"),
        _tflite(LITERT_NO_XNNPACK, "ai_edge_litert.interpreter", "ai-edge-litert", xnnpack=False),
        _tflite(TFLITE_RUNTIME, "tflite_runtime.interpreter", "tflite-runtime==2.14.0 'numpy<2'"),
        Engine(ONNX_RUNTIME, ".onnx", "onnxruntime", "onnxruntime", "fer_bench.onnx_model:OnnxModel"),
    )
}
