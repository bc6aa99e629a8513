"""What a user gets told who gets it wrong, and what is left alone."""

import json
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
    "network-missing": (
        {
            "network": EXISTING
            | {
                "virtualNetwork": {"name": "nowhere", "addressPrefix": None},
                "subnet": {"addressPrefix": None},
            }
        },
        "NetworkNotFound",
        True,
        ["VirtualNetwork nowhere", "spec.network"],
    ),
    "foreign-secret": ({}, "SecretNotOurs", True, ["Secret foreign-secret-connection", "another name"]),
    "foreign-service": ({}, "ServiceNotOurs", True, ["Service foreign-service-scheduler"]),
    "no-python": ({}, "ImageWithoutDask", True, ["python: not found"]),
    "no-dask": ({}, "ImageWithoutDask", True, ["no package 'distributed'"]),
    "unmapped": (
        dataset("unmapped", uri="https://weather.blob.core.windows.net/elsewhere/"),
        "DatasetUnmountable",
        True,
        ["elsewhere", "uri exists", "change spec.datasets"],
    ),
    "not-empty": (dataset("not-empty"), "DatasetUnmountable", True, ["directory not empty", "another path"]),
    "below-a-file": (dataset("below-a-file"), "DatasetUnmountable", True, ["file/isd cannot be made", "file exists"]),
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
FAIL_ON_THE_NODE = {"no-python", "no-dask", "unmapped", "not-empty", "below-a-file", "workers-exit"}
# In which nothing must be made in Azure.
SPOTLESS = {
    "no-workspace",
    "no-group",
    "managed",
    "vm-size",
    "foreign-service",
    "foreign-secret",
    "foreign-network",
    "foreign-pool",
    "no-yaml",
}
# Nothing is wrong with these: they use what others have.
GUESTS = {
    "guest": {"network": None, "compute": NO_POOL_OF_OURS | {"name": "shared"}},
    "tenant": {
        "network": EXISTING
        | {
            "virtualNetwork": {"name": "theirs", "addressPrefix": None},
            "subnet": {"name": "default", "addressPrefix": None},
        }
    },
}
# The shortest limit there is; its head never says a word.
HANGING = {"scheduler": {"startTimeoutSeconds": 60}}

# Seconds between two looks at what stands in the way.
ROUND = 15


def owned_by_somebody_else(azure) -> dict[str, dict | None]:
    """What others have in Azure, as it is now."""
    network = azure.network("theirs")
    paths = (network, f"{network}/subnets/default", azure.pool("theirs"), azure.pool("shared"))
    found = {path: azure.get(path) for path in paths}
    for resource in found.values():
        # A subnet counts who uses it, and a pool its nodes.
        for counted in ("ipConfigurations", "subnets"):
            resource["properties"].pop(counted, None)
        for counted in [key for key in resource["properties"].get("properties", {}) if key.startswith(COUNTED)]:
            del resource["properties"]["properties"][counted]
        resource.pop("etag", None)
    return found


COUNTED = ("currentNodeCount", "targetNodeCount", "nodeStateCounts", "allocationState")


def make_what_others_have(azure) -> None:
    network = azure.network("theirs")
    space = {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}}
    azure.put(network, {"location": "eastus", "properties": space})
    subnet = f"{network}/subnets/default"
    azure.put(subnet, {"properties": {"addressPrefix": "10.9.0.0/24"}})
    scale = {"minNodeCount": 0, "maxNodeCount": 2}
    inner = {"vmSize": "STANDARD_DS13_V2", "scaleSettings": scale}
    for name, more in {"theirs": {}, "shared": {"subnet": {"id": subnet}}}.items():
        pool = {"computeType": "AmlCompute", "properties": inner | more}
        azure.put(azure.pool(name), {"location": "eastus", "properties": pool})


