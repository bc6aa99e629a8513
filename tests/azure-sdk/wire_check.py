"""Holds an exchange log of the simulator (`GET /exchanges`) against Microsoft's schemas.

    python -m line azure-sdk -- python tests/azure-sdk/wire_check.py --schemas FOLDER LOG ...

LOG is such a log, or a folder of them (`AZURE_SIMULATOR_EXCHANGES`); FOLDER is one with `jsonschema/`,
as `azure-spec` has it. Bodies of requests that Azure would have taken are held against the strict schema
of the api-version that they name. The folder has those of the operator and of Microsoft's examples;
Microsoft's clients name others, mostly, and these requests are counted by their version and not checked.
Answers are held against the lenient schemas, which let every value be null. It fails where something
does not fit, and where no request or no answer was there to be checked.
"""

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

# The folder in a checkout beside which the design's shared folder lies.
DEFAULT_SCHEMAS = Path(__file__).parents[3] / "shared" / "azure-spec"
# Schemas by provider and api-version; answers of other versions are held against the last one.
VERSIONS = {
    "microsoft.machinelearningservices": {"2024-10-01": "ml-2024-10-01", "2025-12-01": "ml-2025-12-01"},
    "microsoft.network": {"2024-03-01": "network-2024-03-01"},
}
# Statuses that Azure was recorded to answer with, and those that the OpenAPI has for them (contract
# section 4).
RECORDED = {("Compute_Update", 202): 200}
# Parts of a path that a report shows.
LONGEST_SHAPE = 8
# Faults whose answer is the test's own words, not the simulator's: nothing can be said of it, nor of
# whether Azure would have taken the request.
ANSWERED_BY_FAULT = {"answer", "throttle"}
# Faults that leave of the simulator's answer what no schema knows.
SPOILT_BY_FAULT = {"truncate_answer", "null_fields"}
# A word of Microsoft's examples that Microsoft's schemas do not know, which have "uri_file": what is
# exchanged for its sake is held against no schema.
MISSPELT = '"UriFile"'


@dataclass
class Report:
    """What was checked, and what did not fit."""

    requests: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    other_versions: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def checked(self) -> int:
        return self.requests.total() + self.answers.total()


class Schema:
    """One schema file: operations by method and path, and validators of its definitions."""

    def __init__(self, file: Path):
        self._document = json.loads(file.read_text())
        resource = Resource.from_contents(self._document)
        self._registry = Registry().with_resource("schema", resource)
        self._validators: dict[str, Draft202012Validator] = {}
        self._operations = [
            (operation["method"], _pattern(operation["path"]), name, operation)
            for name, operation in self._document["x-operations"].items()
        ]

    def operation(self, method: str, path: str) -> tuple[str, dict] | None:
        for own_method, pattern, name, operation in self._operations:
            if own_method == method and pattern.fullmatch(path):
                return name, operation
        return None

    def errors(self, reference: str, value: object) -> list[str]:
        if reference not in self._validators:
            schema = {"$ref": "schema" + reference}
            self._validators[reference] = Draft202012Validator(schema, registry=self._registry)
        return [
            f"{error.json_path}: {error.message[:300]}"
            for error in self._validators[reference].iter_errors(value)
        ]


class Schemas:
    def __init__(self, folder: Path):
        self._folder = folder / "jsonschema"
        self._loaded: dict[str, Schema] = {}

    def strict(self, provider: str, version: str) -> Schema | None:
        name = VERSIONS[provider].get(version)
        return name and self._load(f"{name}.schema.json")

    def lenient(self, provider: str, version: str) -> Schema:
        names = VERSIONS[provider]
        name = names.get(version) or names[max(names)]
        return self._load(f"{name}.lenient.schema.json")

    def _load(self, file: str) -> Schema:
        if file not in self._loaded:
            self._loaded[file] = Schema(self._folder / file)
        return self._loaded[file]


