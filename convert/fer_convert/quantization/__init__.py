"""Inputs of the int8 quantization: calibration images and the rounding of the first convolution."""
