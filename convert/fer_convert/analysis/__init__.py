"""Experiments with int8 exports: error by layer, mixed precision, and accuracy by calibration."""
