//! What people look at, on the control port: a page of everything, and a page a run, where the
//! Studio link of a job leads.
//!
//! The server renders whole documents, so nothing but a browser is needed, with or without
//! JavaScript. [`live.js`](live.js) asks for the same document again every second and changes what
//! differs; without it the browser reloads. Every page is a value that was read in one transaction
//! (`seen`), and a pure function of it to markup (`shown`).
//!
//! Markup is written with `maud`. Names, tags, logs and paths are what anyone who signs in made them,
//! so that nothing may get into a page unescaped: `maud` escapes whatever is put in, checks that
//! elements are closed when it compiles, and reads like the page. A builder of our own would have to
//! be trusted with the first and could not do the second.

mod figures;
mod jobs;
mod layout;
pub(crate) mod link;
mod metrics;
mod money;
mod networks;
mod pools;
mod requests;
mod run;
mod run_files;
mod start;

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;

use crate::azure::Azure;

pub(crate) fn router(azure: Arc<Azure>) -> Router {
    let style = || asset("text/css; charset=utf-8", include_str!("style.css"));
    let icon = || asset("image/svg+xml", include_str!("icon.svg"));
    let script = || asset("text/javascript; charset=utf-8", include_str!("live.js"));
    Router::new()
        .route("/", get(start::answer))
        .route("/runs/{run}", get(run::answer))
        .route("/runs/{run}/files/{*path}", get(run_files::answer))
        .route("/page/style.css", get(async move || style()))
        .route("/page/icon.svg", get(async move || icon()))
        .route("/page/live.js", get(async move || script()))
        .with_state(azure)
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Another simulator may answer here next.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
