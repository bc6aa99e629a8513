"""The API server is killed and comes back with what it knew."""

from conftest import twice


def test_a_cluster_is_made_once_though_the_api_server_is_killed_on_the_way(stage):
    azure, name = stage.azure, "patient"
    azure.forget_exchanges()
    stage.apply(name)
    moments = {
        "its network is under way": lambda: azure.world()["networks"],
        "its head is submitted": lambda: azure.jobs("head-1"),
    }
    for moment, has_come in moments.items():
        stage.until(has_come, moment)
        stage.line.restart_api_server()
    stage.until_ready(name)
    written = azure.writes()
    assert not twice(written)
    assert len(written) == 6, written


def test_a_cluster_at_rest_is_not_touched_when_the_api_server_is_killed(stage):
    written, version = stage.azure.writes(), stage.version("patient")
    stage.line.restart_api_server()
    stage.assert_nothing_is_written("patient", reconciles=2)
    assert stage.azure.writes() == written
    assert stage.version("patient") == version


def test_a_deletion_ends_though_the_api_server_is_killed_on_the_way(stage):
    azure, name = stage.azure, "patient"
    azure.forget_exchanges()
    stage.kubernetes.delete(name)
    stage.until(lambda: any("/cancel" in write for write in azure.writes()), "a job is cancelled")
    stage.line.restart_api_server()
    stage.until_left(name)
    assert not twice(azure.writes())
    world = azure.world()
    assert not world["computes"] and not world["networks"]
