use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use azure_simulator::World;
use dask_azureml_operator::clock::Clock;
use dask_azureml_operator::controller;
use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::sync::oneshot;

use crate::harness::{Line, wait_for};

/// An API server that never answers for Services, and says when it is asked to watch DaskClusters.
fn without_services(client: Client, watched: Arc<AtomicBool>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, watched) = (client.clone(), Arc::clone(&watched));
        async move {
            let (path, query) = (request.uri().path(), request.uri().query());
            if path == "/api/v1/services" {
                std::future::pending::<()>().await;
            }
            if path.ends_with("/daskclusters") && query.unwrap_or_default().contains("watch=true") {
                watched.store(true, Ordering::SeqCst);
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_whose_caches_never_fill_ends_at_once_when_it_is_told_to() {
    let line = Line::without_operator(World::default().without_delays()).await;
    line.apply(&line.manifest("early", 1)).await;
    let watched = Arc::new(AtomicBool::new(false));
    let client = without_services(line.client.clone(), Arc::clone(&watched));
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let settings = line.settings();
    let operator =
        tokio::spawn(async { controller::run(settings, client, Clock::system(), stopped).await });
    wait_for("the cluster has been listed", async || {
        let is_watched = watched.load(Ordering::SeqCst);
        is_watched.then_some(()).ok_or("not yet".to_owned())
    })
    .await;
    // Its reconcile waits for the caches now: long before so many answers of the same process.
    for _ in 0..20 {
        assert!(!line.operator_says_it_is_ready().await);
    }
    stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), operator).await;
    ended.expect("it ends at once").unwrap().unwrap();
}
