"""Signed releases of model bundles and of the program, by The Update Framework (TUF)."""
