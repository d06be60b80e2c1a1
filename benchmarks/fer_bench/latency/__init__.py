"""Latency, load time and memory of every configuration (variant, engine, threads), each in a process of its own."""
