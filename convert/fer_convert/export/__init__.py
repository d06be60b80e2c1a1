"""Export of a Keras model to files: the variants, TFLite, and ONNX."""
