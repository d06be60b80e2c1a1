"""Training on a GPU, in PyTorch without Keras' loop: images, augmentation and teachers stay on the device.

A network of this size keeps a GPU busy for less time than Keras takes to start its operations. Here a step is recorded
once as a CUDA graph and then replayed.
"""
