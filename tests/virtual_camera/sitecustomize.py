"""Python runs this at its start where the folder is on its path: for commands that start processes of their own."""

from fer_edge_with_virtual_camera import _bend_picamera2

_bend_picamera2()
