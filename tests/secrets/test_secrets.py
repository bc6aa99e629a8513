"""Nothing that is secret is told to anybody, at any level of the log."""

import base64
import json

import pytest
from conftest import found
from support.clusters import condition, eventually, manifest


@pytest.fixture(scope="module")
def after_a_full_run(stage):
    """One cluster came, shrank and stays; one failed, so that its log was read by a signed URL; one came and went."""
    kubernetes, env = stage.kubernetes, stage.line.env

    def until(name: str, reason: str) -> None:
        def holds() -> bool:
            return condition(kubernetes.cluster(name), "Ready")["reason"] == reason

        eventually(holds, seconds=120, otherwise=lambda: kubernetes.cluster(name).get("status"))

    two = {"worker": {"replicas": 2}, "compute": {"maxNodes": 3}}
    kubernetes.apply(
        manifest("stays", env, two),
        manifest("goes", env, {}),
        manifest("no-python", env, {"environment": {"image": "registry.example/no-python:1"}}),
    )
    until("stays", "Ready")
    until("goes", "Ready")
    until("no-python", "ImageWithoutDask")
    kubernetes.delete("goes")
    kubernetes.apply(manifest("stays", env, two | {"worker": {"replicas": 1}}))

    def has_shrunk() -> bool:
        status = kubernetes.cluster("stays")["status"]
        return condition({"status": status}, "Ready")["status"] == "True" and status["workers"]["ready"] == 1

    eventually(has_shrunk, seconds=120, otherwise=lambda: kubernetes.cluster("stays")["status"])
    eventually(lambda: "goes" not in kubernetes.clusters(), seconds=120, otherwise=kubernetes.clusters)
    return stage


def test_every_kind_of_secret_was_in_use(after_a_full_run):
    stage = after_a_full_run
    secrets = stage.secrets()
    assert stage.line.env["AZURE_CLIENT_SECRET"] in secrets
    assert any(secret.startswith("ey") and secret.count(".") == 2 for secret in secrets), "a token of Entra"
    asked = json.dumps(stage.azure.exchanges())
    assert "sig=[removed]" in asked and "&s=[removed]" in asked, "a signed URL of each kind was used"
    connection = json.loads(stage.kubernetes.run("get", "secret", "stays-connection", "-o", "json"))
    values = {base64.b64decode(value).decode() for value in connection["data"].values()}
    assert values & secrets, "the token of the cluster"


def test_no_secret_is_told_at_any_level(after_a_full_run):
    stage = after_a_full_run
    told = stage.told()
    assert '"level":"TRACE"' in told["log"], "the log tells all"
    assert "no-python" in told["events.events.k8s.io"] and "stays" in told["metrics"]
    assert found(told, stage.secrets()) == []


@pytest.mark.parametrize("place", ["daskclusters", "events.events.k8s.io", "metrics", "log"])
def test_a_secret_that_is_told_is_found(after_a_full_run, place):
    """The same search finds what was put there on purpose."""
    stage = after_a_full_run
    secrets = stage.secrets()
    for secret in secrets:
        told = stage.told() if place == "daskclusters" and secret == min(secrets) else {place: "told before "}
        told[place] += f'"{secret}" told after'
        assert any(line.startswith(f"{place}: ") for line in found(told, {secret}))


def test_a_secret_in_an_annotation_is_found(after_a_full_run):
    stage = after_a_full_run
    planted = sorted(stage.secrets(), key=len)[0]
    stage.kubernetes.run("annotate", "daskcluster", "stays", f"example.com/planted={planted}")
    try:
        [line] = found({"daskclusters": stage.told()["daskclusters"]}, {planted})
        assert line.startswith("daskclusters: ")
    finally:
        stage.kubernetes.run("annotate", "daskcluster", "stays", "example.com/planted-")
