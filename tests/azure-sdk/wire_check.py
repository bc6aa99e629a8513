"""Holds an exchange log of the simulator (`GET /exchanges`) against Microsoft's schemas.

    python -m line azure-sdk -- python tests/azure-sdk/wire_check.py --schemas FOLDER LOG ...

LOG is such a log, or a folder of them (`AZURE_SIMULATOR_EXCHANGES`); FOLDER is one with `jsonschema/`,
as `azure-spec` has it. Requests that Azure would have taken are held
against the strict schemas, where the log's api-version is that of one; answers against the lenient
ones, which let every value be null. It fails where something does not fit, and where nothing was there
to be checked.
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


@dataclass
class Report:
    """What was checked, and what did not fit."""

    requests: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
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
    strict = version and schemas.strict(provider, version[1])
    wanted = operation.get("requestSchema")
    if strict and taken and wanted and "fault" not in exchange:
        report.requests[name] += 1
        errors = strict.errors(wanted, request["body"])
        report.problems += [f"{where} request {error}" for error in errors]
    if "fault" in exchange:
        return
    expected = operation["responses"].get(str(answer["status"]))
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
    """A path without the names in it, for people who read the report."""
    tail = path.split("/providers/")[-1].split("/")
    return "/".join(part if number % 2 else "*" for number, part in enumerate(tail)).removeprefix("*/")


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
    if report.checked == 0:
        print("nothing was checked")
    return 1 if report.problems or report.checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
