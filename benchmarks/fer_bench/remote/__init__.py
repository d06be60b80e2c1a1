"""Measurements on a device over SSH, for ``fer-edge bench --on``: the device computes, this machine evaluates."""
