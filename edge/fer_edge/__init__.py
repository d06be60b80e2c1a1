"""The runtime of FER-Edge: everything a Raspberry Pi needs, and nothing else."""

__version__ = "0.1.0"
