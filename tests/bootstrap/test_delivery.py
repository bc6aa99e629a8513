"""How the bootstrap gets into a job and what it leaves there."""

from __future__ import annotations

import ast
import hashlib
import json
import sys

from azure_ml import BOOTSTRAP, MLFLOW_TOKEN, TOKEN, TOKEN_SHA256, encoded_bootstrap


def test_the_encoded_bootstrap_fits_into_32_kib():
    assert len(encoded_bootstrap()) < 32 * 1024


def test_the_source_is_python_3_9():
    ast.parse(BOOTSTRAP.read_text(), feature_version=(3, 9))


def test_the_job_command_is_plain_posix_shell_without_variables():
    from azure_ml import COMMAND

    assert "$" not in COMMAND and "`" not in COMMAND and "\\" not in COMMAND


def test_an_image_without_distributed_is_told_in_one_line(lab):
    bare = [sys.executable, "-S", "-I", str(BOOTSTRAP)]
    job = lab.head(command=bare)
    assert job.exit_code() == 1
    assert job.log() == (
        f"dask_azureml: the image has no package 'distributed' for {sys.executable}: "
        "use an environment whose python has dask and distributed\n"
    )


def test_settings_that_cannot_be_are_told_in_one_line(lab):
    wrong = {
        "is neither head nor worker: 'chief'": {"DASK_AZUREML_ROLE": "chief"},
        "START_TIMEOUT_SECONDS is not a whole number": {"DASK_AZUREML_START_TIMEOUT_SECONDS": "1m"},
        "is not a SHA-256": {"DASK_AZUREML_TOKEN_SHA256": ""},
        "DASK_AZUREML_SUBNET: ": {"DASK_AZUREML_SUBNET": "10.20.0.0/33"},
        "DASK_AZUREML_DATASETS is not a JSON list": {"DASK_AZUREML_DATASETS": "{}"},
        "MLFLOW_TRACKING_URI is not set": {"MLFLOW_TRACKING_URI": ""},
        "jupyter-server": {"DASK_AZUREML_JUPYTER": "true"},
    }
    jobs = {line: lab.head(run=f"head-{n}", **extra) for n, (line, extra) in enumerate(wrong.items())}
    for line, job in jobs.items():
        assert job.exit_code() == 1, job.log()
        assert line in job.own_lines()[-1]
        assert "Traceback" not in job.log()


def test_tasks_see_their_datasets_and_no_control_variables(lab, connect, tmp_path):
    mount = tmp_path / "INPUT_dataset_noaa_isd"
    mount.mkdir()
    datasets = [{"name": "noaa-isd", "input": "dataset_noaa_isd", "mode": "Mount"}]
    more = {
        "arguments": f"dataset_noaa_isd={mount}",
        "DASK_AZUREML_DATASETS": json.dumps(datasets),
        "DASK_AZUREML_WORKER_ENV": json.dumps({"OMP_NUM_THREADS": "7"}),
        "OMP_NUM_THREADS": "3",
    }
    head = lab.head(DASK_AZUREML_RUN_WORKER="true", **more)
    worker = lab.worker(**more)
    scheduler = lab.scheduler_of(head)
    own, other = scheduler.worker_of(head), scheduler.worker_of(worker)
    client = connect(scheduler)

    def environment():
        import os

        return dict(os.environ)

    seen = client.run(environment)
    for environ in seen.values():
        control = {name: environ[name] for name in environ if name.startswith("DASK_AZUREML_")}
        assert control == {"DASK_AZUREML_DATASET_NOAA_ISD": str(mount)}
        # Tasks log to the run: what Azure ML sets stays.
        assert environ["MLFLOW_TRACKING_TOKEN"] == MLFLOW_TOKEN
    assert seen[own["address"]]["OMP_NUM_THREADS"] == "7"
    assert seen[other["address"]]["OMP_NUM_THREADS"] == "3"
    on_scheduler = client.run_on_scheduler(environment)
    assert TOKEN_SHA256 not in on_scheduler.values()

    scheduler.request("GET", "/dask-azureml/v1/state", token="mistaken-token")
    mistaken = hashlib.sha256(b"mistaken-token").hexdigest()
    for job in (head, worker):
        for secret in (TOKEN, TOKEN_SHA256, MLFLOW_TOKEN, "mistaken-token", mistaken):
            assert secret not in job.log()
