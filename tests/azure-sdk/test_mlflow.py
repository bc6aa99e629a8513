"""mlflow inside a job: with azureml-mlflow, and plain with the tracking server's address."""

import textwrap
import time

import pytest
from azure.ai.ml import command
from azure.ai.ml._restclient.runhistory.models import BaseEvent
from azure.ai.ml._restclient.runhistory.operations import EventsOperations

from test_ai_ml import environment, ml, pool, wait_for  # noqa: F401

LOGGING = """
    import mlflow
    mlflow.set_tag("scheduler", "tls://10.0.0.4:8786")
    mlflow.log_param("workers", 3)
    mlflow.log_params({"threads": 2, "kind": "dask"})
    for step in range(3):
        mlflow.log_metric("progress", step / 2, step=step)
    mlflow.log_metrics({"a": 1.0, "b": 2.0})
    run = mlflow.get_run(mlflow.active_run().info.run_id if mlflow.active_run() else RUN)
    assert run.data.params["workers"] == "3", run
    assert run.data.tags["scheduler"].endswith(":8786"), run
    assert run.data.metrics["progress"] == 1.0, run
    client = mlflow.MlflowClient()
    history = client.get_metric_history(run.info.run_id, "progress")
    assert [(one.step, one.value) for one in history] == [(0, 0.0), (1, 0.5), (2, 1.0)], history
    found = client.search_runs([run.info.experiment_id], filter_string="tags.scheduler = 'tls://10.0.0.4:8786'")
    assert run.info.run_id in [one.info.run_id for one in found], found
    client.set_tag(run.info.run_id, "gone", "soon")
    client.delete_tag(run.info.run_id, "gone")
    name = client.get_experiment(run.info.experiment_id).name
    assert client.get_experiment_by_name(name).experiment_id == run.info.experiment_id
    assert name in [one.name for one in client.search_experiments()]
"""

ARTIFACTS = """
    import pathlib
    mlflow.log_text("a text", "notes/note.txt")
    pathlib.Path("plot.svg").write_text("<svg/>")
    mlflow.log_artifact("plot.svg", "plots")
    listed = [one.path for one in client.list_artifacts(run.info.run_id)]
    assert "notes" in listed and "plots" in listed, listed
    there = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="notes/note.txt")
    assert pathlib.Path(there).read_text() == "a text", there
"""

# What the job's own variables say, in the form that a server without the plugin takes.
PLAIN = """
    import os
    host = os.environ["MLFLOW_TRACKING_URI"].replace("azureml://", "https://").rstrip("?")
    os.environ["MLFLOW_TRACKING_URI"] = host.replace("/mlflow/v1.0/", "/mlflow/VERSION/")
"""


def run_script(ml, tmp_path, script, **options):
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_text(textwrap.dedent(script))
    job = command(
        code=str(code),
        command="python main.py",
        environment="sdk:1",
        compute="sdk-pool",
        experiment_name="tracked",
        **options,
    )
    made = ml.jobs.create_or_update(job)
    status = wait_for(ml, made.name, "Completed", "Failed")
    ml.jobs.download(made.name, download_path=tmp_path / "down")
    log = (tmp_path / "down/artifacts/user_logs/std_log_process_00.txt").read_text()
    assert status == "Completed", log
    return made.name


def test_the_azureml_plugin_tracks_a_job_from_within(ml, pool, environment, tmp_path):  # noqa: F811
    name = run_script(ml, tmp_path, LOGGING + ARTIFACTS)
    # One store with the job: its tags are those of the run.
    assert ml.jobs.get(name).tags["scheduler"] == "tls://10.0.0.4:8786"
    assert (tmp_path / "down/artifacts/notes/note.txt").read_text() == "a text"


@pytest.mark.parametrize("version", ["v1.0", "v2.0"])
def test_plain_mlflow_tracks_a_job_from_within(version, ml, pool, environment, tmp_path):  # noqa: F811
    script = PLAIN.replace("VERSION", version) + "    RUN = os.environ['MLFLOW_RUN_ID']\n" + LOGGING
    name = run_script(ml, tmp_path, script)
    assert ml.jobs.get(name).tags["scheduler"] == "tls://10.0.0.4:8786"


# A job that runs for longer than its first token: the plugin asks for another one by itself.
RENEWAL = """
    import os
    os.environ["AZUREML_RUN_TOKEN_USE_AMBIENT_AUTH"] = "true"
    os.environ["AZUREML_RUN_TOKEN_EXPIRY"] = "86400"
    from azureml.mlflow._common._authentication.azureml_token_authentication import AzureMLTokenAuthentication
    auth = AzureMLTokenAuthentication._initialize_aml_token_auth(None)
    assert auth.token != os.environ["AZUREML_RUN_TOKEN"], "not renewed"
    assert auth.expiry_time.year > 1970, auth.expiry_time
    os.environ["MLFLOW_TRACKING_TOKEN"] = auth.token
    import mlflow
    mlflow.set_tag("said", "with the later token")
"""


def test_the_azureml_plugin_renews_the_token_of_a_run(ml, pool, environment, tmp_path):  # noqa: F811
    name = run_script(ml, tmp_path, RENEWAL)
    assert ml.jobs.get(name).tags["said"] == "with the later token"


def test_run_history_takes_events_of_a_run(simulator, ml, pool, environment):  # noqa: F811
    made = ml.jobs.create_or_update(
        command(command="sleep 1000", environment="sdk:1", compute="sdk-pool")
    )
    # The client's own for run history; no public method leads to its events.
    history = ml.jobs._runs_operations
    runs = history._operation
    events = EventsOperations(runs._client, runs._config, runs._serialize, runs._deserialize)
    data = '{"RunId": "%s", "Source": "test", "Message": "rows are missing"}' % made.name
    event = BaseEvent(name="Microsoft.MachineLearning.Run.Warning", data=data)
    events.post(simulator.subscription, simulator.group, simulator.workspace, made.name, event)
    (warning,) = history.get_run(made.name).warnings
    assert (warning.source, warning.message) == ("test", "rows are missing")
    ml.jobs.begin_cancel(made.name).wait()
