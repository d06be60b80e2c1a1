"""Cameras on the Pi's own connector, through picamera2."""
