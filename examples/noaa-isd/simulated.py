"""What differs when `cluster.yaml` is applied to the simulator instead of Azure.

    python simulated.py world --real FOLDER --generated FOLDER > run/world.json
    make up SIMULATOR_ARGS='--world run/world.json' && . run/env
    python simulated.py manifest --workers 3 | kubectl apply -f -

`isd_data.py` makes the two folders; README.md has the whole commands.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import yaml

MANIFEST = Path(__file__).with_name("cluster.yaml")

# A second dataset of the same layout, for size. On Azure one would have uploaded it to the
# workspace's own blob store.
GENERATED = {
    "name": "noaa-isd-generated",
    "type": "UriFolder",
    "mode": "Mount",
    "uri": "azureml://datastores/workspaceblobstore/paths/noaa-isd-generated/",
}

# Nodes of the simulator share this machine, so the manifest says what a STANDARD_DS13_V2 would show
# by itself: 8 cores, and of its 56 GiB the 59 GB that the system leaves to Dask. With these, 40
# workers have 320 cores and 2.36 TB.
NODE_THREADS = 8
NODE_MEMORY_LIMIT = "59G"

# A minute of Azure is a second here; each duration is Azure's own, as the simulator knows it.
TIME_SCALE = 60


def manifest(workers: int, workspace: dict[str, str]) -> dict:
    """`cluster.yaml` for the workspace of the simulator, with `workers` nodes beside the head."""
    cluster = yaml.safe_load(MANIFEST.read_text())
    spec = cluster["spec"]
    spec["workspace"] = workspace
    spec["worker"] |= {"replicas": workers, "threads": NODE_THREADS, "memoryLimit": NODE_MEMORY_LIMIT}
    spec["datasets"].append(GENERATED)
    return cluster


def workspace_of(environment: dict[str, str]) -> dict[str, str]:
    """`spec.workspace` by the variables that the simulator writes into its `env` file."""
    return {
        "subscriptionId": environment["AZURE_SUBSCRIPTION_ID"],
        "resourceGroup": environment["AZURE_RESOURCE_GROUP"],
        "name": environment["AZURE_ML_WORKSPACE"],
    }


def world(real: Path, generated: Path) -> dict:
    """A world file of the simulator in which two folders of this machine stand for the datasets."""
    [dataset] = yaml.safe_load(MANIFEST.read_text())["spec"]["datasets"]
    return {
        "time_scale": TIME_SCALE,
        "data": [
            {"uri": dataset["uri"], "path": str(real.resolve())},
            {"uri": GENERATED["uri"], "path": str(generated.resolve())},
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_subparsers(dest="what", required=True)
    manifest_parser = what.add_parser("manifest", help="print the manifest")
    manifest_parser.add_argument("--workers", type=int, default=3, help="worker nodes beside the head")
    world_parser = what.add_parser("world", help="print a world file of the simulator")
    world_parser.add_argument("--real", type=Path, required=True)
    world_parser.add_argument("--generated", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.what == "manifest":
        try:
            workspace = workspace_of(dict(os.environ))
        except KeyError as missing:
            parser.error(f"{missing.args[0]} is not set: source run/env first")
        yaml.safe_dump(manifest(arguments.workers, workspace), sys.stdout, sort_keys=False)
    else:
        json.dump(world(arguments.real, arguments.generated), sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