@pytest.fixture(scope="module")
def wrong(stage):
    """Everything wrong is applied."""
    kubernetes, azure = stage.kubernetes, stage.azure
    make_what_others_have(azure)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "foreign-service-scheduler", "namespace": "default"},
        "spec": {"ports": [{"port": 1}]},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "foreign-secret-connection", "namespace": "default"},
        "stringData": {"token": "somebody's"},
    }
    kubernetes.apply(
        service,
        secret,
        stage.secret("incomplete", AZURE_CLIENT_SECRET=None),
        stage.secret("refused", AZURE_CLIENT_SECRET="wrong"),
    )
    changes = {name: changes for name, (changes, *_) in WRONG.items()} | GUESTS | {"hanging": HANGING}
    manifests = {name: manifest(name, stage.line.env, changed) for name, changed in changes.items()}
    for name, path in {"not-empty": "not-empty", "below-a-file": "file/isd"}.items():
        [held] = manifests[name]["spec"]["datasets"]
        held["path"] = str(stage.folder / path)
    stage.theirs = owned_by_somebody_else(azure)
    stage.written_by_others = len(azure.writes())
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
    assert owned_by_somebody_else(azure) == wrong.theirs
    assert (wrong.folder / "not-empty" / "keep").read_text() == "somebody's"
    assert (wrong.folder / "file").read_text() == "somebody's"
    service = wrong.kubernetes.run("get", "service", "foreign-service-scheduler", "-o", "jsonpath={.spec.ports[*].port}")
    assert service == "1"
    secret = wrong.kubernetes.run("get", "secret", "foreign-secret-connection", "-o", "jsonpath={.data}")
    assert list(json.loads(secret)) == ["token"]
    for name in SPOTLESS:
        assert azure.get(azure.network(f"{name}-vnet")) is None, name
        assert azure.get(azure.pool(f"{name}-pool")) is None, name


@pytest.mark.parametrize("name", GUESTS)
def test_what_others_have_is_used_where_the_manifest_says_so(wrong, name):
    def is_ready() -> bool:
        return condition(wrong.kubernetes.cluster(name), "Ready")["status"] == "True"

    eventually(is_ready, seconds=45, otherwise=lambda: wrong.kubernetes.cluster(name))


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
    # All of them may ask in the same second: what is counted is a whole round.
    eventually(lambda: time.monotonic() - began > ROUND, seconds=2 * ROUND, otherwise=lambda: "the clock stands still")
    assert versions() == before
    rate = (len(wrong.azure.exchanges()) - asked) / (time.monotonic() - began)
    assert rate < 20, f"{rate:.0f} requests a second for {len(WRONG)} clusters"


def test_workers_that_exit_at_once_are_started_less_and_less_often(wrong):
    """After 10, 20, 40 seconds and so on: without that there would be one every second."""
    started = [job for job in wrong.azure.jobs() if job.startswith("workers-exit-") and "-w00-" in job]
    assert len(started) <= 4, started


def test_mended_credentials_are_taken_within_a_minute(wrong):
    mended = {"secret-missing": "later", "secret-incomplete": "incomplete", "secret-refused": "refused"}
    wrong.kubernetes.apply(*(wrong.secret(secret) for secret in mended.values()))

    def all_go_on() -> bool:
        clusters = wrong.kubernetes.clusters()
        return not any(condition(clusters[name], "Ready")["reason"].startswith("Credentials") for name in mended)

    eventually(all_go_on, seconds=60, otherwise=wrong.kubernetes.clusters)


def test_a_head_that_never_answers_is_told_when_its_time_is_over(wrong):
    told = {}

    def is_told() -> bool:
        told.update(condition(wrong.kubernetes.cluster("hanging"), "SchedulerReady"))
        return told["reason"] == "HeadStartTimeout"

    eventually(is_told, seconds=90, otherwise=lambda: told)
    for words in ("-head-1", "startTimeoutSeconds (60 s)", "std_log_process_00.txt", "cancel"):
        assert words in told["message"]


def test_every_cluster_is_deleted_soon_and_what_is_theirs_stays(wrong):
    kubernetes, azure = wrong.kubernetes, wrong.azure
    kubernetes.delete(*WRONG, *GUESTS, "hanging")
    eventually(lambda: not kubernetes.clusters(), seconds=60, otherwise=lambda: sorted(kubernetes.clusters()))
    assert owned_by_somebody_else(azure) == wrong.theirs
    written = azure.writes()[wrong.written_by_others :]
    touched = [write for write in written if any(f" {path}" in write for path in wrong.theirs)]
    assert not touched
