"""Holds `docs/azure-role.json` to what the operator really asks of Azure.

    python -m line azure-sdk -- python tests/azure-sdk/role_check.py FOLDER

FOLDER holds exchange logs of the simulator (`AZURE_SIMULATOR_EXCHANGES`), as the tests leave them. Every request that
the operator sent has to be among the role's actions, and every action has to be used by a request: then the role lacks
nothing that the tests do, and grants nothing that they do not need.
"""

import json
import re
import sys
from pathlib import Path

ROLE = Path(__file__).parents[2] / "docs" / "azure-role.json"
OPERATOR = "dask-azureml-operator/"
# Checked by Azure on what a request's body refers to, so that no path shows them.
LINKED = {
    "microsoft.network/virtualnetworks/subnets/join/action",
    "microsoft.network/virtualnetworks/peer/action",
    "microsoft.managedidentity/userassignedidentities/assign/action",
}
VERBS = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
RUN_HISTORY = re.compile(r"/history/v1\.0/subscriptions/.*/runs/")


def action(method: str, path: str) -> str | None:
    """The action that a request needs; None for one that needs none: a token, discovery, a blob, an operation."""
    if RUN_HISTORY.match(path):
        return f"microsoft.machinelearningservices/workspaces/experiments/runs/{VERBS[method]}"
    if not path.startswith("/subscriptions/"):
        return None
    _, _, below = path.lower().partition("/providers/")
    namespace, *segments = below.split("/")
    kinds = segments[0::2]
    if "computeoperationsstatus" in kinds or "operations" in kinds or "mfeoperationresults" in kinds:
        return None
    if method == "POST":
        # The last segment is what is done.
        *kinds, done = kinds
        return "/".join([namespace, *kinds, done, "action"])
    return "/".join([namespace, *kinds, VERBS[method]])


def used(folder: Path) -> set[str]:
    """The actions of all requests of the operator."""
    found = set()
    for log in folder.rglob("*.jsonl"):
        for line in log.read_text().splitlines():
            request = json.loads(line)["request"]
            if str(request["headers"].get("user-agent", "")).startswith(OPERATOR):
                found.add(action(request["method"], request["path"]))
    return found - {None}


def main() -> int:
    asked = used(Path(sys.argv[1]))
    granted = {action.lower() for action in json.loads(ROLE.read_text())["Actions"]}
    lacking, idle = sorted(asked - granted), sorted(granted - asked - LINKED)
    for one in lacking:
        print(f"the operator did what its role does not grant: {one}")
    for one in idle:
        print(f"the role grants what no test needed: {one}")
    print(f"{len(asked)} actions used, {len(granted)} granted, {len(LINKED)} of them on what a body refers to")
    return bool(lacking or idle or not asked)


if __name__ == "__main__":
    sys.exit(main())
