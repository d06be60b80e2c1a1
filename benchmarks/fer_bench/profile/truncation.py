"""Cut a ``.tflite`` file after one of its operators, without converting it again."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fer_edge.model.graph_file import Table

_SUBGRAPHS, _SIGNATURES = 2, 7
_OUTPUTS, _OPERATORS = 2, 3
"""Numbers of fields in TFLite's schema: of a model, and of a subgraph."""


def truncate(content: bytes, count: int, outputs: Sequence[int]) -> bytes:
    """Return a model that runs the first ``count`` operators of ``content`` and returns the tensors ``outputs``.

    ``content`` is a file that ``read_graph`` accepts. Only a few numbers change; the weights of the other operators
    stay in the file.
    """
    data = bytearray(content)
    model = Table(content, struct.unpack_from("<I", content, 0)[0])
    (graph,) = model.tables(_SUBGRAPHS)
    struct.pack_into("<I", data, _vector(graph, content, _OPERATORS), count)
    if model.position(_SIGNATURES) is not None:  # they name the old outputs
        struct.pack_into("<I", data, _vector(model, content, _SIGNATURES), 0)
    data += bytes(-len(data) % 4)
    field = graph.position(_OUTPUTS)
    if field is None:
        raise ValueError("a graph without outputs")
    struct.pack_into("<I", data, field, len(data) - field)
    data += struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)
    return bytes(data)


def _vector(table: Table, content: bytes, field: int) -> int:
    """Return the position of a vector, which begins with its length."""
    at = table.position(field)
    if at is None:
        raise ValueError("a graph without operators")
    return at + int(struct.unpack_from("<I", content, at)[0])
