"""Print events as JSON lines, until the reading program ends: python json_lines.py [SOURCE] | jq .emotion"""

import json
import os
import sys

from fer_edge import Pipeline, event_to_json, load_bundle, open_source

source = open_source(sys.argv[1] if len(sys.argv) > 1 else "demo")
try:
    for event in Pipeline.from_bundle(load_bundle()).open(source).events():
        print(json.dumps(event_to_json(event)), flush=True)
except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports an error at exit
