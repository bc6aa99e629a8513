//! The secrets that answers gave out, word for word: tokens, and the signatures of URLs. Kept only where the world says
//! so, for tests that look whether a client shows them to somebody.

use std::collections::BTreeSet;
use std::sync::Mutex;

use axum::body::Bytes;
use http::response;
use serde_json::Value;

use crate::exchange_log::{SECRET_FIELDS, SECRET_PARAMETERS};
use crate::lock;

/// Characters: what is shorter is found by chance.
const SHORTEST: usize = 16;

pub(crate) struct GivenOut(Option<Mutex<BTreeSet<String>>>);

impl GivenOut {
    pub(crate) fn new(keeps: bool) -> Self {
        Self(keeps.then(Mutex::default))
    }

    pub(crate) fn note(&self, parts: &response::Parts, body: &Bytes) {
        let Some(kept) = &self.0 else { return };
        let mut found = Vec::new();
        for value in parts.headers.values() {
            of_url(value.to_str().unwrap_or_default(), &mut found);
        }
        if let Ok(value) = serde_json::from_slice(body) {
            of_body(&value, &mut found);
        }
        found.retain(|secret| secret.len() >= SHORTEST);
        lock(kept).extend(found);
    }

    /// All so far; nothing where they are not kept.
    pub(crate) fn all(&self) -> Option<Vec<String>> {
        let kept = lock(self.0.as_ref()?);
        Some(kept.iter().cloned().collect())
    }
}

fn of_body(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(secret) if SECRET_FIELDS.contains(&name.as_str()) => {
                        found.push(secret.clone());
                    }
                    value => of_body(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| of_body(item, found)),
        Value::String(text) => of_url(text, found),
        _ => {}
    }
}

fn of_url(text: &str, found: &mut Vec<String>) {
    let Some((_, query)) = text
        .split_once('?')
        .filter(|_| text.starts_with("https://"))
    else {
        return;
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    // When it ends is no secret.
    let secret = pairs.filter(|(name, _)| SECRET_PARAMETERS.contains(name) && *name != "se");
    found.extend(secret.map(|(_, value)| value.to_owned()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_and_signatures_are_kept_where_the_world_says_so() {
        let body = json!({
            "access_token": "a-token-of-somebody",
            "logFiles": {"a": "https://x/y?sv=1&se=2026-11-25T00:00:00Z&sig=signature-of-a-url"},
            "name": "no-secret-but-long-enough",
        });
        let answer = http::Response::builder()
            .header(
                "azure-asyncoperation",
                "https://arm/x?api-version=1&s=signature-of-an-operation",
            )
            .body(())
            .unwrap();
        let (parts, ()) = answer.into_parts();
        let body = Bytes::from(body.to_string());
        let kept = GivenOut::new(true);
        kept.note(&parts, &body);
        kept.note(&parts, &body);
        let expected = [
            "a-token-of-somebody",
            "signature-of-a-url",
            "signature-of-an-operation",
        ];
        assert_eq!(kept.all().unwrap(), expected);
        let quiet = GivenOut::new(false);
        quiet.note(&parts, &body);
        assert_eq!(quiet.all(), None);
    }
}
