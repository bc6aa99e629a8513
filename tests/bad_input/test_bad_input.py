"""What a user gets told who gets it wrong, and what is left alone."""

import time

import pytest
from conftest import DATA
from support.clusters import condition, eventually, manifest

EXISTING = {"creationPolicy": "UseExisting"}
NO_POOL_OF_OURS = EXISTING | {"vmSize": None, "maxNodes": None}


def dataset(name: str, **changes: str) -> dict:
    return {"datasets": [{"name": name, "type": "UriFolder", "mode": "Mount", "uri": DATA} | changes]}


# Name of the cluster: what is wrong with it, the reason, whether only the user can mend it, and
# words that its message must have.
WRONG = {
    "no-workspace": ({"workspace": {"name": "nowhere"}}, "WorkspaceNotFound", True, ["nowhere", "spec.workspace"]),
    "no-group": ({"workspace": {"resourceGroup": "nowhere"}}, "ResourceGroupNotFound", True, ["nowhere", "request id"]),
    "no-subscription": (
        {"workspace": {"subscriptionId": "00000000-0000-4000-8000-000000000000"}},
        "SubscriptionNotFound",
        True,
        ["correct the subscription id", "request id"],
    ),
    "managed": ({"workspace": {"name": "ws-managed"}}, "ManagedNetwork", True, ["AllowInternetOutbound"]),
    "secret-missing": ({"credentialsSecretName": "later"}, "CredentialsMissing", False, ["Secret later"]),
    "secret-incomplete": (
        {"credentialsSecretName": "incomplete"},
        "CredentialsMissing",
        False,
        ["AZURE_CLIENT_SECRET is not set"],
    ),
    "secret-refused": (
        {"credentialsSecretName": "refused"},
        "CredentialsRefused",
        True,
        ["AADSTS7000215", "request id", "AZURE_CLIENT_SECRET"],
    ),
    "vm-size": ({"compute": {"vmSize": "STANDARD_NOTHING"}}, "VmSizeUnknown", True, ["spec.compute.vmSize"]),
    "foreign-pool": ({"compute": {"name": "theirs"}}, "NotOurs", True, ["ComputeCluster theirs", "UseExisting"]),
    "foreign-network": (
        {
            "network": {
                "virtualNetwork": {"name": "theirs", "addressPrefix": "10.9.0.0/16"},
                "subnet": {"name": "default", "addressPrefix": "10.9.0.0/24"},
            }
        },
        "NotOurs",
        True,
        ["VirtualNetwork theirs"],
    ),
    "pool-missing": (
        {"network": None, "compute": NO_POOL_OF_OURS | {"name": "nowhere"}},
        "PoolNotFound",
        True,
        ["spec.compute.name"],
    ),
    "pool-no-subnet": (
        {"network": None, "compute": NO_POOL_OF_OURS | {"name": "theirs"}},
        "NoSubnet",
        True,
        ["ComputeCluster theirs", "virtual network"],
    ),
    "foreign-service": ({}, "ServiceNotOurs", True, ["Service foreign-service-scheduler"]),
    "no-python": ({}, "ImageWithoutDask", True, ["python: not found"]),
    "no-dask": ({}, "ImageWithoutDask", True, ["no package 'distributed'"]),
    "unmapped": (
        dataset("unmapped", uri="https://weather.blob.core.windows.net/elsewhere/"),
        "DatasetUnmountable",
        True,
        ["elsewhere", "uri exists"],
    ),
    "not-empty": (dataset("not-empty"), "DatasetUnmountable", True, ["directory not empty", "correct the path"]),
    "no-dataset": (
        {"datasets": [{"name": "registered", "version": "3", "type": "UriFolder", "mode": "Mount"}]},
        "DatasetNotFound",
        True,
        ["registered:3", "register it"],
    ),
    "no-environment": (
        {"environment": {"image": None, "name": "registered", "version": "3"}},
        "EnvironmentNotFound",
        True,
        ["registered:3"],
    ),
    "no-yaml": (
        {"environment": {"condaFile": "a: [b\n  c"}},
        "InvalidSpec",
        True,
        ["spec.environment.condaFile", "line 1"],
    ),
    "workers-exit": (
        {"worker": {"env": [{"name": "PYTHONHOME", "value": "/nowhere"}]}},
        "WorkersFailing",
        False,
        ["No module named 'encodings'", "starts at"],
    ),
}
# Whose jobs run before anything is wrong.
FAIL_ON_THE_NODE = {"no-python", "no-dask", "unmapped", "not-empty", "workers-exit"}
# In which nothing must be made in Azure.
SPOTLESS = {
    "no-workspace",
    "no-group",
    "managed",
    "vm-size",
    "foreign-service",
    "foreign-network",
    "foreign-pool",
    "no-yaml",
}


