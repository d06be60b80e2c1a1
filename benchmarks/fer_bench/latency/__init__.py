"""Latency, load time and memory of each configuration (variant, engine, threads), in separate processes."""
