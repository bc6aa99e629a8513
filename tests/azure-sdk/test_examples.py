"""Microsoft's example requests, sent as they are and answered in the examples' shape.

Which example belongs to which operation is what the specification says. A world is made for each
subscription, group and workspace that examples name, so that nothing in a request is changed.
"""

import json
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from simulator import Simulator
from wire_check import DEFAULT_SCHEMAS

FOLDER = Path(os.environ.get("AZURE_SPEC", DEFAULT_SCHEMAS))
SPECIFICATIONS = ("machinelearningservices-2025-12-01.derived.json", "network-2024-03-01.json")

# What the simulator does not have, and says so.
REFUSED = re.compile(
    r"NatGateway.*|.*/publish\.json"
    r"|Compute/(listKeys|start|stop|restart)\.json"
    r"|Compute/createOrUpdate/(ComputeInstance.*|.*AKSCompute|BasicDataFactoryCompute|KubernetesCompute)\.json"
    r"|Job/(AutoMLJob|SweepJob|PipelineJob)/createOrUpdate\.json"
    r"|VirtualNetworkCreateWithBgpCommunities\.json|VirtualNetworkCreateServiceEndpointPolicy\.json"
)
# Examples whose placeholders stand for what is not there: Azure's own answer would be an error.
PLACEHOLDERS = re.compile(
    r"Workspace/DataVersionBase/(createOrUpdate|get)\.json|Workspace/EnvironmentVersion/get\.json"
    r"|Job/.*/get\.json|Job/(cancel|delete)\.json"
    r"|Compute/get/(AKSCompute|ComputeInstance|KubernetesCompute)\.json"
)
# What stands before an example: the example that makes what it is about.
BEFORE = [
    (r"Workspace/create\.json", "Workspace/delete.json"),
    (r"VirtualNetwork(Get|Delete|UpdateTags|List).*\.json", "VirtualNetworkCreate.json"),
    (r"Subnet(Get|Delete|List).*\.json", "SubnetCreate.json"),
    (r"NetworkSecurityGroup(Get|Delete|UpdateTags|List).*\.json", "NetworkSecurityGroupCreateWithRule.json"),
    (r"Workspace/(\w+)Container/(get|delete|list)\.json", r"Workspace/\1Container/createOrUpdate.json"),
    (r"Workspace/CodeVersion/(get|list|delete)\.json", "Workspace/CodeVersion/createOrUpdate.json"),
    (r"Workspace/EnvironmentVersion/(list|delete)\.json", "Workspace/EnvironmentVersion/createOrUpdate.json"),
    (r"Job/CommandJob/createOrUpdate\.json", "Workspace/EnvironmentVersion/createOrUpdate.json"),
    (r"Job/CommandJob/createOrUpdate\.json", "Workspace/CodeVersion/createOrUpdate.json"),
    (r"Datastore/(get|list|delete|listSecrets)\.json", "Datastore/AzureBlobWAccountKey/createOrUpdate.json"),
]
# Fields of example answers that a request like it does not bring about.
NOT_ANSWERED = re.compile(
    # Of AKS, or of a compute that has been attached.
    r".*\.(resourceId|isAttachedCompute)"
    # Of Azure's own making, in examples that show what others had set before.
    r"|\$\.properties\.subnets.*|\$\.value.*\.properties\.subnets.*|\$\.properties\.(sharingScope|purpose)"
    r"|.*\.properties\.(delegations|defaultOutboundAccess|serviceAssociationLinks)\b.*"
    r"|.*\.nodes\[\d+\].*|.*\.allocationStateTransitionTime|.*\.subnet\.id"
    r"|.*\.(userAccountCredentials|provisioningErrors|errors|dhcpOptions|flushConnection).*"
    # Names that the example's own request did not give.
    r"|.*\.properties\.(tags\..*|(properties|parameters)\.(string|additionalProp\d|prop\d|property\d))"
    # Of workspaces with more around them.
    r"|.*\.(userAssignedIdentities|sharedPrivateLinkResources|privateEndpointConnections|encryption)"
    r"|.*\.(serviceProvisionedResourceGroup|enableDataIsolation|hubResourceId|primaryUserAssignedIdentity)"
)

