"""Check the graph in a ``.tflite`` file for values that crash the interpreter, which checks only its structure.

LiteRT 2.3 ends the process with SIGSEGV or SIGABRT for scales that are not normal numbers and for a missing filter. The
check reads a few kilobytes of the file and takes about a millisecond. It does not replace ``fer_edge.model.trial``.
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path

from fer_edge.errors import ModelError, reason_of

_IDENTIFIER = b"TFL3"
_MIN_SCALE, _MAX_SCALE = 1e-30, 1e30
"""As in the manifest. Products and quotients of scales must be within float32 too."""
_QUANTIZED = {3: "uint8", 7: "int16", 9: "int8"}
"""Types of quantized activations by their number in the schema of TFLite."""
_NEED_FILTER = {3, 4, 9, 67}
"""Operators that cannot run without their second input: the convolutions, and the fully connected layer."""
_HAVE_OPTIONAL_INPUTS = _NEED_FILTER | {16, 27, 32, 35, 44, 52, 132}
"""Operators that work without one of their inputs: also recurrent and 3-D layers, and custom operators."""
_MAX_VECTOR = 1 << 20
_Buffer = bytes | mmap.mmap


def check_graph_file(path: Path) -> None:
    """Check the scales, indices and names of the graph in the file at ``path``.

    Raises:
        ModelError: If it cannot be read, is damaged, or contains a value that no conversion produces.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            problem = find_problem(data)
    except (struct.error, IndexError, ValueError) as error:  # an offset beyond the end; mmap of an empty file
        raise ModelError(f"{path}: not a usable .tflite model (damaged or truncated?): {reason_of(error)}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read it: {reason_of(error)}") from None
    if problem is not None:
        raise ModelError(f"{path}: not a usable .tflite model: {problem}; convert the model again")


def find_problem(data: _Buffer) -> str | None:
    """Return what is wrong with the graph in ``data``, None if nothing was found.

    Raises:
        struct.error: If the file is truncated.
        ValueError: If it is damaged, or not a ``.tflite`` file.
    """
    if data[4:8] != _IDENTIFIER:
        raise ValueError("it does not begin like a .tflite file")
    model = Table(data, struct.unpack_from("<I", data, 0)[0])
    codes = [max(code.integer(0, "b"), code.integer(3, "i")) for code in model.tables(1)]
    buffers = model.tables(4)
    for number, graph in enumerate(model.tables(2)):
        tensors, operators = graph.tables(0), graph.tables(3)
        where = f"subgraph {number}"
        if not operators and number == 0:
            return f"{where} has no operators"
        for index, tensor in enumerate(tensors):
            problem = _problem_of_tensor(tensor, buffers)
            if problem is not None:
                return f"tensor {index} of {where}: {problem}"
        for side, field in (("input", 1), ("output", 2)):
            if any(not 0 <= index < len(tensors) for index in graph.integers(field)):
                return f"{where} has an {side} that is not one of its {len(tensors)} tensors"
        for index, operator in enumerate(operators):
            problem = _problem_of_operator(operator, codes, len(tensors))
            if problem is not None:
                return f"operator {index} of {where}: {problem}"
    return None


def _problem_of_tensor(tensor: Table, buffers: list[Table]) -> str | None:
    try:
        tensor.raw(3).decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8"
    quantization = tensor.table(4)
    if quantization is None or tensor.integer(1, "b") not in _QUANTIZED:
        return None
    buffer = tensor.integer(2, "I")
    # Weights may have channels that are all 0, and any small scale with them.
    constant = buffer < len(buffers) and (buffers[buffer].length(0) > 0 or buffers[buffer].integer(1, "Q") > 1)
    lowest = 0.0 if constant else _MIN_SCALE
    for scale in quantization.floats(2):
        if not (math.isfinite(scale) and lowest <= scale <= _MAX_SCALE):
            return f"its scale is {scale:g}"
    return None


def _problem_of_operator(operator: Table, codes: list[int], tensors: int) -> str | None:
    number = operator.integer(0, "I")
    if number >= len(codes):
        return "its type is unknown"
    inputs, outputs = operator.integers(1), operator.integers(2)
    if any(not -1 <= index < tensors for index in inputs) or any(not 0 <= index < tensors for index in outputs):
        return f"it uses a tensor that is not one of the {tensors}"
    if codes[number] in _NEED_FILTER and (len(inputs) < 2 or -1 in inputs[:2]):
        return "it has no filter"
    # -1 is an input that is left out, such as a bias. Other operators would read the memory before the tensors.
    if -1 in inputs and (codes[number] not in _HAVE_OPTIONAL_INPUTS or inputs[0] == -1):
        return "it lacks an input"
    return None


class Table:
    """A table of a flatbuffer. Fields have the numbers of the schema; one that is left out has its default value."""

    def __init__(self, data: _Buffer, position: int) -> None:
        self._data, self._position = data, position
        self._fields = position - struct.unpack_from("<i", data, position)[0]
        if self._fields < 0:
            raise ValueError("an offset points before the file")
        self._end = struct.unpack_from("<H", data, self._fields)[0]

    def position(self, field: int) -> int | None:
        """Return the position of ``field`` in the file, None if it is left out."""
        entry = 4 + 2 * field
        if entry + 2 > self._end:
            return None
        offset = struct.unpack_from("<H", self._data, self._fields + entry)[0]
        return self._position + offset if offset else None

    def integer(self, field: int, kind: str) -> int:
        """Return an integer of the ``struct`` format ``kind``; 0 if it is left out."""
        at = self.position(field)
        return 0 if at is None else int(struct.unpack_from(f"<{kind}", self._data, at)[0])

    def table(self, field: int) -> Table | None:
        """Return a table, None if it is left out."""
        at = self.position(field)
        return None if at is None else Table(self._data, self._target(at))

    def tables(self, field: int) -> list[Table]:
        """Return the elements of a vector of tables."""
        return [Table(self._data, self._target(at)) for at in self._elements(field, 4)]

    def integers(self, field: int, kind: str = "i") -> list[int]:
        """Return a vector of integers of the ``struct`` format ``kind``: int32, or int64 for ``q``."""
        elements = self._elements(field, struct.calcsize(f"<{kind}"))
        return [int(struct.unpack_from(f"<{kind}", self._data, at)[0]) for at in elements]

    def floats(self, field: int) -> list[float]:
        """Return a vector of float32."""
        return [float(struct.unpack_from("<f", self._data, at)[0]) for at in self._elements(field, 4)]

    def raw(self, field: int) -> bytes:
        """Return a vector of bytes, such as a string."""
        elements = self._elements(field, 1)
        return self._data[elements.start : elements.stop]

    def length(self, field: int) -> int:
        """Return the length of a vector; 0 if it is left out."""
        at = self.position(field)
        return 0 if at is None else int(struct.unpack_from("<I", self._data, self._target(at))[0])

    def _elements(self, field: int, size: int) -> range:
        """Return the positions of the elements of a vector, which have ``size`` bytes each."""
        at = self.position(field)
        if at is None:
            return range(0)
        length = self.length(field)
        if length > _MAX_VECTOR:  # a damaged file must not keep the program busy
            raise ValueError(f"a list has {length} elements")
        start = self._target(at) + 4
        return range(start, start + length * size, size)

    def _target(self, at: int) -> int:
        return at + int(struct.unpack_from("<I", self._data, at)[0])
