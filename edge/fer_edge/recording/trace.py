"""Records of a run: ``--trace``, one line per processed frame, and ``--stats``, its figures."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fer_edge.errors import OutputError
from fer_edge.system.closing import Closing
from fer_edge.system.files import PendingFile, open_output
from fer_edge.types import FrameResult, RuntimeStatus


class TraceWriter(Closing):
    """Writes ``{"frame": 17, "t": 1.133, "tracks": [{"id", "box", "emotion", "confidence"}]}`` for each frame.

    ``t`` is the source's clock in seconds. With ``name_sources`` each object also has ``source``. ``close`` moves the
    file to its final path with complete lines only, even if the run ends with an error.

    Raises:
        OutputError: if the file cannot be written.
    """

    def __init__(self, path: Path, *, name_sources: bool = False) -> None:
        self._name_sources = name_sources
        self._file = PendingFile(path)
        try:
            self._stream = open(self._file.temporary, "w", encoding="utf-8", opener=open_output)  # noqa: SIM115 - until close
        except OSError as error:
            self._file.discard()
            raise OutputError(f"{path}: cannot be opened for writing: {error.strerror}") from error

    def record(self, result: FrameResult) -> None:
        """Write the line for one frame."""
        entry = trace_entry(result)
        if self._name_sources:
            entry = {"source": result.frame.source, **entry}
        try:
            self._stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Finish the file. Idempotent."""
        if self._stream.closed:
            return
        try:
            self._stream.close()
        except OSError as error:
            raise self._failed(error) from error
        self._file.commit()

    def _failed(self, error: OSError) -> OutputError:
        with suppress(OSError):  # the buffered rest cannot be written either
            self._stream.close()
        self._file.discard()
        return OutputError(f"{self._file.path}: cannot write the trace: {error.strerror}; the file was discarded")


def trace_entry(result: FrameResult) -> dict[str, Any]:
    """Return the trace's object for one frame."""
    tracks = [
        {
            "id": track.track_id,
            "box": track.box.as_list(),
            "emotion": track.emotion,
            "confidence": round(track.confidence, 4),
            **({} if track.valence is None else {"valence": track.valence, "arousal": track.arousal}),
        }
        for track in result.tracks
    ]
    return {"frame": result.frame.index, "t": round(result.frame.captured_at, 3), "tracks": tracks}


def stats_table(status: RuntimeStatus) -> dict[str, Any]:
    """Return the figures of one run for ``--stats``, in milliseconds, seconds and MiB (null if unknown)."""
    return {
        "frames": status.frames,
        "dropped": status.dropped,
        "faces": status.faces,
        "appeared": status.appeared,
        "events": status.events,
        "refused": dict(status.refused),
        "wall_s": round(status.wall_s, 4),
        "cpu_s": round(status.cpu_s, 4),
        "pipeline_cpu_s": round(status.pipeline_cpu_s, 4),
        "rss_mb": None if math.isnan(status.rss_mb) else round(status.rss_mb, 1),
        "interpreter": status.interpreter and dataclasses.asdict(status.interpreter),
        "stages": stages_table(status),
        "zones": {
            name: {
                "entered": zone.entered,
                "emotion_s": {emotion: round(seconds, 2) for emotion, seconds in sorted(zone.emotion_s.items())},
            }
            for name, zone in status.zones.items()
        },
    }


def stages_table(status: RuntimeStatus) -> dict[str, dict[str, float]]:
    """Return percentiles in milliseconds and the number of calls for each stage of one run."""
    columns = ("p50_ms", "p95_ms", "p99_ms", "calls")
    return {
        name: {column: round(getattr(stage, column), 3) for column in columns} for name, stage in status.stages.items()
    }


def combined_stats(statuses: Mapping[str, RuntimeStatus], *, by_source: bool) -> dict[str, Any]:
    """Return the table of a run: for one source its own, ``by_source`` the sums with each source under ``sources``.

    Stages and zones of several sources are listed as ``source/stage`` and ``source/zone``: percentiles cannot be added.
    """
    tables = {name: stats_table(status) for name, status in statuses.items()}
    first = next(iter(tables.values()))
    if not by_source:
        return first
    summed = ("frames", "dropped", "faces", "appeared", "events", "pipeline_cpu_s")
    return {
        **first,
        **{key: round(sum(table[key] for table in tables.values()), 4) for key in summed},
        **{key: max(table[key] for table in tables.values()) for key in ("wall_s", "cpu_s")},
        "refused": {fault: sum(table["refused"][fault] for table in tables.values()) for fault in first["refused"]},
        "stages": {f"{name}/{stage}": row for name, table in tables.items() for stage, row in table["stages"].items()},
        "zones": {
            f"{name}/{zone}": totals for name, table in tables.items() for zone, totals in table["zones"].items()
        },
        "sources": {name: {key: table[key] for key in (*summed, "refused")} for name, table in tables.items()},
    }


def write_stats(file: PendingFile, table: Mapping[str, Any]) -> None:
    """Write ``table`` to ``file`` as indented JSON and move it to its final path. Raises OutputError."""
    try:
        with open(file.temporary, "w", encoding="utf-8", opener=open_output) as stream:
            stream.write(json.dumps(table, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        file.discard()
        raise OutputError(f"{file.path}: cannot write the stats: {error.strerror}") from error
    file.commit()
