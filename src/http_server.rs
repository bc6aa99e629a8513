//! `/metrics`, `/livez` and `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::leadership::Lead;
use crate::metrics::Metrics;

/// Set once the CRD is there and the caches are filled.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Binds the address; the server runs until the returned future is dropped.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    listen: SocketAddr,
    metrics: Metrics,
    readiness: Readiness,
    lead: Lead,
) -> std::io::Result<(SocketAddr, impl Future<Output = std::io::Result<()>>)> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let routes = Router::new()
        .route("/metrics", get(page))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .with_state((metrics, readiness, lead));
    Ok((address, async move { axum::serve(listener, routes).await }))
}

type Shared = (Metrics, Readiness, Lead);

async fn page(State((metrics, ..)): State<Shared>) -> Response {
    match metrics.page() {
        Ok(page) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether the process is of use, which has nothing to do with whether it leads or what it can reach: a restart makes
/// neither a CRD nor an API server appear.
async fn live(State((.., lead)): State<Shared>) -> Response {
    match lead.trouble() {
        None => "ok".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, trouble).into_response(),
    }
}

/// Standbys are ready too: they could lead at once.
async fn ready(State((_, readiness, _)): State<Shared>) -> Response {
    if readiness.is_set() {
        "ok".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the caches are not filled yet: is the DaskCluster CRD installed?",
        )
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    /// Status and body of a path, of a server that goes on until the test ends.
    async fn answers(address: SocketAddr, path: &str) -> (u16, String) {
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(format!("http://{address}{path}"))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn served(readiness: Readiness, lead: Lead) -> SocketAddr {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let metrics = Metrics::new().unwrap();
        let (address, server) = serve(listen, metrics, readiness, lead).await.unwrap();
        tokio::spawn(server);
        address
    }

    #[tokio::test]
    async fn one_is_ready_once_its_caches_are_filled_whether_it_leads_or_not() {
        let hand = ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        for lead in [
            Lead::always(Clock::system()),
            Lead::until(hand.clock(), Duration::ZERO),
        ] {
            let readiness = Readiness::default();
            let address = served(readiness.clone(), lead).await;
            let (status, told) = answers(address, "/readyz").await;
            assert_eq!(status, 503);
            assert!(told.contains("DaskCluster CRD"), "{told}");
            readiness.set();
            assert_eq!(answers(address, "/readyz").await, (200, "ok".to_owned()));
        }
    }

    #[tokio::test]
    async fn one_that_has_lost_its_lease_and_does_not_end_is_not_alive() {
        let hand = ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let lead = Lead::until(hand.clock(), Duration::from_secs(12));
        let address = served(Readiness::default(), lead).await;
        hand.advance(Duration::from_secs(42));
        assert_eq!(answers(address, "/livez").await, (200, "ok".to_owned()));
        hand.advance(Duration::from_secs(1));
        let (status, told) = answers(address, "/livez").await;
        assert_eq!(status, 503);
        assert!(told.contains("the process has not ended"), "{told}");
    }
}
