use std::net::Ipv4Addr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};

use super::service::service_name;
use super::{MANAGER, metadata};
use crate::names::ClusterIdentity;

/// The head node behind the Service. Kubernetes refuses loopback and link-local addresses here, so the caller gives a
/// routable one.
pub fn endpoint_slice(
    cluster: &ClusterIdentity,
    head: Ipv4Addr,
    ports: &[(&str, u16)],
) -> EndpointSlice {
    let mut metadata = metadata(cluster, service_name(cluster));
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(
        "kubernetes.io/service-name".to_owned(),
        service_name(cluster),
    );
    labels.insert(
        "endpointslice.kubernetes.io/managed-by".to_owned(),
        MANAGER.to_owned(),
    );
    EndpointSlice {
        metadata,
        address_type: "IPv4".to_owned(),
        endpoints: Some(vec![Endpoint {
            addresses: vec![head.to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(true),
                ..EndpointConditions::default()
            }),
            ..Endpoint::default()
        }]),
        ports: Some(
            ports
                .iter()
                .map(|(name, number)| EndpointPort {
                    name: Some((*name).to_owned()),
                    port: Some(i32::from(*number)),
                    protocol: Some("TCP".to_owned()),
                    ..EndpointPort::default()
                })
                .collect(),
        ),
    }
}

pub fn slice_is_as_wanted(wanted: &EndpointSlice, have: &EndpointSlice) -> bool {
    let facts = |slice: &EndpointSlice| {
        let addresses: Vec<_> = slice
            .endpoints
            .iter()
            .flatten()
            .map(|endpoint| endpoint.addresses.clone())
            .collect();
        let ports: Vec<_> = slice
            .ports
            .iter()
            .flatten()
            .map(|port| (port.name.clone(), port.port))
            .collect();
        (addresses, ports)
    };
    facts(wanted) == facts(have)
}
