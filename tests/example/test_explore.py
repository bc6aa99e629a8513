"""`explore.py` as a person runs it, on a Dask cluster of processes."""

import json
import os
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import isd_data
import pandas as pd
import pytest
from azure_stand_in import RUN, SECRET, SIGNATURE, TOKEN, serve_azure
from conftest import EXAMPLE
from distributed import Nanny, Scheduler, SpecCluster

SECRET_TOKEN = "the-token-of-the-operator"
KUBECTL = """#!{python}
import json, sys
if sys.argv[1] == "get" and sys.argv[2] == "secret":
    secret = json.loads({secret!r})
    print(secret[sys.argv[sys.argv.index("-o") + 1]], end="")
else:
    print({cluster!r})
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    isd_data.prepare(folder / "real", "real")
    isd_data.prepare(folder / "generated", "generated", rows_per_month=200)
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def scheduler(data, tmp_path_factory):
    """Two workers that find the data at different places, as two nodes of Azure ML do."""

    def worker(mounts: Path) -> dict:
        for name in ("real", "generated", "empty"):
            (mounts / name).symlink_to(data / name)
        environment = {
            "DASK_AZUREML_DATASET_NOAA_ISD": str(mounts / "real"),
            "DASK_AZUREML_DATASET_NOAA_ISD_GENERATED": str(mounts / "generated"),
            "DASK_AZUREML_DATASET_EMPTY": str(mounts / "empty"),
        }
        return {"cls": Nanny, "options": {"nthreads": 1, "memory_limit": "2GB", "env": environment}}

    with SpecCluster(
        scheduler={"cls": Scheduler, "options": {"dashboard_address": None, "host": "127.0.0.1", "port": 0}},
        workers={number: worker(tmp_path_factory.mktemp("mounts")) for number in range(2)},
        silence_logs=False,
    ) as cluster:
        cluster.wait_for_workers(2, timeout=60)
        yield cluster.scheduler_address


@pytest.fixture
def azure():
    with serve_azure() as azure:
        yield azure


@pytest.fixture
def explore(scheduler, azure, tmp_path):
    def value(text: str) -> str:
        return b64encode(text.encode()).decode()

    secret = {
        "jsonpath={.data.scheduler-address}": value(scheduler),
        "jsonpath={.data.dashboard-url}": value("http://10.20.0.4:8787"),
        "jsonpath={.data.token}": value(SECRET_TOKEN),
    }
    workspace = {
        "subscriptionId": "00000000-0000-0000-0000-000000000001",
        "resourceGroup": "rg-dask",
        "name": "ws-dask",
    }
    cluster = {"spec": {"workspace": workspace}, "status": {"run": {"name": RUN}}}
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(
        KUBECTL.format(python=sys.executable, secret=json.dumps(secret), cluster=json.dumps(cluster))
    )
    kubectl.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{kubectl.parent}:{os.environ['PATH']}",
        "AZURE_AUTHORITY_HOST": azure.url + "/",
        "AZURE_RESOURCE_MANAGER_ENDPOINT": azure.url,
        "AZURE_TENANT_ID": "tenant",
        "AZURE_CLIENT_ID": "client",
        "AZURE_CLIENT_SECRET": SECRET,
    }

    def run(*arguments: object, **changed: str) -> subprocess.CompletedProcess:
        command = [
            sys.executable,
            EXAMPLE / "explore.py",
            "noaa-isd",
            "--plot",
            tmp_path / "plot.png",
            *arguments,
        ]
        return subprocess.run(
            list(map(str, command)), env=environment | changed, capture_output=True, text=True, timeout=120
        )

    return run


def damaged(original: Path, copy: Path, column: str, change) -> Path:
    """A copy of a dataset in which one value of one file differs."""
    shutil.copytree(original, copy)
    file = isd_data.month_files(copy)[3]
    frame = pd.read_parquet(file, partitioning=None)
    frame.loc[100, column] = change(frame.loc[100, column])
    frame.to_parquet(file, index=False)
    return copy


def test_new_yorks_weather_agrees_with_pandas_and_comes_back_from_the_run(explore, azure, data, tmp_path):
    explored = explore("--check-against", data / "real")
    assert explored.returncode == 0, explored.stdout + explored.stderr
    assert "2 workers, 2 cores" in explored.stdout
    assert "26,115 rows of 3 stations on 364 days" in explored.stdout
    [(artifact, content)] = azure.artifacts.items()
    assert content == (tmp_path / "plot.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert azure.metrics == {"noaa-isd.rows": 26_115}
    assert azure.tags == {"noaa-isd.plot": artifact}
    for secret in (SECRET_TOKEN, SECRET, TOKEN, SIGNATURE):
        assert secret not in explored.stdout + explored.stderr


def test_the_generated_set_agrees_with_pandas(explore, data):
    explored = explore("--dataset", "noaa-isd-generated", "--check-against", data / "generated")
    assert explored.returncode == 0, explored.stdout + explored.stderr
    assert "28,800 rows of 200 stations" in explored.stdout


def test_one_temperature_that_differs_fails_the_exploration(explore, data, tmp_path):
    other = damaged(data / "real", tmp_path / "other", "temperature", lambda celsius: celsius + 0.1)
    explored = explore("--check-against", other)
    assert explored.returncode == 1
    assert "DIFFERS: mean of temperature" in explored.stderr
    assert re.search(r"DIFFERS: mean temperature of 2013-\d\d-\d\d: ", explored.stderr)
    assert "rows" not in explored.stderr


def test_a_plot_that_comes_back_damaged_fails_the_exploration(explore, azure):
    azure.damages_artifacts = True
    explored = explore()
    assert explored.returncode == 1
    assert "DIFFERS: the plot came back" in explored.stderr


def test_a_dataset_without_files_is_named(explore):
    explored = explore("--dataset", "empty")
    assert explored.returncode == 1
    assert "dataset empty has no file year=*/month=*/*.parquet" in explored.stderr


def test_a_refused_secret_is_told_and_not_shown(explore):
    explored = explore(AZURE_CLIENT_SECRET="a-wrong-secret")
    assert explored.returncode == 1
    assert "could not ask Microsoft Entra for a token: 401" in explored.stderr
    assert "a-wrong-secret" not in explored.stdout + explored.stderr
