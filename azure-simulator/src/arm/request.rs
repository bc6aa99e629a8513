//! An ARM request, taken apart.

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::arm::error::ArmError;
use crate::entra::Principal;
use crate::resource_id::ResourceId;

/// What is wanted of a resource or collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Put,
    Patch,
    Delete,
    Action(String),
}

/// Has no `Debug`: it brings a token, and its body may hold secrets.
pub(crate) struct ArmRequest {
    pub(crate) verb: Verb,
    pub(crate) id: ResourceId,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    body: Option<Value>,
    pub(crate) principal: Principal,
}

impl ArmRequest {
    pub(crate) fn new(
        verb: Verb,
        id: ResourceId,
        (path, query): (String, Query),
        headers: HeaderMap,
        body: Option<Value>,
        principal: Principal,
    ) -> Self {
        Self {
            verb,
            id,
            path,
            query,
            headers,
            body,
            principal,
        }
    }

    /// The body of a PUT or PATCH, which must be a JSON object.
    pub(crate) fn object(&self) -> Result<&Value, ArmError> {
        match &self.body {
            Some(body) if body.is_object() => Ok(body),
            _ => Err(ArmError::new(
                http::StatusCode::BAD_REQUEST,
                "InvalidRequestContent",
                "The request content was invalid and could not be deserialized: a JSON object is \
                 expected.",
            )),
        }
    }

    pub(crate) fn api_version(&self) -> &str {
        self.query.get("api-version").unwrap_or_default()
    }
}

/// A query string, raw and in decoded pairs. Names compare without regard to case. Has no `Debug`: it may
/// be signed.
#[derive(Clone, Default)]
pub(crate) struct Query {
    pub(crate) raw: String,
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(raw: &str) -> Self {
        let pairs = raw
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(name), decoded(&value.replace('+', " ")))
            })
            .collect();
        Self {
            raw: raw.to_owned(),
            pairs,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str())
    }

    /// The raw query with one parameter set to a value that needs no encoding.
    pub(crate) fn raw_with(&self, name: &str, value: &str) -> String {
        let mut parts: Vec<String> = self
            .raw
            .split('&')
            .filter(|pair| {
                let given = pair.split('=').next().unwrap_or_default();
                !pair.is_empty() && !decoded(given).eq_ignore_ascii_case(name)
            })
            .map(str::to_owned)
            .collect();
        parts.push(format!("{}={value}", name.replace('$', "%24")));
        parts.join("&")
    }
}

/// Percent-decoded; bytes that are no UTF-8 are replaced.
pub(crate) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_link_keeps_the_query_and_replaces_its_token() {
        let query = Query::parse("api-version=2025-12-01&%24skip=4&tag=owner");
        assert_eq!(query.get("$SKIP"), Some("4"));
        assert_eq!(
            query.raw_with("$skip", "9"),
            "api-version=2025-12-01&tag=owner&%24skip=9"
        );
    }
}
