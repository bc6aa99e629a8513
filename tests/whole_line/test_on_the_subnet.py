"""Nodes with addresses of their subnet instead of loopback ones, which Kubernetes takes into no EndpointSlice."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("on_the_subnet.py")
# The range of the subnet belongs to this machine, inside a network namespace that needs no root.
ROUTES = "ip link set lo up && ip route add local 10.20.0.0/24 dev lo"
# Seconds; half a minute is usual.
DEADLINE = 400


def in_a_namespace(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-Urn", "sh", "-c", f"{ROUTES} && {command}", "sh", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )


def namespaces_are_allowed() -> bool:
    try:
        return in_a_namespace("true").returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not namespaces_are_allowed(), reason="this machine allows no network namespace (unshare -Urn, ip)")
def test_the_service_leads_to_the_scheduler_by_an_address_of_the_subnet(tmp_path):
    done = in_a_namespace('exec "$@"', sys.executable, str(SCRIPT), str(tmp_path))
    assert done.returncode == 0, done.stdout
