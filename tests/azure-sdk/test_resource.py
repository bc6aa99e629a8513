"""azure-mgmt-resource: resource groups and providers."""

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.resource.resources import ResourceManagementClient


@pytest.fixture(scope="module")
def resources(simulator, credential, arm):
    with ResourceManagementClient(credential, simulator.subscription, **arm) as client:
        yield client


def test_groups_of_the_world_are_read(simulator, resources):
    group = resources.resource_groups.get(simulator.group)
    assert (group.location, group.properties.provisioning_state) == ("eastus", "Succeeded")
    assert [one.name for one in resources.resource_groups.list()] == [simulator.group]
    assert resources.resource_groups.check_existence(simulator.group)
    assert not resources.resource_groups.check_existence("other")


def test_a_group_is_not_deleted(simulator, resources):
    with pytest.raises(HttpResponseError, match="not simulated"):
        resources.resource_groups.begin_delete(simulator.group)


def test_providers_are_registered(resources):
    provider = resources.providers.get("Microsoft.MachineLearningServices")
    assert provider.registration_state == "Registered"
    computes = [one for one in provider.resource_types if one.resource_type == "workspaces/computes"]
    assert "2025-12-01" in computes[0].api_versions
    assert resources.providers.register("Microsoft.Network").registration_state == "Registered"
    assert "Microsoft.Network" in [one.namespace for one in resources.providers.list()]
