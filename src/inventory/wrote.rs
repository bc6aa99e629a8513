//! What a write leaves behind, as far as its answer tells.

use serde_json::Value;

/// The answer to a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Wrote {
    /// The resource as it is now.
    Resource(Value),
    /// Azure deletes it.
    Deleting,
    /// Azure cancels the job.
    Cancelling,
    /// It is gone.
    Gone,
    /// There was no answer, or one that does not tell.
    Unknown,
}

impl Wrote {
    /// What is there now, given what was there before; `None` where nobody knows before it is read again.
    pub(super) fn of(self, before: Option<&Value>) -> Option<Option<Value>> {
        match self {
            Self::Resource(body) => Some(Some(body)),
            Self::Gone => Some(None),
            Self::Deleting => with(before?, "provisioningState", "Deleting"),
            Self::Cancelling => with(before?, "status", "CancelRequested"),
            Self::Unknown => None,
        }
    }
}

fn with(before: &Value, field: &str, value: &str) -> Option<Option<Value>> {
    let mut body = before.clone();
    let properties = body.get_mut("properties")?.as_object_mut()?;
    properties.insert(field.to_owned(), value.into());
    Some(Some(body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_being_deleted_or_cancelled_says_so_before_azure_shows_it() {
        let before = json!({"name": "x", "properties": {"status": "Running"}});
        let of = |wrote: Wrote| wrote.of(Some(&before));
        let body = |field: &str, value: &str| {
            let mut body = before.clone();
            body["properties"][field] = json!(value);
            Some(Some(body))
        };
        assert_eq!(of(Wrote::Deleting), body("provisioningState", "Deleting"));
        assert_eq!(of(Wrote::Cancelling), body("status", "CancelRequested"));
        assert_eq!(of(Wrote::Resource(json!({}))), Some(Some(json!({}))));
        assert_eq!(of(Wrote::Gone), Some(None));
        assert_eq!(of(Wrote::Unknown), None);
        assert_eq!(Wrote::Deleting.of(None), None);
    }
}
