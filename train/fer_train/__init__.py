"""Dataset to trained Keras model (host)."""
