"""Every exchange of the tests of this folder, which ran before, is as Microsoft's schemas say."""

import copy
import os
from pathlib import Path

import pytest
from wire_check import DEFAULT_SCHEMAS, Schemas, check

FOLDER = Path(os.environ.get("AZURE_SPEC", DEFAULT_SCHEMAS))

needs_schemas = pytest.mark.skipif(
    not (FOLDER / "jsonschema").is_dir(), reason=f"there is no {FOLDER}; AZURE_SPEC names another"
)


@needs_schemas
def test_what_was_exchanged_fits_microsofts_schemas(simulator):
    report = check(simulator.exchanges(), Schemas(FOLDER))
    assert report.problems == []
    assert report.checked > 0, "the schemas are there and nothing was checked"


COMPUTE = {
    "number": 1,
    "request": {
        "method": "PUT",
        "path": "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/"
        "workspaces/w/computes/pool",
        "query": "api-version=2025-12-01",
        "body": {
            "location": "eastus",
            "properties": {
                "computeType": "AmlCompute",
                "properties": {"scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2}},
            },
        },
    },
    "response": {
        "status": 201,
        "body": {
            "id": "/x",
            "tags": None,
            "properties": {"computeType": "AmlCompute", "properties": None},
        },
    },
}


@needs_schemas
def test_the_checker_is_strict_with_requests_and_lenient_with_answers():
    schemas = Schemas(FOLDER)
    assert check([COMPUTE], schemas).problems == []
    wrong = copy.deepcopy(COMPUTE)
    wrong["request"]["body"]["properties"]["properties"]["scaleSettings"] = {"maxNodeCount": "two"}
    report = check([wrong], schemas)
    assert len(report.problems) == 1 and "request" in report.problems[0], report.problems
    wrong = copy.deepcopy(COMPUTE)
    wrong["response"]["body"]["properties"]["provisioningState"] = 7
    report = check([wrong], schemas)
    assert report.problems and all("answer" in one for one in report.problems), report.problems
    wrong = copy.deepcopy(COMPUTE)
    wrong["response"]["status"] = 206
    assert "206" in check([wrong], schemas).problems[0]


@needs_schemas
def test_a_status_that_was_recorded_is_one_in_every_version():
    patch = copy.deepcopy(COMPUTE)
    patch["request"]["method"], patch["request"]["body"] = "PATCH", {"properties": {}}
    patch["response"]["status"] = 202
    for version in ("2024-10-01", "2025-12-01"):
        patch["request"]["query"] = f"api-version={version}"
        assert check([patch], Schemas(FOLDER)).problems == [], version


@needs_schemas
def test_a_request_of_a_version_that_has_no_schema_is_counted_and_not_checked():
    other = copy.deepcopy(COMPUTE)
    other["request"]["query"] = "api-version=2023-08-01-preview"
    other["request"]["body"]["properties"]["properties"]["scaleSettings"] = {"maxNodeCount": "two"}
    report = check([COMPUTE, other], Schemas(FOLDER))
    assert report.problems == []
    assert report.requests.total() == 1
    assert report.other_versions == {"microsoft.machinelearningservices 2023-08-01-preview": 1}


@needs_schemas
@pytest.mark.parametrize(
    ("action", "problems"),
    [("delay", 2), ("lose_answer", 2), ("null_fields", 1), ("truncate_answer", 1), ("answer", 0), ("throttle", 0)],
)
def test_of_what_a_fault_struck_all_is_checked_that_the_fault_has_not_made(action, problems):
    struck = copy.deepcopy(COMPUTE) | {"fault": 1, "fault_action": action}
    struck["request"]["body"]["properties"]["properties"]["scaleSettings"] = {"maxNodeCount": "two"}
    struck["response"]["body"]["properties"]["provisioningState"] = 7
    report = check([struck], Schemas(FOLDER))
    where = {"request" if " request " in one else "answer" for one in report.problems}
    assert len(where) == problems, report.problems


@needs_schemas
def test_a_log_without_anything_to_check_counts_nothing():
    assert check([], Schemas(FOLDER)).checked == 0
