//! Which plane a path belongs to. What no other plane has is ARM's.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, post};

use crate::azure::Azure;
use crate::{arm, data_plane, entra, storage};

pub(crate) fn router(azure: Arc<Azure>) -> Router {
    Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(entra::token))
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            get(entra::openid_configuration),
        )
        .route("/common/discovery/instance", get(entra::instance_discovery))
        .route("/metadata/endpoints", get(arm::cloud_metadata::serve))
        .route("/discovery", get(data_plane::discovery::map))
        .route("/discovery/{*rest}", get(data_plane::discovery::map))
        .route("/mlflow/{*rest}", any(data_plane::mlflow::serve))
        .route("/history/{*rest}", any(data_plane::run_history::serve))
        .route("/artifact/{*rest}", any(data_plane::artifacts::serve))
        .route("/blob/{*rest}", any(storage::serve))
        .fallback(arm::serve)
        // The listener has limited the body already.
        .layer(DefaultBodyLimit::disable())
        .with_state(azure)
}
