"""Models for microcontrollers: C sources for TensorFlow Lite Micro (TFLM)."""
