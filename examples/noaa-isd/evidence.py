"""What the demo claims of Kubernetes' status and of the simulated Azure, as checks that can fail."""

from pathlib import Path

import simulated

# Azure's own words for a job that has ended.
ENDED = {"Completed", "Failed", "Canceled"}
# The cluster of the story: 39 nodes beside the head; workers, cores, memory.
STORY_REPLICAS, STORY = 39, (40, 320, "2.36 TB")
SUFFIXES = {
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
}


class Untrue(Exception):
    """Something that the demo claims is not so."""


def bytes_of(quantity: str) -> int:
    """A Kubernetes quantity of memory in bytes."""
    for suffix, factor in SUFFIXES.items():
        if quantity.endswith(suffix):
            return round(float(quantity.removesuffix(suffix)) * factor)
    return int(quantity)


def check_status(status: dict, replicas: int) -> str:
    """Whether `status.workers` counts the head's worker and `replicas` others, each as large as a node."""
    workers = status["workers"]
    counted = (workers["ready"], workers["cores"], bytes_of(str(workers["memory"])))
    nodes = replicas + 1
    expected = (nodes, nodes * simulated.NODE_THREADS, nodes * bytes_of(simulated.NODE_MEMORY_LIMIT))
    said = (*counted[:2], f"{counted[2] / 1e12:.2f} TB")
    if counted != expected or (replicas == STORY_REPLICAS and said != STORY):
        raise Untrue(f"status counts {counted} as workers, cores and bytes instead of {expected}")
    return "{} workers, {} cores, {}".format(*said)


def check_everything_is_there(world: dict, replicas: int) -> str:
    """Whether network, pool, nodes and jobs exist: else their absence later would prove nothing."""
    nodes = [node for compute in world["computes"] for node in compute["nodes"]]
    found = (len(world["networks"]), len(world["computes"]), len(nodes), len(jobs_with_processes(world)))
    expected = (1, 1, replicas + 1, replicas + 1)
    if found != expected:
        raise Untrue(f"Azure holds {found} networks, computes, nodes and running jobs instead of {expected}")
    return "{} network, {} compute, {} nodes, {} running jobs".format(*found)


def jobs_with_processes(world: dict) -> list[dict]:
    return [job for job in world["jobs"] if job["pids"]]


def check_nothing_is_left(before: dict, after: dict) -> str:
    """Whether nothing is left that runs or costs money, the processes of before included."""
    left = [f"network {network['id']}" for network in after["networks"]]
    for compute in after["computes"]:
        left.append(f"compute {compute['id']}")
        left += [f"node {node['id']} of {compute['id']}" for node in compute["nodes"]]
    for job in after["jobs"]:
        if job["status"] not in ENDED or job["pids"]:
            left.append(f"job {job['id']}, {job['status']}, with processes {job['pids']}")
    pids = [pid for job in before["jobs"] for pid in job["pids"]]
    left += [f"process {pid}" for pid in pids if Path(f"/proc/{pid}").exists()]
    if left:
        raise Untrue("left in Azure: " + "; ".join(left))
    return f"no network, no compute, no node; {len(after['jobs'])} jobs ended, {len(pids)} processes gone"
