"""``fer-edge bundle check``: judge a bundle by the rules of a gate file."""

from __future__ import annotations

import argparse
import json

from fer_bench import output
from fer_bench.extras import require
from fer_convert.bundle_gate import judge_bundle
from fer_edge.model.bundle import load_bundle
from fer_edge.system.messages import print_text


def run(arguments: argparse.Namespace) -> int:
    """Print the finding of each rule. Raises CheckFailedError if one is broken."""
    require("sklearn")
    if arguments.json is not None:
        output.check_writable(arguments.json)
    with load_bundle(arguments.bundle) as bundle:
        found = judge_bundle(bundle, arguments.gate, arguments.data)
    if arguments.json is not None:
        rules = [{"variant": variant, "finding": finding.text} for variant, finding in found]
        output.write(arguments.json, json.dumps({"format": 1, "passed": rules}, indent=2) + "\n")
    print_text("".join(f"{variant}: {finding.text}\n" for variant, finding in found))
    return 0
