"""azure-ai-ml, the client that people use: workspace, compute, assets and jobs."""

import os
import time

import pytest
from azure.ai.ml import Input, MLClient, Output, PyTorchDistribution, command
from azure.ai.ml._artifacts._artifact_utilities import download_artifact_from_aml_uri
from azure.ai.ml.entities import (
    AmlCompute,
    Data,
    Environment,
    JobService,
    TensorBoardJobService,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient, models

DEADLINE = 60.0
IMAGE = "registry.example/sdk:1"


@pytest.fixture(scope="module")
def ml(simulator, credential):
    # The clouds that the client does not know by itself are those of this URL.
    os.environ["ARM_CLOUD_METADATA_URL"] = f"{simulator.arm}/metadata/endpoints?api-version=2019-05-01"
    return MLClient(
        credential,
        simulator.subscription,
        simulator.group,
        simulator.workspace,
        cloud="AzureSimulator",
        enable_telemetry=False,
        show_progress=False,
        polling_interval=0.2,
    )


@pytest.fixture(scope="module")
def pool(ml):
    wanted = AmlCompute(name="sdk-pool", size="STANDARD_DS3_V2", min_instances=0, max_instances=3)
    return ml.compute.begin_create_or_update(wanted).result()


@pytest.fixture(scope="module")
def environment(ml):
    return ml.environments.create_or_update(Environment(name="sdk", version="1", image=IMAGE))


def wait_for(ml, name, *statuses):
    deadline = time.monotonic() + DEADLINE
    while (status := ml.jobs.get(name).status) not in statuses:
        assert time.monotonic() < deadline, f"{name} is {status}, not one of {statuses}"
        time.sleep(0.1)
    return status


def test_the_workspace_says_where_its_parts_are(simulator, ml):
    workspace = ml.workspaces.get(simulator.workspace)
    assert workspace.location == "eastus"
    assert workspace.mlflow_tracking_uri.startswith(f"azureml://127.0.0.1:{simulator.port}/mlflow/")
    assert [one.name for one in ml.workspaces.list()] == [simulator.workspace]


def test_a_workspace_is_changed_and_deleted(simulator, ml, arm, credential):
    # It makes workspaces by a deployment of templates, which azure-mgmt-machinelearningservices does not.
    client = MachineLearningServicesMgmtClient(credential, simulator.subscription, **arm)
    wanted = models.Workspace(location="eastus", friendly_name="Second", tags={"team": "a"})
    client.workspaces.begin_create_or_update(simulator.group, "second", wanted).result()
    found = ml.workspaces.get("second")
    assert (found.display_name, found.tags) == ("Second", {"team": "a"})
    found.display_name, found.description, found.tags = "New", "changed", {"team": "b"}
    changed = ml.workspaces.begin_update(found).result()
    assert (changed.display_name, changed.description, changed.tags) == ("New", "changed", {"team": "b"})
    assert {one.name for one in ml.workspaces.list()} == {simulator.workspace, "second"}
    ml.workspaces.begin_delete("second", delete_dependent_resources=False).wait()
    with pytest.raises(ResourceNotFoundError):
        ml.workspaces.get("second")


def test_a_compute_is_made_changed_and_deleted(ml):
    wanted = AmlCompute(
        name="short", size="STANDARD_DS3_V2", max_instances=2, tier="low_priority", tags={"a": "b"}
    )
    made = ml.compute.begin_create_or_update(wanted).result()
    assert (made.provisioning_state, made.tier) == ("Succeeded", "low_priority")
    assert made.idle_time_before_scale_down == 120
    made.max_instances = 4
    made.idle_time_before_scale_down = 300
    changed = ml.compute.begin_update(made).result()
    assert (changed.max_instances, changed.idle_time_before_scale_down) == (4, 300)
    assert "short" in [one.name for one in ml.compute.list()]
    assert list(ml.compute.list_nodes("short")) == []
    ml.compute.begin_delete("short").wait()
    with pytest.raises(ResourceNotFoundError):
        ml.compute.get("short")


def test_sizes_and_usages_are_told(ml):
    assert "Standard_DS3_v2" in [size.name for size in ml.compute.list_sizes()]
    assert any(usage.name["value"] == "Clusters" for usage in ml.compute.list_usage())


def test_the_default_datastores_are_there(ml):
    names = {store.name for store in ml.datastores.list()}
    assert names == {
        "workspaceblobstore",
        "workspaceartifactstore",
        "workspacefilestore",
        "workspaceworkingdirectory",
    }
    assert ml.datastores.get_default().name == "workspaceblobstore"


def test_data_is_versioned_and_its_versions_do_not_change(ml, tmp_path):
    uri = "https://weather.blob.core.windows.net/isd/"
    made = ml.data.create_or_update(Data(name="isd", version="1", path=uri, type="uri_folder"))
    assert (made.path, made.version) == (uri, "1")
    again = ml.data.get("isd", version="1")
    assert again.id == made.id
    with pytest.raises(HttpResponseError, match="cannot be changed"):
        ml.data.create_or_update(
            Data(name="isd", version="1", path=uri + "other/", type="uri_folder")
        )
    ml.data.create_or_update(Data(name="isd", version="2", path=uri, type="uri_folder"))
    assert [one.version for one in ml.data.list("isd")] == ["2", "1"]
    assert ml.data.get("isd", label="latest").version == "2"
    ml.data.archive("isd", version="1")
    assert [one.version for one in ml.data.list("isd")] == ["2"]
    ml.data.restore("isd", version="1")
    (tmp_path / "local.txt").write_text("uploaded")
    local = ml.data.create_or_update(
        Data(name="local", version="1", path=str(tmp_path / "local.txt"), type="uri_file")
    )
    assert "/datastores/workspaceblobstore/paths/LocalUpload/" in local.path


def test_a_large_file_goes_up_in_blocks_and_comes_back_in_ranges(simulator, ml, tmp_path):
    # Beyond 64 MiB the client puts blocks, and beyond 32 MiB it gets ranges.
    large = tmp_path / "large.bin"
    line = bytes(range(251)) * 1000
    with large.open("wb") as file:
        while file.tell() <= 64 << 20:
            file.write(line)
    made = ml.data.create_or_update(
        Data(name="large", version="1", path=str(large), type="uri_file")
    )
    exchanges = simulator.control("/exchanges")
    assert "comp=blocklist" in exchanges and "comp=block&blockid=" in exchanges
    download_artifact_from_aml_uri(made.path, str(tmp_path / "down"), ml.datastores)
    assert (tmp_path / "down" / "large.bin").read_bytes() == large.read_bytes()


def test_an_environment_is_read_back(ml, environment):
    assert environment.image == IMAGE
    assert ml.environments.get("sdk", version="1").image == IMAGE
    assert [one.version for one in ml.environments.list("sdk")] == ["1"]


def test_a_job_with_code_inputs_and_outputs_runs_and_gives_its_results_back(
    ml, pool, environment, tmp_path, capsys
):
    code = tmp_path / "code"
    (code / "part").mkdir(parents=True)
    (code / "main.py").write_text(
        "import pathlib, sys\n"
        "from part import words\n"
        "numbers = (pathlib.Path(sys.argv[1]) / 'numbers.txt').read_text().split()\n"
        "total = sum(map(int, numbers)) * int(sys.argv[2])\n"
        "pathlib.Path(sys.argv[3], 'total.txt').write_text(str(total))\n"
        "pathlib.Path('outputs').mkdir(exist_ok=True)\n"
        "pathlib.Path('outputs/note.txt').write_text('a note')\n"
        "print(words.HELLO, total, flush=True)\n"
    )
    (code / "part" / "__init__.py").write_text("")
    (code / "part" / "words.py").write_text("HELLO = 'the total is'\n")
    job = command(
        code=str(code),
        command="python main.py ${{inputs.numbers}} ${{inputs.factor}} ${{outputs.result}}",
        inputs={
            "numbers": Input(type="uri_folder", path="https://weather.blob.core.windows.net/isd/"),
            "factor": 7,
        },
        outputs={"result": Output(type="uri_folder")},
        environment="sdk:1",
        compute="sdk-pool",
        experiment_name="totals",
        display_name="a total",
        tags={"owner": "me"},
    )
    made = ml.jobs.create_or_update(job)
    assert made.status == "Starting"
    ml.jobs.stream(made.name)
    streamed = capsys.readouterr().out
    assert "the total is 42" in streamed, streamed
    assert wait_for(ml, made.name, "Completed", "Failed") == "Completed"
    ml.jobs.download(made.name, download_path=tmp_path / "down", all=True)
    ml.jobs.download(made.name, download_path=tmp_path / "down", output_name="result")
    assert (tmp_path / "down/named-outputs/result/total.txt").read_text() == "42"
    assert (tmp_path / "down/artifacts/outputs/note.txt").read_text() == "a note"
    log = tmp_path / "down/artifacts/user_logs/std_log_process_00.txt"
    assert "the total is 42" in log.read_text()
    got = ml.jobs.get(made.name)
    assert (got.tags["owner"], got.display_name) == ("me", "a total")
    assert made.name in [one.name for one in ml.jobs.list()]
    again = ml.jobs.create_or_update(
        command(code=str(code), command="true", environment="sdk:1", compute="sdk-pool")
    )
    assert again.code == got.code, "the same code is not uploaded twice"


def test_an_output_of_a_job_is_a_data_asset_that_another_job_reads(ml, pool, environment, tmp_path):
    made = ml.jobs.create_or_update(
        command(
            command="echo 42 > ${{outputs.total}}",
            outputs={"total": Output(type="uri_file", name="job-total")},
            environment="sdk:1",
            compute="sdk-pool",
        )
    )
    assert wait_for(ml, made.name, "Completed", "Failed") == "Completed"
    assert ml.jobs.get(made.name).outputs["total"].name == "job-total"
    total = ml.data.get("job-total", label="latest")
    assert (total.version, total.type) == ("1", "uri_file")
    reader = ml.jobs.create_or_update(
        command(
            command="cat ${{inputs.total}}",
            inputs={"total": Input(type="uri_file", path="azureml:job-total:1")},
            environment="sdk:1",
            compute="sdk-pool",
        )
    )
    assert wait_for(ml, reader.name, "Completed", "Failed") == "Completed"
    ml.jobs.download(reader.name, download_path=tmp_path)
    log = tmp_path / "artifacts/user_logs/std_log_process_00.txt"
    assert log.read_text() == "42\n"


def test_a_job_that_fails_says_why(ml, pool, environment):
    job = command(command="echo broken; exit 3", environment="sdk:1", compute="sdk-pool")
    made = ml.jobs.create_or_update(job)
    with pytest.raises(Exception, match="status code 3"):
        ml.jobs.stream(made.name)
    assert ml.jobs.get(made.name).status == "Failed"


def test_a_job_is_cancelled_archived_and_keeps_its_tags(ml, pool, environment):
    job = command(command="sleep 1000", environment="sdk:1", compute="sdk-pool")
    made = ml.jobs.create_or_update(job)
    wait_for(ml, made.name, "Running")
    # The client keeps the wire's names beside `run_id`, which stays empty.
    nodes = [vars(node) for node in ml.compute.list_nodes("sdk-pool")]
    assert made.name in [node["runId"] for node in nodes]
    ml.jobs.begin_cancel(made.name).wait()
    assert wait_for(ml, made.name, "Canceled") == "Canceled"
    ml.jobs.begin_cancel(made.name).wait()
    ml.jobs.archive(made.name)
    assert made.name not in [one.name for one in ml.jobs.list()]
    ml.jobs.restore(made.name)
    assert made.name in [one.name for one in ml.jobs.list()]
    ml.jobs.update(made.name, tags={"kept": "yes"})
    assert ml.jobs.get(made.name).tags["kept"] == "yes"


def test_a_distributed_job_runs_on_several_nodes_with_a_log_each(ml, pool, environment, tmp_path):
    job = command(
        command='echo "$RANK of $WORLD_SIZE in $NODE_COUNT"; echo $RANK > outputs/rank-$RANK',
        environment="sdk:1",
        compute="sdk-pool",
        instance_count=2,
        distribution=PyTorchDistribution(process_count_per_instance=2),
    )
    made = ml.jobs.create_or_update(job)
    assert made.resources.instance_count == 2
    assert wait_for(ml, made.name, "Completed", "Failed") == "Completed"
    ml.jobs.download(made.name, download_path=tmp_path, all=True)
    for rank in range(4):
        (log,) = tmp_path.rglob(f"std_log_process_{rank:02}.txt")
        assert log.read_text().strip() == f"{rank} of 4 in 2"
        assert [*tmp_path.rglob(f"rank-{rank}")]


def test_services_of_a_job_are_told_by_node(ml, pool, environment):
    job = command(
        command="sleep 1000",
        environment="sdk:1",
        compute="sdk-pool",
        services={
            "dashboard": JobService(type="custom", port=8787),
            "board": TensorBoardJobService(log_dir="outputs/board"),
        },
    )
    made = ml.jobs.create_or_update(job)
    wait_for(ml, made.name, "Running")
    service = ml.jobs.show_services(made.name)["dashboard"]
    assert (service.port, service.status) == (8787, "Running")
    services = ml.jobs.get(made.name).services
    assert services["dashboard"].endpoint.endswith(".nodes.azureml.ms")
    board = services["board"]
    assert (board.log_dir, board.status, board.endpoint) == ("outputs/board", "NotStarted", None)
    ml.jobs.begin_cancel(made.name).wait()
