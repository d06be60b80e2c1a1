"""Every check of ``fer-edge doctor``."""

from __future__ import annotations

from fer_edge.doctor import cameras, libraries, machine, network, service
from fer_edge.doctor.checks import Check

CHECKS = (
    Check("python", machine.look_at_python),
    Check("cpu", machine.look_at_cpu),
    Check("memory", machine.look_at_memory),
    Check("cma", machine.look_at_camera_memory),
    Check("disk", machine.look_at_disk),
    Check("clock", machine.look_at_clock, apart=True),
    Check("temperature", machine.look_at_temperature, apart=True),
    Check("throttling", machine.look_at_throttling, apart=True),
    Check("opencv", libraries.look_at_opencv, apart=True),
    Check("detector", libraries.look_at_detector, apart=True),
    Check("model", libraries.look_at_model, apart=True),
    Check("inference", libraries.look_at_inference, apart=True),
    Check("sources", cameras.look_at_sources, apart=True),
    Check("cameras", cameras.look_at_cameras, apart=True),
    Check("picamera2", libraries.look_at_picamera2, apart=True),
    Check("libcamera", libraries.look_at_libcamera, apart=True),
    Check("broker", network.look_at_broker),
    Check("webhook", network.look_at_webhook),
    Check("web", network.look_at_web, apart=True),
    Check("secrets", service.look_at_secrets),
    Check("unit", service.look_at_unit),
)
"""In the order in which they are shown."""