WORKSPACE = (
    "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/"
    "Microsoft.MachineLearningServices/workspaces/{workspaceName}"
)
# Examples that no Azure could answer with success, and what stands there instead: names of what is
# there for a placeholder, one of two properties that exclude each other (contract section 8).
FILLED = {
    "Workspace/EnvironmentVersion/createOrUpdate.json": {"build": None},
    "Job/CommandJob/createOrUpdate.json": {
        "computeId": WORKSPACE + "/computes/pool",
        "environmentId": WORKSPACE + "/environments/string/versions/string",
        "codeId": WORKSPACE + "/codes/string/versions/string",
        "services": {"string": {"jobServiceType": "Custom", "port": 1, "properties": {"string": "string"}}},
    },
}

NETWORK = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
COMPUTE = {
    "computeType": "AmlCompute",
    "description": "some compute",
    "properties": {
        "vmSize": "STANDARD_DS3_V2",
        "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1},
    },
}

# Those that examples name. Azure has retired the second.
SIZES = [
    {"name": name, "family": family, "vCPUs": cores, "gpus": gpus, "osVhdSizeMB": 1047552,
     "maxResourceVolumeMB": 28672, "memoryGB": 14.0, "lowPriorityCapable": True, "premiumIO": True,
     "estimatedVMPrices": {"billingCurrency": "USD", "unitOfMeasure": "OneHour", "values": [
         {"retailPrice": 0.29, "osType": "Linux", "vmTier": "Standard"}]},
     "supportedComputeTypes": ["AmlCompute"]}
    for name, family, cores, gpus in (
        ("Standard_DS3_v2", "standardDSv2Family", 4, 0), ("Standard_NC6", "standardNCFamily", 6, 1))
]

NEEDS_COMPUTE = re.compile(
    r"Compute/(get/AmlCompute|createOrUpdate/AmlCompute|patch|listNodes|listKeys|delete)\.json"
)
NEEDS_POOL = re.compile(r"Job/CommandJob/createOrUpdate\.json")
# Lists in worlds that have nothing for them.
EMPTY = re.compile(r"Workspace/DataVersionBase/list\.json|Job/.*/list\.json|Compute/(list|listNodes)\.json|.*ListAll\.json")
# Where recordings of Azure say otherwise than the examples (contract section 4).
RECORDED = {"Compute/patch.json": (202, "200")}

needs_examples = pytest.mark.skipif(
    not (FOLDER / "examples").is_dir(), reason=f"there is no {FOLDER}; AZURE_SPEC names another"
)


@dataclass(frozen=True)
class Example:
    """One request with its answers."""

    operation: str
    method: str
    path: str
    query: tuple[str, ...]
    body_name: str | None
    file: str

    @property
    def name(self) -> str:
        """Without the folders that all of one specification share."""
        return self.file.split("examples/")[1].split("/", 2)[2]

    @property
    def content(self) -> dict:
        return json.loads((FOLDER / "trimmed" / self.file).read_text())

    @property
    def world(self) -> tuple[str, str, str, str]:
        given = self.content["parameters"]
        body = given.get(self.body_name) if self.body_name else None
        location = (isinstance(body, dict) and body.get("location")) or given.get("location") or "eastus"
        group, workspace = given.get("resourceGroupName", "rg"), given.get("workspaceName", "ws-1")
        return given["subscriptionId"], group, workspace, location


