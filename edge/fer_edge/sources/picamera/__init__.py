"""Raspberry Pi cameras (CSI), through picamera2."""
