//! What all pages have in common: head, title, when they were made, and who may do what in them.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderName, StatusCode, header};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use crate::page::figures;

/// A page runs and loads nothing but what this port serves, and nothing that stands in the document
/// itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// A page that was read at `now`.
pub(super) fn page(title: &str, now: Timestamp, content: &Markup) -> Response {
    (HEADERS, Html(document(title, now, content).into_string())).into_response()
}

/// A page about something that is not there.
pub(super) fn not_found(what: &str, now: Timestamp) -> Response {
    let content = html! {
        h1 { "Not here" }
        p { (what) " is not in this world. It may have been, before a reset." }
    };
    (StatusCode::NOT_FOUND, page("Not here", now, &content)).into_response()
}

fn document(title: &str, now: Timestamp, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · azure-simulator" }
                link rel="icon" href="/page/icon.svg";
                link rel="stylesheet" href="/page/style.css";
                script src="/page/live.js" defer {}
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                header {
                    a.home href="/" { "azure-simulator" }
                    nav {
                        a href="/world" { "world" }
                        a href="/exchanges" { "exchanges" }
                        a href="/meter" { "meter" }
                    }
                    p #as-of role="status" { "as of " (figures::clock_time(now)) " UTC" }
                }
                main { (content) }
            }
        }
    }
}

/// A section with a heading, which names it.
pub(super) fn section(id: &str, heading: &str, content: &Markup) -> Markup {
    html! {
        section #(id) aria-labelledby={ (id) "-heading" } {
            h2 id={ (id) "-heading" } { (heading) }
            (content)
        }
    }
}

/// Names and values, one a line.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts {
                dt { (name) }
                dd { (value) }
            }
        }
    }
}
