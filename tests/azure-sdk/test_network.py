"""azure-mgmt-network."""

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network.models import (
    AddressSpace,
    NetworkSecurityGroup,
    SecurityRule,
    Subnet,
    SubResource,
    TagsObject,
    VirtualNetwork,
    VirtualNetworkPeering,
)


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


def make_network(network, group, name, prefix):
    wanted = VirtualNetwork(
        location="eastus", address_space=AddressSpace(address_prefixes=[prefix])
    )
    return network.virtual_networks.begin_create_or_update(group, name, wanted).result()


def test_a_stale_etag_is_refused(simulator, network):
    group = simulator.group
    made = make_network(network, group, "etagged", "10.21.0.0/16")
    network.virtual_networks.update_tags(group, "etagged", TagsObject(tags={"newer": "yes"}))
    with pytest.raises(HttpResponseError, match="PreconditionFailed"):
        network.virtual_networks.begin_create_or_update(
            group, "etagged", made, headers={"If-Match": made.etag}
        )
    fresh = network.virtual_networks.get(group, "etagged")
    network.virtual_networks.begin_create_or_update(
        group, "etagged", fresh, headers={"If-Match": fresh.etag}
    ).result()
    network.virtual_networks.begin_delete(group, "etagged").result()


def test_a_security_group_is_kept_while_a_subnet_names_it(simulator, network):
    group = simulator.group
    rule = SecurityRule(
        name="dask",
        protocol="Tcp",
        access="Allow",
        direction="Inbound",
        priority=100,
        source_address_prefix="*",
        source_port_range="*",
        destination_address_prefix="*",
        destination_port_range="8786",
    )
    groups = network.network_security_groups
    made = groups.begin_create_or_update(
        group, "nsg", NetworkSecurityGroup(location="eastus", security_rules=[rule])
    ).result()
    assert [one.name for one in made.security_rules] == ["dask"]
    assert len(made.default_security_rules) == 6
    make_network(network, group, "guarded", "10.22.0.0/16")
    with pytest.raises(HttpResponseError, match="InvalidResourceReference"):
        named = NetworkSecurityGroup(id=made.id + "-not-there")
        network.subnets.begin_create_or_update(
            group, "guarded", "s", Subnet(address_prefix="10.22.0.0/24", network_security_group=named)
        )
    subnet = Subnet(
        address_prefix="10.22.0.0/24", network_security_group=NetworkSecurityGroup(id=made.id)
    )
    subnet = network.subnets.begin_create_or_update(group, "guarded", "s", subnet).result()
    assert [one.id for one in groups.get(group, "nsg").subnets] == [subnet.id]
    with pytest.raises(HttpResponseError, match="InUseNetworkSecurityGroupCannotBeDeleted"):
        groups.begin_delete(group, "nsg")
    network.virtual_networks.begin_delete(group, "guarded").result()
    groups.begin_delete(group, "nsg").result()
    assert list(groups.list(group)) == []


def test_peerings_connect_when_both_sides_are_there(simulator, network):
    group = simulator.group
    here = make_network(network, group, "here", "10.23.0.0/16")
    there = make_network(network, group, "there", "10.24.0.0/16")
    peerings = network.virtual_network_peerings

    def peer(own, remote):
        wanted = VirtualNetworkPeering(remote_virtual_network=SubResource(id=remote.id))
        return peerings.begin_create_or_update(group, own.name, "peer", wanted).result()

    assert peer(here, there).peering_state == "Initiated"
    assert peer(there, here).peering_state == "Connected"
    mine = peerings.get(group, "here", "peer")
    assert mine.peering_state == "Connected"
    assert mine.remote_address_space.address_prefixes == ["10.24.0.0/16"]
    shown = network.virtual_networks.get(group, "here").virtual_network_peerings
    assert [one.name for one in shown] == ["peer"]
    network.virtual_networks.begin_delete(group, "there").result()
    assert peerings.get(group, "here", "peer").peering_state == "Disconnected"
    peerings.begin_delete(group, "here", "peer").result()
    assert list(peerings.list(group, "here")) == []
    network.virtual_networks.begin_delete(group, "here").result()
