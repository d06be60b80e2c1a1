"""Signed releases of model bundles for devices, by The Update Framework (TUF)."""
