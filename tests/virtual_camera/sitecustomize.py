"""Loaded by Python at startup if this folder is on its path: for commands that start further processes."""

from fer_edge_with_virtual_camera import _bend_picamera2

_bend_picamera2()
