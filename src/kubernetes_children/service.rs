use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::names::ClusterIdentity;

/// Where Dask schedulers listen for workers and clients.
pub const SCHEDULER_PORT: u16 = 8786;
/// Where Dask schedulers serve their dashboard, and our bootstrap its routes.
pub const DASHBOARD_PORT: u16 = 8787;

pub fn service_name(cluster: &ClusterIdentity) -> String {
    format!("{}-scheduler", cluster.name)
}

/// A Service without a selector: its endpoints are the head node's, in the [slice](super::endpoint_slice) that we write.
pub fn service(cluster: &ClusterIdentity) -> Service {
    let port = |name: &str, number: u16| ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(number))),
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(cluster, service_name(cluster)),
        spec: Some(ServiceSpec {
            ports: Some(vec![
                port("tcp-comm", SCHEDULER_PORT),
                port("http-dashboard", DASHBOARD_PORT),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Are the ports ours? All else is the API server's to fill in.
pub fn service_is_as_wanted(wanted: &Service, have: &Service) -> bool {
    let ports = |service: &Service| {
        let ports = service
            .spec
            .iter()
            .flat_map(|spec| spec.ports.iter().flatten());
        ports
            .map(|port| (port.name.clone(), port.port, port.target_port.clone()))
            .collect::<Vec<_>>()
    };
    let selects = have
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref())
        .is_some_and(|selector| !selector.is_empty());
    ports(wanted) == ports(have) && !selects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_with_a_selector_or_other_ports_is_not_as_wanted() {
        let cluster = ClusterIdentity {
            namespace: "weather".into(),
            name: "noaa-isd".into(),
            uid: "u1".into(),
        };
        let wanted = service(&cluster);
        assert!(service_is_as_wanted(&wanted, &wanted));
        let mut selecting = wanted.clone();
        selecting.spec.as_mut().unwrap().selector =
            Some([("app".to_owned(), "x".to_owned())].into());
        assert!(!service_is_as_wanted(&wanted, &selecting));
        let mut moved = wanted.clone();
        moved.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port = 1;
        assert!(!service_is_as_wanted(&wanted, &moved));
        assert_eq!(wanted.metadata.name.as_deref(), Some("noaa-isd-scheduler"));
    }
}
