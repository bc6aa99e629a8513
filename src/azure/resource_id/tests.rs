use super::*;

const SUBNET: &str = "/subscriptions/0000/resourceGroups/rg-dask/providers/Microsoft.Network/virtualNetworks/dask-vnet/subnets/default";

fn id(text: &str) -> ResourceId {
    text.parse().unwrap()
}

#[test]
fn an_id_is_displayed_as_it_was_given() {
    for text in [
        SUBNET,
        "/subscriptions/0000",
        "/subscriptions/0000/resourceGroups/RG",
        "/subscriptions/0000/providers/Microsoft.MachineLearningServices/locations/eastus",
    ] {
        assert_eq!(id(text).to_string(), text);
    }
}

#[test]
fn an_id_tells_its_parts() {
    let subnet = id(SUBNET);
    assert_eq!(subnet.subscription_id(), "0000");
    assert_eq!(subnet.resource_group(), Some("rg-dask"));
    assert_eq!(subnet.name(), "default");
    assert_eq!(
        subnet.resource_type(),
        "Microsoft.Network/virtualNetworks/subnets"
    );
}

#[test]
fn an_id_built_from_its_parts_equals_the_parsed_one() {
    let built = ResourceId::subscription("0000")
        .and_then(|id| id.in_resource_group("rg-dask"))
        .and_then(|id| id.resource("Microsoft.Network", "virtualNetworks", "dask-vnet"))
        .and_then(|id| id.child("subnets", "default"))
        .unwrap();
    assert_eq!(built, id(SUBNET));
}

#[test]
fn ids_that_differ_only_in_casing_are_the_same_resource() {
    use std::collections::{BTreeSet, HashSet};
    let upper = id(&SUBNET.replace("resourceGroups", "resourcegroups"));
    let loud = id(&SUBNET.to_uppercase());
    let hashed: HashSet<_> = [id(SUBNET), upper.clone(), loud.clone()].into();
    let sorted: BTreeSet<_> = [id(SUBNET), upper, loud].into();
    assert_eq!((hashed.len(), sorted.len()), (1, 1));
    assert_ne!(id(SUBNET), id(SUBNET).parent().unwrap());
    assert_ne!(id(SUBNET), id("/subscriptions/0000"));
}

#[test]
fn parents_lead_up_to_the_subscription() {
    let mut chain = vec![id(SUBNET)];
    while let Some(parent) = chain.last().unwrap().parent() {
        chain.push(parent);
    }
    let names: Vec<_> = chain.iter().map(ResourceId::name).collect();
    assert_eq!(names, ["default", "dask-vnet", "rg-dask", "0000"]);
    assert!(chain[0].is_within(&chain[3]) && chain[0].is_within(&chain[1]));
    assert!(!chain[0].is_within(&chain[0]) && !chain[1].is_within(&chain[0]));
}

#[test]
fn what_is_not_an_id_is_refused() {
    for text in [
        "",
        "/",
        "subscriptions/0000",
        "/subscriptions",
        "/subscriptions/",
        "/resourceGroups/rg",
        "/subscriptions/0000/resourceGroups/rg/",
        "/subscriptions/0000/resourceGroups/rg/virtualNetworks/v",
        "/subscriptions/0000/resourceGroups/rg/providers/Microsoft.Network",
        "/subscriptions/0000/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks",
        "/subscriptions/0000/resourceGroups/../providers/Microsoft.Network/virtualNetworks/v",
        "/subscriptions/0000/resourceGroups/rg/providers/N/t/n/providers/M/u/m",
        "/subscriptions/0000/resourceGroups/rg?api-version=1",
    ] {
        assert!(text.parse::<ResourceId>().is_err(), "{text}");
    }
}

#[test]
fn a_name_cannot_reach_another_resource() {
    let workspace = id("/subscriptions/0/resourceGroups/r/providers/N/workspaces/w");
    for name in ["", "..", ".", "a/b", "a?b", "a#b", "a%2fb", "a\\b", "a\n"] {
        assert!(workspace.child("jobs", name).is_err(), "{name:?}");
    }
}

#[test]
fn a_url_path_is_percent_encoded() {
    let group = id("/subscriptions/0/resourceGroups/r (ü)");
    assert_eq!(
        group.url_path(),
        "/subscriptions/0/resourceGroups/r%20%28%C3%BC%29"
    );
}

#[test]
fn a_collection_lies_below_its_resource_or_its_group() {
    let subnets = id(SUBNET).parent().unwrap().collection("subnets").unwrap();
    assert_eq!(subnets.to_string(), SUBNET.rsplit_once('/').unwrap().0);
    assert_eq!(
        subnets.resource_type(),
        "Microsoft.Network/virtualNetworks/subnets"
    );
    let group = id("/subscriptions/0/resourceGroups/r");
    let networks = group.resources("Microsoft.Network", "virtualNetworks");
    assert_eq!(
        networks.unwrap().url_path(),
        "/subscriptions/0/resourceGroups/r/providers/Microsoft.Network/virtualNetworks"
    );
    assert!(group.collection("computes").is_err());
    assert!(id(SUBNET).resources("Microsoft.Network", "x").is_err());
}
