"""Limit face detection to a tenth of one core, and measure it: python budget.py [SOURCE [settings.toml]]"""

import sys

from fer_edge import Pipeline, RuntimeSettings, ScheduleSettings, Telemetry, load_bundle, load_settings, open_source

settings = RuntimeSettings(schedule=ScheduleSettings(budget_share=0.1))
if len(sys.argv) > 2:
    settings = load_settings(sys.argv[2])  # FER_EDGE_… in the environment overrides the file
telemetry = Telemetry()
pipeline = Pipeline.from_bundle(load_bundle(), settings)

faces = 0
source = open_source(sys.argv[1] if len(sys.argv) > 1 else "demo", settings.source)
for result in pipeline.open(source, telemetry=telemetry):
    faces += len(result.tracks)

status = telemetry.snapshot()
each_ms = 1000 * status.pipeline_cpu_s / max(1, status.frames)
print(f"{status.frames} frames, {faces} faces, {each_ms:.1f} ms of processor time per frame")
for stage, latency in status.stages.items():
    print(f"{stage:<14} {latency.p50_ms:7.2f} ms  x {latency.calls}")