@pytest.fixture(scope="module")
def wrong(stage):
    """Everything wrong is applied."""
    kubernetes, azure = stage.kubernetes, stage.azure
    azure.put(
        azure.network("theirs"),
        {"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}}},
    )
    scale = {"minNodeCount": 0, "maxNodeCount": 2}
    pool = {"computeType": "AmlCompute", "properties": {"vmSize": "STANDARD_DS13_V2", "scaleSettings": scale}}
    azure.put(azure.pool("theirs"), {"location": "eastus", "properties": pool})
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "foreign-service-scheduler", "namespace": "default"},
        "spec": {"ports": [{"port": 1}]},
    }
    kubernetes.apply(
        service,
        stage.secret("incomplete", AZURE_CLIENT_SECRET=None),
        stage.secret("refused", AZURE_CLIENT_SECRET="wrong"),
    )
    manifests = {name: manifest(name, stage.line.env, changes) for name, (changes, *_) in WRONG.items()}
    [held] = manifests["not-empty"]["spec"]["datasets"]
    held["path"] = str(stage.folder / "not-empty")
    stage.theirs = [azure.get(azure.network("theirs")), azure.get(azure.pool("theirs"))]
    kubernetes.apply(*manifests.values())
    return stage


@pytest.mark.parametrize("name", WRONG)
def test_the_user_is_told_what_is_wrong_and_what_to_do(wrong, name):
    _, reason, users_to_mend, words = WRONG[name]
    told = {}

    def is_told() -> bool:
        told.update(wrong.kubernetes.cluster(name))
        ready = condition(told, "Ready")
        return ready["reason"] == reason and all(word in ready["message"] for word in words)

    eventually(is_told, seconds=45, otherwise=lambda: condition(told, "Ready"))
    assert condition(told, "Ready")["status"] == "False"
    assert condition(told, "Stalled")["status"] == str(users_to_mend)


def test_a_stage_that_was_never_reached_does_not_say_that_it_holds(wrong):
    clusters = wrong.kubernetes.clusters()
    for name in WRONG.keys() - FAIL_ON_THE_NODE:
        for kind in ("SchedulerReady", "WorkersReady"):
            assert condition(clusters[name], kind)["status"] != "True", f"{name} {kind}"
    assert condition(clusters["vm-size"], "NetworkReady")["status"] != "True"


def test_what_others_made_is_untouched_and_nothing_is_made_beside_it(wrong):
    azure = wrong.azure
    assert [azure.get(azure.network("theirs")), azure.get(azure.pool("theirs"))] == wrong.theirs
    assert (wrong.folder / "not-empty" / "keep").read_text() == "somebody's"
    service = wrong.kubernetes.run("get", "service", "foreign-service-scheduler", "-o", "jsonpath={.spec.ports[*].port}")
    assert service == "1"
    for name in SPOTLESS:
        assert azure.get(azure.network(f"{name}-vnet")) is None, name
        assert azure.get(azure.pool(f"{name}-pool")) is None, name


def test_nothing_is_written_and_little_is_asked_while_nothing_changes(wrong):
    """Azure gives each refusal a request id of its own, which is no news."""
    still = sorted(WRONG.keys() - FAIL_ON_THE_NODE)

    def versions() -> dict[str, str]:
        clusters = wrong.kubernetes.clusters()
        return {name: clusters[name]["metadata"]["resourceVersion"] for name in still}

    def refusals() -> int:
        asked = wrong.azure.exchanges()
        return sum("00000000-0000-4000-8000-000000000000" in str(exchange) for exchange in asked)

    before, asked, refused, began = versions(), len(wrong.azure.exchanges()), refusals(), time.monotonic()
    # Azure was asked again, so that it had the occasion to draw another id.
    eventually(lambda: refusals() > refused, seconds=30, otherwise=lambda: "Azure was not asked again")
    eventually(lambda: time.monotonic() - began > 5, seconds=10, otherwise=lambda: "the clock stands still")
    assert versions() == before
    rate = (len(wrong.azure.exchanges()) - asked) / (time.monotonic() - began)
    assert rate < 20, f"{rate:.0f} requests a second for {len(WRONG)} clusters"


def test_mended_credentials_are_taken_within_a_minute(wrong):
    mended = {"secret-missing": "later", "secret-incomplete": "incomplete", "secret-refused": "refused"}
    wrong.kubernetes.apply(*(wrong.secret(secret) for secret in mended.values()))

    def all_go_on() -> bool:
        clusters = wrong.kubernetes.clusters()
        return not any(condition(clusters[name], "Ready")["reason"].startswith("Credentials") for name in mended)

    eventually(all_go_on, seconds=60, otherwise=wrong.kubernetes.clusters)


def test_every_broken_cluster_is_deleted_soon_and_what_is_theirs_stays(wrong):
    kubernetes, azure = wrong.kubernetes, wrong.azure
    kubernetes.delete(*WRONG)
    eventually(lambda: not kubernetes.clusters(), seconds=60, otherwise=lambda: sorted(kubernetes.clusters()))
    assert [azure.get(azure.network("theirs")), azure.get(azure.pool("theirs"))] == wrong.theirs
