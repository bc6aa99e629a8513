//! What Azure's error bodies say (contract §3).

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::error_codes::{Verdict, classify};

/// The longest message that is kept, in characters: it goes into conditions and events.
const LONGEST_MESSAGE: usize = 1024;

/// How deep inner errors are followed.
const DEEPEST: usize = 16;

/// An error as Azure describes it: in the answer to a request, as the end of an operation, or in
/// a resource (`provisioningErrors`, `errors`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorBody {
    /// Azure's code, `UnknownError` where the body has none.
    pub code: String,
    /// The most specific code further inside, where there is one.
    pub inner_code: Option<String>,
    /// Azure's message, in one line, shortened, with the queries of its URLs taken out.
    pub message: String,
    /// Every code in the body, the most specific one first.
    pub codes: Vec<String>,
}

impl ErrorBody {
    /// Reads the error in `body`: wrapped in `error` as ARM and the data plane do, bare as in
    /// lists of errors, or as MLflow writes it. `None` if there is no code and no message.
    #[must_use]
    pub fn read(body: &Value) -> Option<Self> {
        let error = match body.get("error") {
            Some(error @ Value::Object(_)) => error,
            _ => body,
        };
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        let code = text("code").or_else(|| text("error_code"));
        let message = text("message");
        if code.is_none() && message.is_none() {
            return None;
        }
        let mut codes = inner_codes(error);
        codes.extend(detail_codes(error));
        let inner_code = codes.first().cloned();
        codes.extend(code.map(str::to_owned));
        Some(Self {
            code: code.unwrap_or("UnknownError").to_owned(),
            inner_code,
            message: presentable(message.unwrap_or_default()),
            codes,
        })
    }

    /// What it means, where it stands in a resource or ends an operation.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict_of_answer(None)
    }

    /// What it means, where it is the answer to a request.
    pub(super) fn verdict_of_answer(&self, status: Option<u16>) -> Verdict {
        classify(self.codes.iter().map(String::as_str), &self.message, status)
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.message)
    }
}

/// Codes of the chain of inner errors, deepest first. Azure ML hangs the chain into
/// `additionalInfo`, its data plane right below the error.
fn inner_codes(error: &Value) -> Vec<String> {
    let additional = error.get("additionalInfo").and_then(Value::as_array);
    let hung_in = additional
        .into_iter()
        .flatten()
        .find(|info| info.get("type").and_then(Value::as_str) == Some("InnerError"))
        .and_then(|info| info.pointer("/info/value"));
    let first = hung_in.or_else(|| error.get("innerError"));
    let chain = std::iter::successors(first, |inner| inner.get("innerError"));
    let mut codes: Vec<_> = chain.take(DEEPEST).filter_map(code_of).collect();
    codes.reverse();
    codes
}

fn detail_codes(error: &Value) -> impl Iterator<Item = String> + '_ {
    let details = error.get("details").and_then(Value::as_array);
    details
        .into_iter()
        .flatten()
        .take(DEEPEST)
        .filter_map(code_of)
}

fn code_of(error: &Value) -> Option<String> {
    let code = error.get("code").and_then(Value::as_str)?;
    (!code.is_empty()).then(|| code.to_owned())
}

/// Makes a message fit to be shown: one line, not too long, and no URL with a query, as a query
/// may hold a signature.
pub(super) fn presentable(message: &str) -> String {
    let words = message.split_whitespace().map(without_query);
    let line = words.collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST_MESSAGE {
        return line;
    }
    let kept: String = line.chars().take(LONGEST_MESSAGE).collect();
    format!("{kept}…")
}

fn without_query(word: &str) -> Cow<'_, str> {
    let Some(scheme) = word.find("://") else {
        return Cow::Borrowed(word);
    };
    let Some(query) = word[scheme..].find(['?', '#']) else {
        return Cow::Borrowed(word);
    };
    let start = scheme + query;
    let closing = word[start..].find(['\'', '"', ')', ']', '>', ',']);
    let rest = closing.map_or("", |closing| &word[start + closing..]);
    Cow::Owned(format!("{}{rest}", &word[..start]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_arm_error_is_read_from_its_envelope() {
        let body = json!({"error": {"code": "ResourceNotFound", "message": "The Resource 'x'\n was not found."}});
        let error = ErrorBody::read(&body).unwrap();
        assert_eq!(error.code, "ResourceNotFound");
        assert_eq!(error.inner_code, None);
        assert_eq!(error.message, "The Resource 'x' was not found.");
    }

    #[test]
    fn the_deepest_inner_error_of_azure_ml_comes_first() {
        let body = json!({"error": {"code": "UserError", "message": "no", "details": [], "additionalInfo": [
            {"type": "ComponentName", "info": {"value": "managementfrontend"}},
            {"type": "InnerError", "info": {"value": {"code": "Immutable",
                "innerError": {"code": "JobPropertyImmutable", "innerError": null}}}}]}});
        let error = ErrorBody::read(&body).unwrap();
        assert_eq!(error.inner_code.as_deref(), Some("JobPropertyImmutable"));
        assert_eq!(
            error.codes,
            ["JobPropertyImmutable", "Immutable", "UserError"]
        );
    }

    #[test]
    fn a_detail_counts_as_an_inner_code() {
        let body = json!({"error": {"code": "RetryableError", "message": "A retryable error occurred.",
            "details": [{"code": "ReferencedResourceNotProvisioned", "message": "…"}]}});
        let error = ErrorBody::read(&body).unwrap();
        assert_eq!(
            error.inner_code.as_deref(),
            Some("ReferencedResourceNotProvisioned")
        );
    }

    #[test]
    fn bare_errors_and_those_of_the_data_plane_are_read() {
        for (body, code, inner) in [
            (
                json!({"code": "ClusterCoreQuotaReached", "message": "m"}),
                "ClusterCoreQuotaReached",
                None,
            ),
            (
                json!({"error": {"code": "UserError", "message": "m", "innerError": {"code": "NotFound"}}}),
                "UserError",
                Some("NotFound"),
            ),
            (
                json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "m"}),
                "RESOURCE_DOES_NOT_EXIST",
                None,
            ),
            (json!({"message": "m"}), "UnknownError", None),
        ] {
            let error = ErrorBody::read(&body).unwrap();
            assert_eq!(
                (error.code.as_str(), error.inner_code.as_deref()),
                (code, inner)
            );
        }
    }

    #[test]
    fn what_is_no_error_is_not_read_as_one() {
        for body in [json!(null), json!([]), json!({"value": []}), json!("error")] {
            assert_eq!(ErrorBody::read(&body), None);
        }
    }

    #[test]
    fn queries_of_urls_are_taken_out_of_messages() {
        for (given, shown) in [
            (
                "see https://a.test/x?api-version=1&s=secret for more",
                "see https://a.test/x for more",
            ),
            (
                "uri 'https://a.test/x?sig=secret', retry",
                "uri 'https://a.test/x', retry",
            ),
            ("is it? yes", "is it? yes"),
            ("https://a.test/x", "https://a.test/x"),
        ] {
            assert_eq!(presentable(given), shown);
        }
    }

    #[test]
    fn a_long_message_is_shortened() {
        assert_eq!(
            presentable(&"é".repeat(5000)).chars().count(),
            LONGEST_MESSAGE + 1
        );
    }
}
