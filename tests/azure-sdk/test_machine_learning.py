"""azure-mgmt-machinelearningservices, whose release sends the api-version of 2020."""

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient


@pytest.fixture(scope="module")
def learning(simulator, credential, arm):
    with MachineLearningServicesMgmtClient(credential, simulator.subscription, **arm) as client:
        yield client


def test_workspaces_are_read_by_name_group_and_subscription(simulator, learning):
    workspace = learning.workspaces.get(simulator.group, simulator.workspace)
    assert workspace.id == simulator.workspace_id
    assert workspace.provisioning_state == "Succeeded"
    by_group = learning.workspaces.list_by_resource_group(simulator.group)
    assert [one.name for one in by_group] == [simulator.workspace]
    assert [one.id for one in learning.workspaces.list_by_subscription()] == [workspace.id]


def test_a_compute_lives_and_dies(simulator, learning):
    place = (simulator.group, simulator.workspace, "mgmt")
    wanted = {
        "location": "eastus",
        "properties": {
            "compute_type": "AmlCompute",
            "properties": {
                "vm_size": "STANDARD_DS3_V2",
                "scale_settings": {"min_node_count": 0, "max_node_count": 2},
            },
        },
    }
    computes = learning.machine_learning_compute
    made = computes.begin_create_or_update(*place, wanted).result()
    assert made.properties.provisioning_state == "Succeeded"
    assert made.properties.properties.vm_priority == "Dedicated"
    names = [one.name for one in computes.list_by_workspace(*place[:2])]
    assert "mgmt" in names
    assert list(computes.list_nodes(*place)) == []
    computes.begin_delete(*place, "Delete").result()
    with pytest.raises(ResourceNotFoundError):
        computes.get(*place)


def test_usages_and_quotas_are_told(learning):
    usages = list(learning.usages.list("eastus"))
    assert any(one.name.value == "Standard DSv2 Family Cluster Dedicated vCPUs" for one in usages)
    quotas = list(learning.quotas.list("eastus"))
    assert any("DSv2" in one.name.value for one in quotas)
