"""The training loop, its inputs, and the folder that a run writes."""
