"""The device's part of a measurement: models timed in processes of their own, and answers to `fer-edge bench --on`."""

PROTOCOL = 1
"""Version of the requests that ``fer-edge agent`` answers. The host must have the same."""
