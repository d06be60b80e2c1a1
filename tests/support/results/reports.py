"""Reports in the form of `fer-edge bench`, with made-up numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import structs

from fer_bench.results import (
    AccuracyResult,
    BenchmarkReport,
    BundleInfo,
    ClassRecall,
    CpuFrequency,
    DatasetInfo,
    HostInfo,
    LatencyRow,
    LatencySettings,
    MachineChange,
    MachineState,
    ReliabilityBin,
    ShareResult,
    Temperature,
    ThrottleFlags,
    VariantResult,
)
from fer_bench.results.hex_bits import to_hex
from fer_bench.results.sequence import (
    FER_EDGE,
    FULL_SEARCHES,
    CastInfo,
    ChangeScore,
    CostCell,
    FaceFrames,
    KindResult,
    Score,
    SequenceSection,
    SequenceSettings,
    StageShare,
)

HOST = HostInfo("Linux", "aarch64", "Raspberry Pi 4", "3.11.2", "ai-edge-litert 2.3.0", "1.26.4")
BUNDLE = BundleInfo("fer", "1.0.0", ("sad", "happy"), 48, 48, 1.25)


def accuracy(split: str, share: float, agreement: float | None = None, p: float | None = None) -> AccuracyResult:
    right = round(share * 1000)
    changed = agreement is not None
    return AccuracyResult(
        split,
        n=1000,
        correct=right,
        accuracy=share,
        low=share - 0.03,
        high=share + 0.03,
        balanced_accuracy=share - 0.1,
        ece=0.02,
        temperature=1.25,
        agreement=agreement,
        mcnemar_p=p,
        leak_free=ShareResult(900, right - 110, (right - 110) / 900, 0.5, 0.7),
        ferplus=ShareResult(950, right + 20, (right + 20) / 950, 0.6, 0.8),
        classes=(
            ClassRecall("sad", 600, right - 300, (right - 300) / 600, -2 / 600 if changed else None),
            ClassRecall("happy", 400, 300, 0.75, 0.0 if changed else None),
        ),
        confusion=((right - 300, 900 - right), (100, 300)),
        reliability=(ReliabilityBin(0, 0.0, 0.0), ReliabilityBin(1000, 0.7, share)),
        right=to_hex(np.arange(1000) < right),
        distinct=ShareResult(880, right - 120, (right - 120) / 880, 0.5, 0.7),
    )


def latency_row(variant: str, engine: str, threads: int, **changes: Any) -> LatencyRow:
    measured = LatencyRow(
        variant,
        engine,
        threads,
        runtime="ai-edge-litert 2.3.0",
        size_bytes=2048,
        runs=60,
        p50_ms=1.0,
        p95_ms=2.0,
        p99_ms=3.0,
        max_ms=4.5,
        ratio=1.0,
        mac_per_s=57e9,
        nodes=24,
        delegated_nodes=24,
        import_ms=80.0,
        load_ms=12.0,
        rss_before_mib=13.0,
        rss_import_mib=30.0,
        rss_loaded_mib=43.5,
        busy_rounds=0,
        throttled_rounds=None,
        round_p50_ms=(1.0, 1.1, 0.9),
        quantiles_ms=tuple(np.linspace(0.8, 4.5, 51).tolist()),
    )
    return structs.replace(measured, **changes)


COLD = MachineState(
    (CpuFrequency("policy0", "ondemand", 600.0, 1800.0),),
    (Temperature("cpu_thermal temp1", 51.5), Temperature("nvme", 40.0)),
    ThrottleFlags("0x0", (), ()),
    None,
    (0.25, 0.5, 0.5),
)
HOT = structs.replace(
    COLD,
    temperatures=(Temperature("cpu_thermal temp1", 82.0),),
    throttled=ThrottleFlags("0x40005", ("under-voltage", "throttled"), ("throttled",)),
    throttle_count=12,
)


def report() -> BenchmarkReport:
    return BenchmarkReport(
        HOST,
        BUNDLE,
        (
            VariantResult("float32", 2048, "a" * 64, (accuracy("PublicTest", 0.65),)),
            VariantResult("int8", 1024, "b" * 64, (accuracy("PublicTest", 0.648, 0.981, 0.0004),)),
        ),
        DatasetInfo("fer2013", "c" * 64),
        LatencySettings(3, 20, 5),
        MachineChange(COLD, HOT),
        (
            latency_row("float32", "litert", 1),
            latency_row("int8", "litert", 2, p50_ms=0.5, ratio=0.5, delegated_nodes=23, size_bytes=1024, busy_rounds=2),
            latency_row("int8", "tflite-runtime", 1, runtime="tflite-runtime 2.14.0", delegated_nodes=0, ratio=8.0),
        ),
    )


def sequence_section() -> SequenceSection:
    """FER-Edge 60 times as cheap as the finer full search, with every goal reached."""
    systems = {FER_EDGE: 2.0, **dict(zip(FULL_SEARCHES, (120.0, 44.0), strict=True))}
    seen = FaceFrames(
        frames=100, false_frames=1, ghost_frames=1, shown=100, matched=80, findable_shown=90, findable_matched=78
    )
    scores = {
        name: Score(
            cpu_s=ms / 10,
            faces=seen,
            shared=seen,
            sight_s=60.0,
            id_switches=1 if name == FER_EDGE else 0,
            visits=2,
            acquired_s=(0.2, 0.4),
            by_answer=ChangeScore(2, (0.5, 1.0), 1 if name == FER_EDGE else 30, 60.0),
            by_label=ChangeScore(3, (0.5, 1.0), 1 if name == FER_EDGE else 30, 60.0),
            changed_events=4 if name == FER_EDGE else 0,
        )
        for name, ms in systems.items()
    }
    return SequenceSection(
        SequenceSettings(("easy", "leaving"), 640, 480, 100, 15.0, 1, 5),
        CastInfo("fer2013", "PublicTest", "c" * 64, True, ("disgust",), 1580, 30, 24),
        tuple(KindResult(kind, name, score) for kind in ("easy", "leaving") for name, score in scores.items()),
        tuple(StageShare(name, stage, ms / 2) for name, ms in systems.items() for stage in ("detect_full", "classify")),
        tuple(
            CostCell(name, *size, faces, float(faces), ms + faces)
            for size in ((320, 240), (640, 480))
            for faces in (0, 1, 3)
            for name, ms in systems.items()
        ),
    )
