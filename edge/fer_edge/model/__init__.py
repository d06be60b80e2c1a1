"""The model bundle: its manifest and files, quantization, and the TFLite interpreter."""
