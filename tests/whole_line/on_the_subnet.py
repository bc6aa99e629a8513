"""The whole product where nodes have addresses of their subnet: in a network namespace in which that range is local.

    unshare -Urn sh -c 'ip link set lo up && ip route add local 10.20.0.0/24 dev lo && exec python on_the_subnet.py DIR'

Ends with exit code 0 if the Service leads to the scheduler by a routable address and a client can use it.
"""

import json
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from distributed import Client
from line.running import Line
from support.clusters import Kubernetes, condition, eventually, manifest

NAME = "routable"


def main(directory: Path) -> None:
    arguments = ["--node-addresses", "subnet", "--time-scale", "instant"]
    with Line(directory, simulator_arguments=arguments) as line:
        kubernetes = Kubernetes(line.environment)

        def slices() -> list[dict]:
            selector = f"kubernetes.io/service-name={NAME}-scheduler"
            return json.loads(kubernetes.run("get", "endpointslices", "-l", selector, "-o", "json"))["items"]

        def is_ready() -> bool:
            return condition(kubernetes.cluster(NAME), "Ready")["status"] == "True"

        kubernetes.apply(manifest(NAME, line.env, {}))
        eventually(is_ready, seconds=90, otherwise=lambda: kubernetes.cluster(NAME))
        scheduler = kubernetes.cluster(NAME)["status"]["scheduler"]
        assert scheduler["headNode"].startswith("10.20.0."), scheduler
        assert scheduler["address"] == f"tcp://{scheduler['headNode']}:8786", scheduler
        assert scheduler["service"] == f"{NAME}-scheduler.default.svc", scheduler

        eventually(slices, seconds=30, otherwise=lambda: "there is no slice")
        [published] = slices()
        assert published["endpoints"][0]["addresses"] == [scheduler["headNode"]], published
        assert {port["port"] for port in published["ports"]} == {8786, 8787}, published

        with Client(scheduler["address"], timeout=30) as client:
            [worker] = client.scheduler_info()["workers"]
            assert worker.startswith("tcp://10.20.0."), worker
            assert client.submit(sum, range(1_000)).result() == 499_500

        kubernetes.delete(NAME)
        eventually(lambda: not slices(), seconds=60, otherwise=slices)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
