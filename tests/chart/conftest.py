import subprocess
from pathlib import Path

import pytest
import yaml
from line import go_tools
from rendering import EVERYTHING, objects, one


@pytest.fixture(scope="session")
def everything() -> list[dict]:
    """Every object that the chart can make, with its defaults."""
    return objects(EVERYTHING)


@pytest.fixture(scope="session")
def promtool():
    """promtool, run in a folder; what it told, if it was not content."""
    program = str(go_tools.find(go_tools.PROMTOOL))

    def run(*arguments: str, folder: Path, given: str | None = None) -> str:
        done = subprocess.run(
            [program, *arguments], cwd=folder, input=given, capture_output=True, text=True, timeout=120
        )
        return done.stdout + done.stderr if done.returncode else ""

    return run


@pytest.fixture(scope="session")
def rules_file(everything, tmp_path_factory) -> Path:
    """The rules of the PrometheusRule, as Prometheus reads them."""
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": one(everything, "PrometheusRule")["spec"]["groups"]}))
    return path