def all_examples() -> dict[str, Example]:
    if not (FOLDER / "trimmed").is_dir():
        return {}
    found = {}
    for file in SPECIFICATIONS:
        specification = json.loads((FOLDER / "trimmed" / file).read_text())
        for path, methods in specification["paths"].items():
            for method, operation in methods.items():
                if not isinstance(operation, dict):
                    continue
                for reference in operation.get("x-ms-examples", {}).values():
                    example = of_operation(specification, path, method, operation, reference["$ref"])
                    found[example.name] = example
    return found


def of_operation(specification, path, method, operation, file) -> Example:
    parameters = [
        specification["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        for one in operation["parameters"]
    ]
    query = tuple(one["name"] for one in parameters if one["in"] == "query")
    body = next((one["name"] for one in parameters if one["in"] == "body"), None)
    return Example(operation["operationId"], method.upper(), path, query, body, file)


EXAMPLES = all_examples()


class Worlds:
    """Simulators by what examples take for granted."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._running: dict[tuple, Simulator] = {}

    def send(self, example: Example, filled: bool) -> tuple[int, object, Simulator]:
        """The answer to an example, with the resource that it has written where the answer is a 202
        without one."""
        before = [
            EXAMPLES[match.expand(name)]
            for pattern, name in BEFORE
            if (match := re.fullmatch(pattern, example.name))
        ]
        simulator = self._of(example.world)
        simulator.control("/reset", "POST")
        if example.operation.startswith("Subnets_"):
            self._make(simulator, example, "/subnets", NETWORK)
        if NEEDS_COMPUTE.fullmatch(example.name):
            self._make(simulator, example, "{computeName}", COMPUTE)
        if NEEDS_POOL.fullmatch(example.name):
            self._make(simulator, example, "/jobs", COMPUTE, "/computes/pool")
        for one in before:
            self._call(simulator, one, example, True)
        status, body = self._call(simulator, example, example, filled)
        if status == 202 and body is None and example.method in ("PUT", "PATCH"):
            status, body = self._call(simulator, replace(example, method="GET", body_name=None), example, filled)
        return status, body, simulator

    def _of(self, world: tuple[str, str, str, str]) -> Simulator:
        if world not in self._running:
            subscription, group, workspace, location = world
            folder = self._folder / str(len(self._running))
            folder.mkdir()
            content = {
                "time_scale": "instant",
                "subscription_id": subscription,
                "resource_groups": [group],
                "workspaces": [{"name": workspace}],
                "location": location,
                "vm_sizes": SIZES,
            }
            self._running[world] = Simulator(folder, content)
        return self._running[world]

    def _call(
        self, simulator: Simulator, example: Example, meant: Example, filled: bool
    ) -> tuple[int, object]:
        """Sends an example; with the path's parameters of the one that it is sent for."""
        content = example.content["parameters"]
        given = content | {
            name: value for name, value in meant.content["parameters"].items() if name in content
            and name != example.body_name and not isinstance(value, dict)
        }
        path = re.sub(
            r"\{(\w+)\}", lambda name: urllib.parse.quote(str(given[name[1]]), safe=""), example.path
        )
        query = {name: given[name] for name in example.query if name in given}
        query = {name: written(one) for name, one in query.items()}
        url = f"{simulator.arm}{path}?{urllib.parse.urlencode(query)}"
        body = given.get(example.body_name) if example.body_name else None
        if example is not meant and isinstance(body, dict) and "location" in body:
            # What must be there first is made where the example is that it is made for.
            body = body | {"location": meant.world[3]}
        for field, value in FILLED.get(example.name, {}).items() if filled else ():
            if value is None:
                del body["properties"][field]
            else:
                body["properties"][field] = value.format(**given) if isinstance(value, str) else value
        return call(simulator, example.method, url, body)

    def _make(
        self, simulator: Simulator, example: Example, end: str, properties: dict, instead: str = ""
    ) -> None:
        """What no example makes: the resource whose path is that of the example up to `end`, or with
        `instead` from there on."""
        given = example.content["parameters"]
        before, end, _ = example.path.partition(end)
        path = (before + (instead or (end if end.startswith("{") else ""))).format(**given)
        url = f"{simulator.arm}{path}?api-version={given['api-version']}"
        body = {"location": example.world[3], "properties": properties}
        status, answer = call(simulator, "PUT", url, body)
        assert status == 201, answer

    def end(self) -> None:
        for simulator in self._running.values():
            simulator.end()


def written(value: object) -> object:
    """A value of a query as the specification has it written."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else value


def call(simulator: Simulator, method: str, url: str, body: object) -> tuple[int, object]:
    trust = ssl.create_default_context(cafile=simulator.env["SSL_CERT_FILE"])
    if not hasattr(simulator, "token"):
        form = {
            "grant_type": "client_credentials",
            "client_id": simulator.env["AZURE_CLIENT_ID"],
            "client_secret": simulator.env["AZURE_CLIENT_SECRET"],
            "scope": "https://management.azure.com/.default",
        }
        endpoint = f"{simulator.authority}{simulator.env['AZURE_TENANT_ID']}/oauth2/v2.0/token"
        data = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(endpoint, data=data, context=trust) as answer:
            simulator.token = json.load(answer)["access_token"]
    headers = {"Authorization": f"Bearer {simulator.token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, context=trust) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    worlds = Worlds(tmp_path_factory.mktemp("examples"))
    yield worlds
    worlds.end()


def missing(expected: object, given: object, where: str = "$") -> list[str]:
    """What an example's answer has and another has not; values may differ."""
    if isinstance(expected, dict):
        if not isinstance(given, dict):
            return [] if NOT_ANSWERED.fullmatch(where) or given is None else [where]
        found = []
        for name, value in expected.items():
            place = f"{where}.{name}"
            # What is null in one answer may be absent in another.
            if value is None or NOT_ANSWERED.fullmatch(place):
                continue
            found += missing(value, given[name], place) if name in given else [place]
        return found
    if isinstance(expected, list) and expected:
        if not isinstance(given, list) or not given:
            return [where]
        return missing(expected[0], given[0], f"{where}[0]")
    return []


def test_what_a_compute_lacks_is_told_and_what_others_had_named_is_not():
    inner = {"scaleSettings": {"maxNodeCount": 1}, "vmSize": "x"}
    compute = {"properties": {"properties": inner, "tags": {"string": "string"}}}
    answer = {"properties": {"properties": {"vmSize": "y"}, "tags": {}}}
    place = "$.properties.properties.scaleSettings"
    assert missing(compute, answer) == [place]
    assert missing({"value": [compute]}, {"value": [answer]}) == [place.replace("$", "$.value[0]")]


@needs_examples
@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_is_answered_in_its_shape_or_refused_as_the_table_says(name, worlds):
    example = EXAMPLES[name]
    status, body, simulator = worlds.send(example, filled=True)
    if REFUSED.fullmatch(name) or PLACEHOLDERS.fullmatch(name):
        assert 400 <= status < 500, body
        assert {"code", "message"} <= body["error"].keys(), body
        if REFUSED.fullmatch(name):
            assert simulator.exchanges()[-1].get("refused"), "it is told loudly"
        return
    responses = example.content["responses"]
    recorded, documented = RECORDED.get(name, (None, None))
    expected = documented if status == recorded else str(status)
    assert expected in responses, body
    absent = missing(responses[expected].get("body"), body)
    if EMPTY.fullmatch(name):
        absent = [one for one in absent if one not in ("$.value", "$.nodes")]
    assert absent == []


@needs_examples
@pytest.mark.parametrize("name", sorted(FILLED))
def test_an_example_whose_placeholders_mean_nothing_is_refused_as_it_stands(name, worlds):
    status, body, _ = worlds.send(EXAMPLES[name], filled=False)
    assert status == 400, body
    assert {"code", "message"} <= body["error"].keys(), body
