"""The demo as a person runs it, with the operator as it is built: from a manifest to an empty Azure.

It checks every step itself; here it is held to having taken them all.
"""

import re
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "examples" / "noaa-isd" / "demo.py"
# Seconds; a minute is usual.
DEADLINE = 600
STEPS = [
    "prepare the data",
    "start Kubernetes, the simulated Azure and the operator",
    "apply the manifest",
    "wait until it is Ready",
    "explore noaa-isd",
    "explore noaa-isd-generated",
    "delete the cluster",
    "look for what is left in Azure",
]


def test_the_story_is_told_from_the_manifest_to_an_empty_azure(tmp_path):
    # The size of the generated set is the only thing that is smaller than in `make demo`.
    command = [sys.executable, str(DEMO), "--rows-per-month", "500", "--directory", str(tmp_path)]
    demo = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE
    )
    assert demo.returncode == 0, demo.stdout
    for step in STEPS:
        assert re.search(rf"^{re.escape(step)} +[0-9.]+ s ", demo.stdout, re.MULTILINE), demo.stdout
    plots = sorted(path.name for path in tmp_path.glob("*.png"))
    assert plots == ["noaa-isd-generated.png", "noaa-isd.png"]
    for plot in tmp_path.glob("*.png"):
        assert plot.read_bytes().startswith(b"\x89PNG\r\n")
