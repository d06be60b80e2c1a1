"""Measurements on the device: processes that time models, and the agent of `fer-edge bench --on`."""

PROTOCOL = 1
"""Version of the requests that ``fer-edge agent`` answers. The host must have the same."""
