//! Long-running operations (contract §4): a link that an answer carries, and what one look at it
//! tells. What a pool or a network is doing is also told by its `provisioningState`; the link
//! tells why an operation failed, and when a cancel is through.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::error_body::ErrorBody;

/// The link to an operation that Azure works on. It is signed, so nothing shows it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Operation {
    pub(super) url: Url,
    pub(super) link: Link,
}

/// How the answers of a link are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Link {
    /// `Azure-AsyncOperation`: always 200, the body tells the state.
    Status,
    /// `Location`: 202 while it runs, the final answer afterwards.
    Result,
}

/// What one look at an operation told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationState {
    /// Azure is still at it.
    InProgress {
        /// How long Azure asks to wait before the next look.
        retry_after: Option<Duration>,
    },
    /// It is done.
    Succeeded,
    /// It has ended without success; a canceled one has the code `Canceled`.
    Failed(ErrorBody),
}

impl Operation {
    /// The operation that an answer speaks of. A `Location` counts only with a 202: the 201 of a
    /// job carries one that leads to the job itself. A link to another host is left aside, as a
    /// token would have to go with it.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, endpoint: &Endpoint) -> Option<Self> {
        let linked = |name, link| {
            let url: Url = headers.get(name)?.to_str().ok()?.parse().ok()?;
            if !endpoint.serves(&url) {
                let host = url.host_str().unwrap_or_default();
                tracing::warn!(
                    host,
                    "an operation's link leads away from ARM: not followed"
                );
                return None;
            }
            Some(Self { url, link })
        };
        linked("azure-asyncoperation", Link::Status).or_else(|| {
            (status == StatusCode::ACCEPTED)
                .then(|| linked("location", Link::Result))
                .flatten()
        })
    }
}

impl Operation {
    /// What Azure's support finds it by: the last part of the link's path, which is not signed.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.url
            .path_segments()?
            .next_back()
            .filter(|id| !id.is_empty())
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Operation")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// Reads a successful answer of an operation's link. `None` if it does not tell a state.
pub(super) fn state(
    link: Link,
    status: StatusCode,
    body: Option<&Value>,
    retry_after: Option<Duration>,
) -> Option<OperationState> {
    let word = match link {
        Link::Result if status == StatusCode::ACCEPTED => "InProgress",
        Link::Result => "Succeeded",
        Link::Status => body?.get("status")?.as_str()?,
    };
    Some(if word.eq_ignore_ascii_case("Succeeded") {
        OperationState::Succeeded
    } else if word.eq_ignore_ascii_case("Failed") || word.eq_ignore_ascii_case("Canceled") {
        let told = body.and_then(|body| ErrorBody::read(body.get("error")?));
        OperationState::Failed(told.unwrap_or_else(|| ErrorBody {
            code: word.to_owned(),
            codes: vec![word.to_owned()],
            ..ErrorBody::default()
        }))
    } else {
        // Services have many words for it: Creating, Running, Accepted, Inprogress.
        OperationState::InProgress { retry_after }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::json;

    const SIGNED: &str =
        "https://arm.test/subscriptions/0/providers/x/operations/1?api-version=1&s=signature";

    fn of(status: StatusCode, headers: &[(&'static str, &'static str)]) -> Option<Operation> {
        let endpoint = Endpoint::new(None, Some("https://arm.test"), None).unwrap();
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        Operation::of(status, &headers.collect(), &endpoint)
    }

    #[test]
    fn the_status_link_is_preferred_and_kept_verbatim() {
        let operation = of(
            StatusCode::CREATED,
            &[
                ("location", "https://arm.test/other"),
                ("azure-asyncoperation", SIGNED),
            ],
        );
        let operation = operation.unwrap();
        assert_eq!(operation.url.as_str(), SIGNED);
        assert_eq!(operation.link, Link::Status);
    }

    #[test]
    fn a_location_is_an_operation_only_where_the_request_was_accepted() {
        let location = [("location", SIGNED)];
        assert_eq!(of(StatusCode::CREATED, &location), None);
        assert_eq!(
            of(StatusCode::ACCEPTED, &location).map(|operation| operation.link),
            Some(Link::Result)
        );
    }

    #[test]
    fn a_link_to_another_host_is_not_followed() {
        let elsewhere = "https://arm.test.example/operations/1";
        assert_eq!(
            of(StatusCode::CREATED, &[("azure-asyncoperation", elsewhere)]),
            None
        );
        assert_eq!(
            of(StatusCode::ACCEPTED, &[("location", "operations/1")]),
            None
        );
    }

    #[test]
    fn an_operation_is_named_without_its_signature() {
        let operation = of(StatusCode::ACCEPTED, &[("location", SIGNED)]).unwrap();
        assert_eq!(operation.id(), Some("1"));
    }

    #[test]
    fn the_link_is_shown_nowhere() {
        let operation = of(StatusCode::ACCEPTED, &[("location", SIGNED)]);
        let shown = format!("{operation:?} {operation:#?}");
        assert!(
            !shown.contains("signature") && !shown.contains("arm.test"),
            "{shown}"
        );
    }

    #[test]
    fn states_are_read_without_regard_to_casing_and_unknown_words_mean_running() {
        let running = |retry_after| Some(OperationState::InProgress { retry_after });
        let of_status = |body: Value| {
            let wait = Some(Duration::from_secs(3));
            state(Link::Status, StatusCode::OK, Some(&body), wait)
        };
        let wait = Some(Duration::from_secs(3));
        assert_eq!(of_status(json!({"status": "Inprogress"})), running(wait));
        assert_eq!(of_status(json!({"status": "Enqueued"})), running(wait));
        assert_eq!(
            of_status(json!({"status": "succeeded", "percentComplete": 100.0})),
            Some(OperationState::Succeeded)
        );
        assert_eq!(of_status(json!({"name": "x"})), None);
        assert_eq!(state(Link::Status, StatusCode::OK, None, None), None);
        assert_eq!(
            state(Link::Result, StatusCode::ACCEPTED, None, None),
            running(None)
        );
        assert_eq!(
            state(Link::Result, StatusCode::NO_CONTENT, None, None),
            Some(OperationState::Succeeded)
        );
    }

    #[test]
    fn a_failed_operation_tells_why() {
        let body = json!({"status": "Failed", "error": {"code": "ClusterMinNodesExceedCoreQuota", "message": "quota of 6"}});
        let Some(OperationState::Failed(error)) =
            state(Link::Status, StatusCode::OK, Some(&body), None)
        else {
            panic!("not failed");
        };
        assert_eq!(error.code, "ClusterMinNodesExceedCoreQuota");
        assert_eq!(error.message, "quota of 6");
        let body = json!({"status": "Canceled"});
        let canceled = state(Link::Status, StatusCode::OK, Some(&body), None);
        assert!(
            matches!(canceled, Some(OperationState::Failed(error)) if error.code == "Canceled")
        );
    }
}
