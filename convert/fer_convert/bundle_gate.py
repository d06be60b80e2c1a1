"""Check an existing bundle against a gate file. Without its Keras model, the variants are compared with float32."""

from __future__ import annotations

from pathlib import Path

from fer_bench.accuracy.evaluation import run_on_split
from fer_bench.results import REFERENCE
from fer_bench.runners import open_runner
from fer_convert.gate import Exported, Finding, check
from fer_convert.gate_rules import read_gate
from fer_edge.errors import InputError
from fer_edge.model.bundle import ModelBundle
from fer_train.data.dataset import load_dataset
from fer_train.splits import PUBLIC_TEST


def judge_bundle(bundle: ModelBundle, gate: Path, data: Path | None) -> list[tuple[str, Finding]]:
    """Compare the variants of ``bundle`` with its float32 variant on PublicTest of ``data``, by the rules in ``gate``.

    Returns:
        The variant and the finding of each rule.

    Raises:
        CheckFailedError: If it breaks a rule.
        InputError: If the bundle has no float32 variant to compare with, or the data cannot be read.
    """
    rules, manifest = read_gate(gate), bundle.manifest
    if REFERENCE not in manifest.variants:
        raise InputError(f"{bundle.folder}: the gate compares with {REFERENCE}, which this bundle does not have")
    judged = rules.judged(tuple(manifest.variants))
    dataset = load_dataset(data)
    logits = {}
    for name in dict.fromkeys((REFERENCE, *judged)):
        with open_runner(bundle.folder, name) as runner:
            logits[name] = run_on_split(runner, dataset, PUBLIC_TEST)
    return check(rules, Exported(bundle, logits, logits[REFERENCE], dataset.splits[PUBLIC_TEST].labels))
