"""``fer-edge bench device``: measure everything that needs no data set, and write one file to send."""

from __future__ import annotations

import argparse

from fer_bench import output
from fer_bench.commands.delivery import bundle_path, describe_bundle, variant_results
from fer_bench.host import describe_host
from fer_bench.latency.measure import Plan, choose_configurations, measure_latency
from fer_bench.pipeline.benchmark import Others, check_pipeline, measure_pipeline
from fer_bench.pipeline.faces import Portrait
from fer_bench.pipeline.scenes import FPS
from fer_bench.report import render
from fer_bench.results import BenchmarkReport, LatencySettings, report_to_json
from fer_bench.results.pipeline import SceneSettings
from fer_edge.model.bundle import load_bundle
from fer_edge.system.messages import print_text

_SIZES, _FACES = ((320, 240), (640, 480)), (0, 1)
_FRAMES = 45


def run(arguments: argparse.Namespace) -> int:
    """Run ``bench device`` and return the exit code."""
    output.check_writable(arguments.out)
    plan = Plan(LatencySettings(rounds=arguments.rounds))
    settings = SceneSettings(_SIZES, _FACES, _FRAMES, max(1, arguments.rounds // 5), FPS)
    faces, others = Portrait(), Others()
    with load_bundle(bundle_path(arguments.bundle)) as bundle:
        # Everything that can be refused is refused before the measurement: mainly an OpenCV without the cascade.
        configurations = choose_configurations(bundle, plan)
        check_pipeline(bundle, others)
        rows, machine = measure_latency(bundle, configurations, plan)
        section = measure_pipeline(bundle, faces, settings, others)
        found = BenchmarkReport(
            describe_host(),
            describe_bundle(bundle),
            variant_results(bundle, {row.variant for row in rows}),
            latency_settings=plan.settings,
            machine=machine,
            latency=rows,
            pipeline=section,
        )
    output.write(arguments.out, report_to_json(found))
    print_text(render.to_text(found))
    return 0
