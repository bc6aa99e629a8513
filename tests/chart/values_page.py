"""Writes what values.yaml says of each value into the chart's README: `make generate`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

CHART = Path(__file__).parents[2] / "charts" / "dask-azureml-operator"
BEGIN, END = "<!-- values: made by `make generate` -->\n", "<!-- end of values -->\n"


class Value(NamedTuple):
    path: tuple[str, ...]
    meaning: str
    # None of one that only holds others.
    default: str | None


def values(text: str) -> list[Value]:
    """Those of a values.yaml, in its order: what stands in comments above each."""
    told = dict(_comments(text))
    return list(_values(yaml.safe_load(text), (), told))


def _values(level: dict, above: tuple[str, ...], told: dict[tuple[str, ...], str]) -> Iterator[Value]:
    for key, value in level.items():
        path = (*above, key)
        holds_others = any(each[: len(path)] == path and len(each) > len(path) for each in told)
        if holds_others:
            if path in told:
                yield Value(path, told[path], None)
            yield from _values(value, path, told)
        else:
            yield Value(path, told.get(path, ""), json.dumps(value, ensure_ascii=False))


def _comments(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    above: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        content = line.strip()
        if content.startswith("#"):
            comment.append(content.removeprefix("#").strip())
        elif not content:
            comment = []
        elif not content.startswith("- "):
            indent = len(line) - len(line.lstrip())
            above = [(depth, key) for depth, key in above if depth < indent]
            above.append((indent, content.split(":")[0]))
            if comment:
                yield tuple(key for _, key in above), " ".join(comment)
            comment = []


def page(text: str) -> str:
    """The table of the README."""
    lines = ["| value | default | meaning |\n", "|---|---|---|\n"]
    for value in values(text):
        default = "" if value.default is None else f"`{value.default}`"
        meaning = value.meaning.replace("|", "\\|")
        lines.append(f"| `{'.'.join(value.path)}` | {default} | {meaning} |\n")
    return "".join(lines)


def with_values(readme: str, text: str) -> str:
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + page(text) + END + after


if __name__ == "__main__":
    readme = CHART / "README.md"
    written = with_values(readme.read_text(), (CHART / "values.yaml").read_text())
    if written != readme.read_text():
        readme.write_text(written)
