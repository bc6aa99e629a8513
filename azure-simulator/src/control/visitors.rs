//! Who may use the control port: programs and people of this machine. A page of the web in somebody's browser may not,
//! which could reach a loopback port under a name of its own (DNS rebinding), or send it a form.

use std::net::IpAddr;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, header};

/// Lets through what was meant for this port under a name of this machine.
pub(crate) async fn only_of_this_machine(request: Request, next: Next) -> Response {
    if is_of_this_machine(request.headers()) {
        return next.run(request).await;
    }
    let told = "the control port is for this machine: call it by a loopback address, and from its own pages";
    (StatusCode::FORBIDDEN, told).into_response()
}

fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let Some(host) = text(header::HOST) else {
        return false;
    };
    let own_page = format!("http://{host}");
    is_loopback(host) && text(header::ORIGIN).is_none_or(|origin| origin == own_page)
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_web_are_kept_out_whatever_name_they_have_for_this_machine() {
        for (host, origin, expected) in [
            (Some("127.0.0.1:4040"), None, true),
            (Some("localhost:4040"), None, true),
            (Some("[::1]:4040"), None, true),
            (Some("127.0.0.1:4040"), Some("http://127.0.0.1:4040"), true),
            (
                Some("127.0.0.1:4040"),
                Some("https://elsewhere.example"),
                false,
            ),
            (Some("127.0.0.1:4040"), Some("null"), false),
            (Some("127.0.0.1:4040"), Some("http://127.0.0.1:8080"), false),
            (Some("rebound.example:4040"), None, false),
            (Some("127.0.0.1.rebound.example"), None, false),
            (Some("user@127.0.0.1@rebound.example"), None, false),
            (None, None, false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            assert_eq!(
                is_of_this_machine(&headers),
                expected,
                "{host:?} {origin:?}"
            );
        }
    }
}
