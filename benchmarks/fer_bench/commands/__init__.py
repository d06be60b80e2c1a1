"""The subcommands ``fer-edge evaluate``, ``fer-edge runs`` and ``fer-edge bench``."""

from fer_bench.commands.arguments import BENCH, EVALUATE, RUNS

__all__ = ["BENCH", "EVALUATE", "RUNS"]
