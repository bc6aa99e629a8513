"""Bodies hold the keys, nulls and casing that were recorded on Azure."""

import json
import os
import time
from pathlib import Path

import pytest
from azure.core.rest import HttpRequest
from azure.mgmt.core import ARMPipelineClient
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, HeadersPolicy
from wire_check import DEFAULT_SCHEMAS

FOLDER = Path(os.environ.get("AZURE_SPEC", DEFAULT_SCHEMAS)) / "observed"
DEADLINE = 60.0

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"there is no {FOLDER}; AZURE_SPEC names another"
)


def recorded(file: str, number: int) -> dict:
    return json.loads((FOLDER / file).read_text())["exchanges"][number]


@pytest.fixture(scope="module")
def send(simulator, credential):
    policies = [HeadersPolicy(), BearerTokenCredentialPolicy(credential, f"{simulator.arm}/.default")]
    client = ARMPipelineClient(base_url=simulator.arm, policies=policies)

    def send(method, path, body=None):
        url = f"{simulator.arm}{simulator.workspace_id}/{path}?api-version=2025-12-01"
        answer = client.send_request(HttpRequest(method, url, json=body))
        return answer.status_code, answer.json() if answer.text() else None

    yield send
    client.close()


def shape(value: object, where: str = "$") -> dict[str, bool]:
    """Every key below a value, with whether it is null."""
    if not isinstance(value, dict):
        return {}
    found = {}
    for name, inner in value.items():
        found[f"{where}.{name}"] = inner is None
        found |= shape(inner, f"{where}.{name}")
    return found


def assert_same_shape(expected: object, given: object, but: set[str] = frozenset()) -> None:
    expected, given = shape(expected), shape(given)
    assert {one for one in expected if one not in given} - but == set(), "recorded, and not answered"
    assert {one for one in given if one not in expected} - but == set(), "answered, and not recorded"
    nulls = {one for one in expected if one in given and expected[one] != given[one]}
    assert nulls - but == set(), "null in one and not in the other"


def wait_until(look):
    deadline = time.monotonic() + DEADLINE
    while not (found := look()):
        assert time.monotonic() < deadline, "did not come in time"
        time.sleep(0.1)
    return found


def test_a_compute_is_shown_as_it_was_recorded_from_its_put_to_its_patch(send):
    put, _, get, patch = (recorded("compute-put-get-patch.json", number) for number in range(4))
    status, body = send("PUT", "computes/aml03", put["requestBody"])
    assert status == put["status"]
    assert_same_shape(put["body"], body)
    assert body["properties"]["properties"]["vmSize"] == "STANDARD_DS3_V2"

    def steady():
        _, body = send("GET", "computes/aml03")
        inner = body["properties"]["properties"]
        return body if inner["allocationState"] == "Steady" else None

    assert_same_shape(get["body"], wait_until(steady))
    status, body = send("PATCH", "computes/aml03", patch["requestBody"])
    assert status == patch["status"]
    # Updating, as recorded; the counts are null again.
    assert_same_shape(patch["body"], body)


def test_a_job_is_shown_as_it_was_recorded_when_it_has_completed(simulator, send):
    get = recorded("job-get-and-cancel-terminal.json", 0)
    compute = {
        "location": "eastus",
        "properties": {
            "computeType": "AmlCompute",
            "properties": {
                "vmSize": "STANDARD_DS3_V2",
                "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1},
            },
        },
    }
    assert send("PUT", "computes/recorded", compute)[0] == 201
    image = {"properties": {"image": "registry.example/sdk:1"}}
    assert send("PUT", "environments/recorded/versions/1", image)[0] == 201
    job = {
        "properties": {
            "jobType": "Command",
            "displayName": "commandJob01",
            "experimentName": "jobexperiment",
            "command": 'echo "hello powershell 01"',
            "computeId": f"{simulator.workspace_id}/computes/recorded",
            "environmentId": f"{simulator.workspace_id}/environments/recorded/versions/1",
        }
    }
    assert send("PUT", "jobs/commandjob01", job)[0] == 201

    def completed():
        _, body = send("GET", "jobs/commandjob01")
        return body if body["properties"]["status"] == "Completed" else None

    body = wait_until(completed)
    server_made = {
        # Recorded on another kind of compute (`amlcdsi`), and in another recording of `amlctrain`.
        "$.properties.properties.ProcessInfoFile",
        "$.properties.properties.ProcessStatusFile",
        "$.properties.tags._aml_system_ComputeTargetStatus",
        # Of another api-version than the recorded one.
        "$.systemData.lastModifiedAt",
        "$.systemData.lastModifiedBy",
        "$.systemData.lastModifiedByType",
    }
    assert_same_shape(get["body"], body, server_made)
    status, answer = send("POST", "jobs/commandjob01/cancel")
    assert (status, answer) == (200, None)
