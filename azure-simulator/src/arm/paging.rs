//! Pages of a LIST: `value` and an absolute `nextLink`.

use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::arm::request::ArmRequest;
use crate::azure::Settings;
use crate::documents::Document;

/// Name of the parameter that carries on where the page before ended.
pub(crate) const SKIP: &str = "$skip";

/// The number of the last entry of the page before.
pub(crate) fn position(request: &ArmRequest) -> Result<Option<u64>, ArmError> {
    let Some(token) = request.query.get(SKIP) else {
        return Ok(None);
    };
    token
        .parse()
        .map(Some)
        .map_err(|_| ArmError::user(format!("The continuation token '{token}' is invalid.")))
}

/// One page of `found`, shown by `view`.
pub(crate) fn page<'a>(
    settings: &Settings,
    request: &ArmRequest,
    mut found: impl Iterator<Item = &'a Document>,
    view: impl Fn(&Document) -> Value,
) -> Value {
    let mut value = Vec::new();
    let mut last = None;
    for document in found.by_ref().take(settings.world.page_size) {
        last = Some(document.number);
        value.push(view(document));
    }
    let next = match (last, found.next()) {
        (Some(last), Some(_)) => Some(format!(
            "{}{}?{}",
            settings.base_url(),
            request.path,
            request.query.raw_with(SKIP, &last.to_string()),
        )),
        _ => None,
    };
    json!({"value": value, "nextLink": next})
}
