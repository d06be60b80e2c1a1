"""The list of checks of ``fer-edge doctor``."""

from __future__ import annotations

from fer_edge.doctor import cameras, libraries, machine, network, service
from fer_edge.doctor.checks import Check

CHECKS = (
    Check("python", machine.check_python),
    Check("cpu", machine.check_cpu),
    Check("memory", machine.check_memory),
    Check("cma", machine.check_camera_memory),
    Check("disk", machine.check_disk),
    Check("clock", machine.check_clock, isolated=True),
    Check("temperature", machine.check_temperature, isolated=True),
    Check("throttling", machine.check_throttling, isolated=True),
    Check("opencv", libraries.check_opencv, isolated=True),
    Check("detector", libraries.check_detector, isolated=True),
    Check("model", libraries.check_model, isolated=True),
    Check("inference", libraries.check_inference, isolated=True),
    Check("sources", cameras.check_sources, isolated=True),
    Check("cameras", cameras.check_cameras, isolated=True),
    Check("picamera2", libraries.check_picamera2, isolated=True),
    Check("libcamera", libraries.check_libcamera, isolated=True),
    Check("broker", network.check_broker),
    Check("webhook", network.check_webhook),
    Check("web", network.check_web, isolated=True),
    Check("secrets", service.check_secrets),
    Check("unit", service.check_unit),
)
"""In the order of the output."""
