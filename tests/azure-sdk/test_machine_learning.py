"""azure-mgmt-machinelearningservices, the generated client of the whole resource provider.

2.0.0b2 is the newest there is: a preview of 2023 that nothing came after, with the stable api-version
2023-04-01. The last one that is no preview, 1.0.1, sends that of 2020, which knows no jobs. So the preview
is pinned.
"""

import time

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient, models

DEADLINE = 60.0
IMAGE = "registry.example/sdk:1"


@pytest.fixture(scope="module")
def learning(simulator, credential, arm):
    with MachineLearningServicesMgmtClient(credential, simulator.subscription, **arm) as client:
        yield client


@pytest.fixture(scope="module")
def place(simulator):
    return simulator.group, simulator.workspace


def a_pool(max_node_count=2):
    settings = models.ScaleSettings(max_node_count=max_node_count, min_node_count=0)
    properties = models.AmlComputeProperties(vm_size="STANDARD_DS3_V2", scale_settings=settings)
    pool = models.AmlCompute(properties=properties)
    return models.ComputeResource(location="eastus", properties=pool, tags={"owner": "mgmt"})


@pytest.fixture(scope="module")
def pool(learning, place):
    return learning.compute.begin_create_or_update(*place, "mgmt-pool", a_pool()).result()


@pytest.fixture(scope="module")
def environment(learning, place):
    wanted = models.EnvironmentVersion(properties=models.EnvironmentVersionProperties(image=IMAGE))
    return learning.environment_versions.create_or_update(*place, "mgmt", "1", wanted)


def status_of(learning, place, job, *statuses):
    deadline = time.monotonic() + DEADLINE
    while (status := learning.jobs.get(*place, job).properties.status) not in statuses:
        assert time.monotonic() < deadline, f"{job} is {status}, not one of {statuses}"
        time.sleep(0.1)
    return status


def test_the_client_sends_the_api_version_that_it_is_pinned_for(simulator, learning, place):
    learning.workspaces.get(*place)
    asked = [one["request"]["query"] for one in simulator.exchanges()]
    assert asked[-1] == "api-version=2023-04-01"


def test_workspaces_are_read_by_name_group_and_subscription(simulator, learning, place):
    workspace = learning.workspaces.get(*place)
    assert workspace.id == simulator.workspace_id
    assert workspace.provisioning_state == "Succeeded"
    by_group = learning.workspaces.list_by_resource_group(simulator.group)
    assert [one.name for one in by_group] == [simulator.workspace]
    assert [one.id for one in learning.workspaces.list_by_subscription()] == [workspace.id]


def test_a_compute_is_made_changed_and_deleted(learning, place):
    name = (*place, "mgmt")
    made = learning.compute.begin_create_or_update(*name, a_pool()).result()
    assert made.properties.provisioning_state == "Succeeded"
    assert made.properties.properties.vm_priority == "Dedicated"
    assert made.tags == {"owner": "mgmt"}
    assert "mgmt" in [one.name for one in learning.compute.list(*place)]
    assert list(learning.compute.list_nodes(*name)) == []
    changed = learning.compute.begin_create_or_update(*name, a_pool(max_node_count=4)).result()
    assert changed.properties.properties.scale_settings.max_node_count == 4
    learning.compute.begin_delete(*name, "Delete").result()
    with pytest.raises(ResourceNotFoundError):
        learning.compute.get(*name)


def test_a_compute_is_updated_by_a_client_that_takes_azures_answer_for_an_error(learning, place):
    name = (*place, "mgmt-update")
    learning.compute.begin_create_or_update(*name, a_pool()).result()
    more = models.ScaleSettings(max_node_count=4, min_node_count=0)
    change = models.ClusterUpdateParameters(
        properties=models.ScaleSettingsInformation(scale_settings=more)
    )
    # Azure answers 202, as was recorded; the client knows the 200 of the specification alone.
    with pytest.raises(HttpResponseError) as taken:
        learning.compute.begin_update(*name, change)
    assert taken.value.status_code == 202
    deadline = time.monotonic() + DEADLINE
    while (now := learning.compute.get(*name).properties).provisioning_state != "Succeeded":
        assert time.monotonic() < deadline, now.provisioning_state
        time.sleep(0.1)
    assert now.properties.scale_settings.max_node_count == 4


def test_a_job_runs_on_a_node_that_is_listed_until_it_is_canceled(learning, place, pool, environment):
    wanted = models.JobBase(
        properties=models.CommandJob(
            command="sleep 1000",
            environment_id=environment.id,
            compute_id=pool.id,
            experiment_name="mgmt",
            tags={"owner": "mgmt"},
            environment_variables={"A": "b"},
        )
    )
    made = learning.jobs.create_or_update(*place, "mgmt-job", wanted)
    assert (made.name, made.properties.job_type) == ("mgmt-job", "Command")
    status_of(learning, place, "mgmt-job", "Running")
    (node,) = learning.compute.list_nodes(*place, pool.name)
    assert (node.node_state, node.run_id) == ("running", "mgmt-job")
    tagged = learning.jobs.list(*place, tag="owner")
    assert "mgmt-job" in [one.name for one in tagged]
    learning.jobs.begin_cancel(*place, "mgmt-job").result()
    assert status_of(learning, place, "mgmt-job", "Canceled") == "Canceled"
    other = models.CommandJob(command="true", environment_id=environment.id, compute_id=pool.id)
    with pytest.raises(HttpResponseError) as refused:
        learning.jobs.create_or_update(*place, "mgmt-job", models.JobBase(properties=other))
    assert refused.value.status_code == 400


def test_all_pages_of_the_jobs_are_read(learning, place, pool, environment):
    wanted = models.CommandJob(command="true", environment_id=environment.id, compute_id=pool.id)
    # A page has three.
    names = {f"mgmt-page-{letter}" for letter in "abcdefg"}
    for name in names:
        learning.jobs.create_or_update(*place, name, models.JobBase(properties=wanted))
    assert names <= {one.name for one in learning.jobs.list(*place)}


def test_versions_of_data_and_environments_are_made_and_read(learning, place, environment):
    assert learning.environment_versions.get(*place, "mgmt", "1").properties.image == IMAGE
    assert [one.name for one in learning.environment_versions.list(*place, "mgmt")] == ["1"]
    uri = "wasbs://isd@weather.blob.core.windows.net/isd/"
    wanted = models.DataVersionBase(properties=models.UriFolderDataVersion(data_uri=uri))
    made = learning.data_versions.create_or_update(*place, "mgmt-data", "1", wanted)
    assert made.properties.data_uri == uri
    assert learning.data_versions.get(*place, "mgmt-data", "1").id == made.id
    assert [one.name for one in learning.data_versions.list(*place, "mgmt-data")] == ["1"]
    assert "mgmt-data" in [one.name for one in learning.data_containers.list(*place)]


def test_usages_quotas_and_sizes_are_told(learning):
    usages = list(learning.usages.list("eastus"))
    assert any(one.name.value == "Standard DSv2 Family Cluster Dedicated vCPUs" for one in usages)
    quotas = list(learning.quotas.list("eastus"))
    assert any("DSv2" in one.name.value for one in quotas)
    sizes = learning.virtual_machine_sizes.list("eastus").value
    (size,) = [one for one in sizes if one.name == "Standard_DS3_v2"]
    assert (size.v_cp_us, size.family) == (4, "standardDSv2Family")
