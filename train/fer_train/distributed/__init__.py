"""Training in several processes or on several machines, on JAX."""
