"""Keras model to model bundle (host)."""
