"""azure-mgmt-network."""

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network.models import AddressSpace, Subnet, TagsObject, VirtualNetwork


@pytest.fixture(scope="module")
def network(simulator, credential, arm):
    with NetworkManagementClient(credential, simulator.subscription, **arm) as client:
        yield client


def test_a_network_with_subnets_lives_and_dies(simulator, network):
    group = simulator.group
    wanted = VirtualNetwork(
        location="eastus",
        tags={"owner": "me"},
        address_space=AddressSpace(address_prefixes=["10.20.0.0/16"]),
        subnets=[Subnet(name="nodes", address_prefix="10.20.0.0/22")],
    )
    made = network.virtual_networks.begin_create_or_update(group, "vnet", wanted).result()
    assert made.provisioning_state == "Succeeded"
    assert [subnet.name for subnet in made.subnets] == ["nodes"]
    subnet = network.subnets.begin_create_or_update(
        group, "vnet", "more", Subnet(address_prefix="10.20.4.0/24")
    ).result()
    assert subnet.id.endswith("/virtualNetworks/vnet/subnets/more")
    assert {one.name for one in network.subnets.list(group, "vnet")} == {"nodes", "more"}
    network.subnets.begin_delete(group, "vnet", "more").result()
    with pytest.raises(ResourceNotFoundError):
        network.subnets.get(group, "vnet", "more")
    assert [one.name for one in network.virtual_networks.list_all()] == ["vnet"]
    tagged = network.virtual_networks.update_tags(group, "vnet", TagsObject(tags={"owner": "you"}))
    assert tagged.tags == {"owner": "you"}
    network.virtual_networks.begin_delete(group, "vnet").result()
    assert list(network.virtual_networks.list(group)) == []
