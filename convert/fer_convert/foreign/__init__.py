"""Foreign models: Keras, SavedModel, ONNX, PyTorch and ``.tflite`` files that were not made by this project.

``open_foreign`` loads one for conversion. ``graph`` is its TensorFlow graph without variables and without its softmax,
``input_range`` the scaling of its pixels. ``tflite_bundle`` makes a bundle of a ``.tflite`` file.
"""