def check(exchanges: Iterable[dict], schemas: Schemas) -> Report:
    report = Report()
    for exchange in exchanges:
        _check_one(exchange, schemas, report)
    return report


def _check_one(exchange: dict, schemas: Schemas, report: Report) -> None:
    request, answer = exchange["request"], exchange.get("response")
    if not request["path"].startswith("/subscriptions/"):
        return
    provider = next((one for one in VERSIONS if f"/providers/{one}/" in request["path"].lower()), None)
    if provider is None or answer is None:
        return
    version = re.search(r"(?:^|&)api-version=([^&]*)", request["query"] or "")
    lenient = schemas.lenient(provider, version[1] if version else "")
    found = lenient.operation(request["method"], request["path"])
    if found is None:
        report.unknown[f"{request['method']} {_shape(request['path'])}"] += 1
        return
    name, operation = found
    where = f"{name} (exchange {exchange['number']})"
    taken = answer["status"] < 300
    fault = exchange.get("fault_action")
    if fault in ANSWERED_BY_FAULT or MISSPELT in json.dumps([request["body"], answer["body"]]):
        return
    if taken and request["body"] is not None and operation.get("requestSchema"):
        named = version[1] if version else ""
        strict = schemas.strict(provider, named)
        known = strict and strict.operation(request["method"], request["path"])
        if known:
            report.requests[name] += 1
            errors = strict.errors(known[1]["requestSchema"], request["body"])
            report.problems += [f"{where} request {error}" for error in errors]
        else:
            report.other_versions[f"{provider} {named}"] += 1
    if fault in SPOILT_BY_FAULT:
        return
    status = RECORDED.get((name, answer["status"]), answer["status"])
    expected = operation["responses"].get(str(status))
    if expected is None and taken:
        report.problems.append(f"{where} answer: {answer['status']} is not one of its statuses")
        return
    expected = expected or operation["responses"]["default"]
    report.answers[name] += 1
    if expected["schema"]:
        errors = lenient.errors(expected["schema"], answer["body"])
        report.problems += [f"{where} answer {answer['status']} {error}" for error in errors]


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]*\}", path)
    return re.compile("[^/]+".join(map(re.escape, parts)), re.IGNORECASE)


def _shape(path: str) -> str:
    """A path without the names in it, and without what no path of Azure's is long enough for: for people
    who read the report."""
    tail = path.split("/providers/")[-1].split("/")[:LONGEST_SHAPE]
    shape = "/".join(part if number % 2 else "*" for number, part in enumerate(tail)).removeprefix("*/")
    return shape[:100]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    schemas = os.environ.get("AZURE_SPEC", DEFAULT_SCHEMAS)
    parser.add_argument("--schemas", type=Path, default=Path(schemas))
    parser.add_argument("logs", type=Path, nargs="+", metavar="LOG")
    given = parser.parse_args()
    if not (given.schemas / "jsonschema").is_dir():
        print(f"nothing is checked: there is no {given.schemas / 'jsonschema'}", file=sys.stderr)
        return 0
    logs = [file for log in given.logs for file in (log.glob("*.jsonl") if log.is_dir() else [log])]
    lines = (line for log in sorted(logs) for line in log.read_text().splitlines())
    report = check(map(json.loads, lines), Schemas(given.schemas))
    for problem in report.problems:
        print(problem)
    print(f"{report.requests.total()} requests and {report.answers.total()} answers were checked")
    for name, count in sorted(report.unknown.items()):
        print(f"  not in the schemas: {name} ({count})")
    for version, count in sorted(report.other_versions.items()):
        print(f"  requests of an api-version without a schema: {version} ({count})")
    for what, counted in (("request", report.requests), ("answer", report.answers)):
        if not counted:
            print(f"no {what} was checked")
    return 0 if report.requests and report.answers and not report.problems else 1


if __name__ == "__main__":
    sys.exit(main())
