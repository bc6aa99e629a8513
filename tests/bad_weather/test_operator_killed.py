"""An operator that is killed at any point is succeeded by one that knows nothing and goes on."""

from conftest import twice


def test_operators_killed_on_the_way_to_ready_write_nothing_twice(stage):
    azure, name = stage.azure, "phoenix"
    azure.forget_exchanges()
    stage.apply(name)
    moments = {
        "its network is under way": lambda: azure.world()["networks"],
        "its pool is under way": lambda: azure.world()["computes"],
        "its head is submitted": lambda: azure.jobs("head-1"),
        "its head runs": lambda: azure.jobs("head-1").popitem()[1]["status"] == "Running",
    }
    for moment, has_come in moments.items():
        stage.until(has_come, moment)
        stage.restart_operator()
    stage.until_ready(name)
    written = azure.writes()
    assert not twice(written)
    puts = [write.split("/", 1)[1] for write in written if write.startswith("PUT")]
    kinds = sorted(path.split("/")[-2] for path in puts)
    assert kinds == ["computes", "jobs", "jobs", "subnets", "versions", "virtualNetworks"], written


def test_an_operator_that_succeeds_one_killed_at_rest_writes_nothing(stage):
    written, version = stage.azure.writes(), stage.version("phoenix")
    stage.restart_operator()
    stage.assert_nothing_is_written("phoenix", reconciles=3)
    assert stage.azure.writes() == written
    assert stage.version("phoenix") == version


def test_operators_killed_while_a_cluster_goes_end_and_delete_everything_once(stage):
    azure, name = stage.azure, "phoenix"
    azure.forget_exchanges()
    stage.kubernetes.delete(name)

    def deletions(of: str) -> list[str]:
        return [write for write in azure.writes() if write.startswith("DELETE") and write.endswith(of)]

    moments = {
        "a job is told to end": lambda: any("/cancel" in write for write in azure.writes()),
        "the pool goes": lambda: deletions(f"/{name}-pool"),
        "the subnet goes": lambda: deletions("/default"),
    }
    for moment, has_come in moments.items():
        stage.until(has_come, moment)
        stage.restart_operator()
    stage.until_left(name)
    world = azure.world()
    assert not world["computes"] and not world["networks"]
    jobs = [job for job in azure.jobs().values() if job["name"].startswith(f"{name}-")]
    assert len(jobs) == 2 and all(job["status"] == "Canceled" for job in jobs)
    written = azure.writes()
    assert not twice(written)
    assert not [write for write in written if write.startswith(("PUT", "PATCH"))]
    secret = stage.kubernetes.run("get", "secret", "azure-credentials", "-o", "jsonpath={.metadata.finalizers}")
    assert not secret
