//! The open ports of heads that only pretend.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener as Unserved};
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt as _;

use crate::azure::Azure;
use crate::physics::run::run_error;
use crate::pretend::life::DASHBOARD_PORT;
use crate::pretend::{Order, routes};

/// Listeners by the run of their head; those of a run that ends go, with every connection.
#[derive(Default)]
pub(crate) struct Listeners {
    open: HashMap<String, JoinHandle<()>>,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for (_, listener) in self.open.drain() {
            listener.abort();
        }
    }
}

impl Listeners {
    pub(crate) fn obey(&mut self, azure: &Arc<Azure>, order: Order) {
        match order {
            Order::HangUp { run } => {
                if let Some(listener) = self.open.remove(&run) {
                    listener.abort();
                }
            }
            Order::Listen { run, address } => match listen(address) {
                Ok((listener, port)) => {
                    let served = tokio::spawn(serve(azure.clone(), run.clone(), listener));
                    self.open.insert(run.clone(), served);
                    azure.transact(|transaction| transaction.pretend_listens(&run, port));
                }
                Err(problem) => {
                    let error = run_error("ServiceError", &format!("no port: {problem}"));
                    azure.transact(|transaction| {
                        transaction.pretended_gone(&run);
                        transaction.launch_failed(&run, error);
                    });
                }
            },
        }
    }
}

/// Dask's port where it is free, else any.
fn listen(address: Ipv4Addr) -> std::io::Result<(TcpListener, u16)> {
    let listener =
        Unserved::bind((address, DASHBOARD_PORT)).or_else(|_| Unserved::bind((address, 0)))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    Ok((TcpListener::from_std(listener)?, port))
}

/// Answers until the task ends; its connections end with it.
async fn serve(azure: Arc<Azure>, run: String, listener: TcpListener) {
    let router = routes::router(azure, run);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let router = router.clone();
                    connections.spawn(async move {
                        let service = service_fn(move |request| router.clone().oneshot(request));
                        let served = auto::Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                        if let Err(problem) = served {
                            tracing::debug!(%problem, "a connection to a pretended head ended");
                        }
                    });
                }
                Err(problem) => tracing::warn!(%problem, "a connection cannot be accepted"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
