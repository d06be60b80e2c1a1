"""The size of TFLM's tensor arena on a 32-bit processor.

The activations are placed as TFLM's greedy planner places them (memory_planner/greedy_memory_planner.cc). The
interpreter's other memory is calculated from the sizes of its structs; a test compares the sum with TFLM's own number.
"""

from __future__ import annotations

from fer_bench.profile.graph import Graph
from fer_bench.profile.memory import lifetimes

ALIGNMENT = 16
_PER_TENSOR, _PER_OPERATOR, _PER_CHANNEL, _FIXED = 12, 120, 8, 1536
"""Bytes: a TfLiteEvalTensor; a node with its registration and the kernel's data; multiplier and shift of an output
channel; the interpreter's allocators and planner, and the tensors of input and output."""
_WITH_CHANNELS = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"}


def arena_bytes(graph: Graph) -> int:
    """Return how many bytes to give to the arena, a multiple of 1,024: the estimate, and a reserve of 5 %."""
    channels = sum(
        graph.tensors[operator.outputs[0]].shape[-1] for operator in graph.operators if operator.name in _WITH_CHANNELS
    )
    kept = _FIXED + _PER_TENSOR * len(graph.tensors) + _PER_OPERATOR * len(graph.operators) + _PER_CHANNEL * channels
    return -(-round(1.05 * (activation_bytes(graph) + kept)) // 1024) * 1024


def activation_bytes(graph: Graph) -> int:
    """Return the bytes of all activations, if each is placed at the lowest free offset, the largest first."""
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first use, last use
    # Of equal sizes, TFLM places the last tensor first.
    last_first = list(reversed(_buffers(graph)))
    for size, first, last in sorted(last_first, key=lambda buffer: -buffer[0]):
        offset = 0
        for start, end, begins, ends in sorted(placed):
            if first <= ends and begins <= last:
                if start - offset >= size:
                    break
                offset = max(offset, end)
        placed.append((offset, offset + size, first, last))
    return max((end for _, end, _, _ in placed), default=0)


def _buffers(graph: Graph) -> list[tuple[int, int, int]]:
    """Return size, first use and last use (as numbers of operators, from 1) of each activation."""
    return [
        (-(-graph.tensors[one.tensor].bytes // ALIGNMENT) * ALIGNMENT, one.first, one.last) for one in lifetimes(graph)
    ]
