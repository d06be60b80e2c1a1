"""Metrics, model runners, latency and reports: what quantization costs and buys."""
