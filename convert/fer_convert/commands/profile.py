"""``fer-edge profile``: what each layer of a model costs, and how far it is from what this machine can do."""

from __future__ import annotations

import argparse
import contextlib
from functools import partial
from pathlib import Path

from fer_bench.extras import progress
from fer_bench.host import describe_host
from fer_bench.profile.measure import profile
from fer_bench.profile.picture import draw
from fer_bench.profile.roof import copy_rate, int8_peak
from fer_bench.profile.text import to_text
from fer_bench.profile.timing import METHOD, time_ratio
from fer_bench.results.profile import ProfileReport, Roof, profile_to_json
from fer_convert.commands.bench_options import check_outputs, deliver
from fer_convert.profile_subject import is_bundle, open_subject
from fer_edge.errors import InputError


def run(arguments: argparse.Namespace) -> int:
    """Profile one model, or compare two."""
    paths = _paths(arguments)
    json_path, folder = arguments.json, arguments.out
    check_outputs(json_path, folder)
    report = _measure(paths, arguments.variant, arguments.rounds)
    deliver("profile", profile_to_json(report), to_text(report), partial(draw, report), json_path, folder)
    return 0


def _paths(arguments: argparse.Namespace) -> list[Path]:
    if (arguments.model is None) == (arguments.compare is None):
        raise InputError("profile: give one MODEL, or two with --compare A B")
    paths = [arguments.model] if arguments.compare is None else list(arguments.compare)
    if arguments.variant is not None and not any(is_bundle(path) for path in paths):
        raise InputError(f"{paths[0]}: --variant is for bundles; this is not one")
    return paths


def _measure(paths: list[Path], variant: str | None, rounds: int) -> ProfileReport:
    with contextlib.ExitStack() as stack:
        subjects = [stack.enter_context(open_subject(path, variant)) for path in paths]
        peaks, copies = [int8_peak()], [copy_rate()]
        models = tuple(profile(subject, progress(range(rounds), subject.model, rounds)) for subject in subjects)
        # Other programs only lower what is measured: the higher one of two moments counts.
        peaks.append(int8_peak())
        copies.append(copy_rate())
        ratio = None
        if len(subjects) == 2:
            first, second = subjects
            contents = first.path.read_bytes(), second.path.read_bytes()
            ratio = time_ratio(*contents, range(rounds), (str(first.path), str(second.path)))
    roof = Roof(int8_macs_per_s=max(peaks), copied_bytes_per_s=max(copies))
    return ProfileReport(host=describe_host(), method=METHOD, rounds=rounds, roof=roof, models=models, time_ratio=ratio)
