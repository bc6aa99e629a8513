use std::net::Ipv4Addr;

use dask_azureml_operator::kubernetes_children::endpoint_slice;
use dask_azureml_operator::names::ClusterIdentity;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::PostParams;

use crate::control_plane::ControlPlane;

const PORTS: [(&str, u16); 2] = [("tcp-comm", 8786), ("http-dashboard", 8787)];

#[tokio::test]
async fn the_api_server_takes_a_slice_with_a_routable_head() {
    let taken = create(Ipv4Addr::new(10, 20, 0, 8))
        .await
        .expect("a routable address");
    assert_eq!(
        taken.endpoints.expect("endpoints")[0].addresses,
        ["10.20.0.8"]
    );
}

#[tokio::test]
async fn the_api_server_refuses_a_slice_with_a_head_on_loopback() {
    let refused = create(Ipv4Addr::new(127, 0, 1, 1))
        .await
        .expect_err("a loopback address");
    assert!(refused.to_string().contains("loopback"), "{refused}");
}

async fn create(head: Ipv4Addr) -> kube::Result<EndpointSlice> {
    let control_plane = ControlPlane::shared().await;
    let namespace = control_plane.namespace("slices").await;
    let cluster = ClusterIdentity {
        namespace: namespace.clone(),
        name: "noaa-isd".to_owned(),
        uid: "6f9619ff-8b86-d011-b42d-00c04fc964ff".to_owned(),
    };
    Api::<EndpointSlice>::namespaced(control_plane.client(), &namespace)
        .create(
            &PostParams::default(),
            &endpoint_slice(&cluster, head, &PORTS),
        )
        .await
}
