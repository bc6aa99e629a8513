"""In every phase of a life Flux and Argo CD are told what is so, and never that it changes to and fro."""

import itertools
import json

import pytest
from conftest import keep
from support.clusters import condition
from tools import ARGO_CD, Told, script, told


def phases(versions: list[dict], of: str = "kstatus") -> list[str]:
    """What one of the tools said, one after the other, without repetitions."""
    return [said for said, _ in itertools.groupby(getattr(each, of) for each in told(versions))]


def test_a_life_from_apply_to_delete(stage, tmp_path):
    name = "river"
    two = {"worker": {"replicas": 2}, "compute": {"maxNodes": 3}}
    with stage.recorded(name, tmp_path) as versions:
        stage.kubernetes.apply(stage.manifest(name, two))
        stage.until_settled(name, workers=2)
    # A watch that begins before the operator has seen the cluster finds no status.
    with_status = [version for version in versions if "status" in version]
    assert phases(with_status) == ["InProgress", "Current"]
    assert phases(with_status, "flux") == ["InProgress", "Current"]
    assert phases(versions, "health") == ["Progressing", "Healthy"]
    keep("progressing", with_status[0])
    keep("healthy", versions[-1])
    without = [version | {"status": None} for version in versions[:1]]
    without = [{key: value for key, value in version.items() if key != "status"} for version in without]
    assert told(without) == [Told("Current", "", "Progressing", "the operator has not seen it yet")]

    with stage.recorded(name, tmp_path) as versions:
        # One of two workers that fails is replaced, which is no matter of the manifest.
        worker = next(job for job in stage.azure.jobs("w00-1") if job.startswith(name))
        stage.azure.kill_job(worker)
        stage.until(name, lambda cluster: condition(cluster, "WorkersReady")["status"] == "False")
        stage.until_settled(name, workers=2)
    assert phases(versions) == ["Current"]
    assert phases(versions, "health") == ["Healthy"]

    with stage.recorded(name, tmp_path) as versions:
        stage.kubernetes.apply(stage.manifest(name, two | {"worker": {"replicas": 1}}))
        stage.until_settled(name)
    assert phases(versions) in (["Current", "InProgress", "Current"], ["InProgress", "Current"])

    with stage.recorded(name, tmp_path) as versions:
        stage.kubernetes.delete(name)
        stage.until_gone(name)
    assert phases(versions)[-1] == "Terminating"
    assert set(phases(versions)) <= {"Current", "Terminating"}
    assert phases(versions, "health")[-1] == "Progressing"
    keep("deleting", versions[-1])


def act(stage, name: str, action: str) -> None:
    """What somebody does who presses Argo CD's button."""
    before = stage.kubernetes.cluster(name)
    offered = script(ARGO_CD / "actions/discovery.lua", before)
    assert not offered[action]["disabled"], offered
    after = script(ARGO_CD / "actions" / action / "action.lua", before)
    patch = {"spec": {"suspend": after["spec"].get("suspend")}}
    if annotations := after["metadata"].get("annotations"):
        patch["metadata"] = {"annotations": annotations}
    stage.kubernetes.run("patch", "daskcluster", name, "--type=merge", "-p", json.dumps(patch))


def test_a_cluster_at_rest_is_current_and_suspended_and_argo_cds_buttons_work(stage, tmp_path):
    name = "lake"
    stage.kubernetes.apply(stage.manifest(name))
    stage.until_settled(name)
    with stage.recorded(name, tmp_path) as versions:
        act(stage, name, "suspend")
        stage.until_settled(name, ready="Suspended", workers=0)
    assert phases(versions)[-2:] == ["InProgress", "Current"]
    assert phases(versions, "health")[-2:] == ["Progressing", "Suspended"]
    keep("suspended", versions[-1])
    with stage.recorded(name, tmp_path) as versions:
        act(stage, name, "resume")
        stage.until_settled(name)
    assert phases(versions)[-2:] == ["InProgress", "Current"]
    assert phases(versions, "health")[-2:] == ["Progressing", "Healthy"]
    stage.kubernetes.delete(name)
    stage.until_gone(name)


def test_what_a_retry_cannot_mend_has_failed_until_it_is_mended(stage, tmp_path):
    name = "marsh"
    stage.kubernetes.apply(stage.secret(name, AZURE_CLIENT_SECRET="wrong"))
    with stage.recorded(name, tmp_path) as versions:
        stage.kubernetes.apply(stage.manifest(name, {"credentialsSecretName": name}))
        stage.until(name, lambda cluster: condition(cluster, "Stalled")["status"] == "True")
    with_status = [version for version in versions if "status" in version]
    assert phases(with_status)[-1] == "Failed"
    assert phases(with_status, "flux")[-1] == "Failed"
    assert phases(with_status, "health")[-1] == "Degraded"
    keep("degraded", with_status[-1])
    assert "AADSTS7000215" in told(with_status)[-1].message
    with stage.recorded(name, tmp_path) as versions:
        stage.kubernetes.apply(stage.secret(name))
        stage.until_settled(name)
    assert phases(versions)[-2:] == ["InProgress", "Current"]
    stage.kubernetes.delete(name)
    stage.until_gone(name)


@pytest.fixture
def settled(stage):
    name = "brook"
    stage.kubernetes.apply(stage.manifest(name))
    yield stage.until_settled(name)
    stage.kubernetes.delete(name)
    stage.until_gone(name)


def test_applied_again_nothing_differs_and_each_field_has_one_owner(stage, settled):
    name = settled["metadata"]["name"]
    written = json.dumps(stage.manifest(name))
    stage.kubernetes.run("diff", "--server-side", "-f", "-", given=written)
    stage.kubernetes.apply(stage.manifest(name))
    again = stage.kubernetes.cluster(name)
    assert again["metadata"]["resourceVersion"] == settled["metadata"]["resourceVersion"]
    with_owners = json.loads(
        stage.kubernetes.run("get", "daskcluster", name, "-o", "json", "--show-managed-fields")
    )
    owners: dict[str, set[str]] = {}
    for entry in with_owners["metadata"]["managedFields"]:
        for path in leaves(entry["fieldsV1"]):
            owners.setdefault(path, set()).add(f"{entry['manager']} {entry.get('subresource', '')}".strip())
    shared = {path: by for path, by in owners.items() if len(by) > 1}
    assert not shared
    of_spec = {owner for path, by in owners.items() if path.startswith("f:spec/") for owner in by}
    assert of_spec == {"kubectl"}
    of_status = {owner for path, by in owners.items() if path.startswith("f:status/") for owner in by}
    assert len(of_status) == 1 and of_status != {"kubectl"}


def leaves(fields: dict, path: str = "") -> list[str]:
    """The fields that somebody owns, the innermost only."""
    inner = {key: value for key, value in fields.items() if key != "."}
    if not inner:
        return [path]
    return [leaf for key, value in inner.items() for leaf in leaves(value, f"{path}/{key}".lstrip("/"))]


def test_kubectl_wait_understands_it(stage, settled):
    name = settled["metadata"]["name"]
    stage.kubernetes.run("wait", "--for=condition=Ready", "--timeout=30s", f"daskcluster/{name}")
