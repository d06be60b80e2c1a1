"""``fer-edge bench latency``: latency and memory of a bundle's variants. Needs no data set and no training package."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from fer_bench.commands.delivery import bundle_path, check_outputs, deliver, describe_bundle, variant_results
from fer_bench.commands.remote import open_device
from fer_bench.host import describe_host
from fer_bench.latency.measure import Plan, choose_configurations, measure_latency
from fer_bench.remote.measure import RemoteMachine, send_variants
from fer_bench.results import BenchmarkReport, HostInfo, LatencyRow, LatencySettings, MachineChange
from fer_edge.errors import InputError
from fer_edge.model.bundle import ModelBundle, load_bundle

Measured: TypeAlias = tuple[tuple[LatencyRow, ...], MachineChange]


def run(arguments: argparse.Namespace) -> int:
    """Run ``bench latency`` and return the exit code."""
    check_outputs(arguments)
    plan = plan_of(arguments)
    if arguments.on is not None and plan.tflite_runtime is not None:
        raise InputError("--tflite-runtime is an interpreter of this machine: leave it out with --on")
    with load_bundle(bundle_path(arguments.bundle)) as bundle:
        host, (rows, machine) = (
            _measure_on_device(bundle, plan, arguments) if arguments.on is not None else _measure(bundle, plan)
        )
        found = BenchmarkReport(
            host,
            describe_bundle(bundle),
            variant_results(bundle, {row.variant for row in rows}),
            latency_settings=plan.settings,
            machine=machine,
            latency=rows,
        )
    deliver(found, arguments)
    return 0


def _measure(bundle: ModelBundle, plan: Plan) -> tuple[HostInfo, Measured]:
    measured = measure_latency(bundle, choose_configurations(bundle, plan), plan)
    return describe_host(), measured


def _measure_on_device(bundle: ModelBundle, plan: Plan, arguments: argparse.Namespace) -> tuple[HostInfo, Measured]:
    with open_device(arguments) as device:
        machine = RemoteMachine(device, bundle)
        configurations = choose_configurations(bundle, plan, machine.limits)
        send_variants(device, bundle)
        machine.warn_if_throttled()
        return machine.describe(), measure_latency(bundle, configurations, plan, machine, machine.start)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return the plan that the options describe."""
    return Plan(
        LatencySettings(arguments.rounds, arguments.runs),
        arguments.engines,
        arguments.threads,
        arguments.tflite_runtime,
        arguments.timeout,
    )
