//! Checks that request bodies of several kinds share: tags and location of tracked resources, unknown
//! fields.

use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use crate::arm::error::ArmError;
use crate::world::World;

const RESERVED: [char; 7] = ['<', '>', '%', '&', '\\', '?', '/'];
const MOST_TAGS: usize = 50;
const LONGEST_NAME: usize = 512;
const LONGEST_VALUE: usize = 256;

/// The tags of a tracked resource's body, checked; `{}` where it has none.
pub(crate) fn checked_tags(body: &Value) -> Result<Value, ArmError> {
    let tags = match &body["tags"] {
        Value::Null => return Ok(json!({})),
        Value::Object(tags) => tags,
        _ => {
            return Err(ArmError::bad_request(
                "'tags' must be an object of strings.",
            ));
        }
    };
    if tags.len() > MOST_TAGS {
        return Err(ArmError::new(
            StatusCode::BAD_REQUEST,
            "TooManyTags",
            format!(
                "The number of tags ({}) is above the limit of {MOST_TAGS}.",
                tags.len()
            ),
        ));
    }
    for (name, value) in tags {
        check(name, value)?;
    }
    Ok(Value::Object(tags.clone()))
}

fn check(name: &str, value: &Value) -> Result<(), ArmError> {
    let refused = |code, message| Err(ArmError::new(StatusCode::BAD_REQUEST, code, message));
    if name.contains(RESERVED) || name.contains(char::is_control) {
        return refused(
            "InvalidTagNameCharacters",
            format!(
                "The tag names '{name}' have reserved characters '<,>,%,&,\\,?,/' or control \
                 characters."
            ),
        );
    }
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return refused(
            "InvalidTagNameLength",
            format!("The tag name '{name}' must have 1 to {LONGEST_NAME} characters."),
        );
    }
    match value.as_str() {
        Some(text) if text.chars().count() <= LONGEST_VALUE => Ok(()),
        Some(_) => refused(
            "InvalidTagValueLength",
            format!("The value of tag '{name}' is longer than {LONGEST_VALUE} characters."),
        ),
        None => refused(
            "InvalidRequestContent",
            format!("The value of tag '{name}' must be a string."),
        ),
    }
}

/// The location that the body of a resource of its own must have: that of the world.
pub(crate) fn location_of<'a>(
    world: &World,
    body: &'a Value,
    kind: &str,
) -> Result<&'a str, ArmError> {
    let Some(location) = body["location"].as_str() else {
        return Err(ArmError::new(
            StatusCode::BAD_REQUEST,
            "LocationRequired",
            "The location property is required for this definition.",
        ));
    };
    let home = &world.location;
    if location.eq_ignore_ascii_case(home) {
        return Ok(location);
    }
    Err(ArmError::location_not_available(location, kind, home))
}

/// Refuses fields of `object` that are not in `known`, naming where it stands.
pub(crate) fn only_known(object: &Value, known: &[&str], place: &str) -> Result<(), ArmError> {
    let empty = Map::new();
    let fields = match object {
        Value::Object(fields) => fields,
        Value::Null => &empty,
        _ => {
            return Err(ArmError::bad_request(format!(
                "'{place}' must be an object."
            )));
        }
    };
    for name in fields.keys() {
        if !known.contains(&name.as_str()) {
            return Err(ArmError::refused(format!("The field '{name}' of {place}")));
        }
    }
    Ok(())
}

/// What the value of a field is, where it has one.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Text,
    Flag,
    /// A list of strings.
    TextList,
    /// An object of strings, which may be null. Numbers pass: azure-ai-ml gives one in `hash_version`.
    Texts,
    /// A list of objects.
    Objects,
    Object,
    /// ISO 8601, and not negative.
    Duration,
}

/// Refuses values of `object` that are of another form than the field has: they would be passed over as
/// if nothing had been said.
pub(crate) fn check_forms(
    object: &Value,
    fields: &[(&str, Form)],
    place: &str,
) -> Result<(), ArmError> {
    for (field, form) in fields {
        let value = &object[*field];
        let (fits, wanted) = match form {
            _ if value.is_null() => continue,
            Form::Text => (value.is_string(), "a string"),
            Form::Flag => (value.is_boolean(), "true or false"),
            Form::TextList => (
                value
                    .as_array()
                    .is_some_and(|items| items.iter().all(Value::is_string)),
                "a list of strings",
            ),
            Form::Texts => (
                value.as_object().is_some_and(|texts| {
                    let fits =
                        |text: &Value| text.is_string() || text.is_null() || text.is_number();
                    texts.values().all(fits)
                }),
                "an object of strings",
            ),
            Form::Objects => (
                value
                    .as_array()
                    .is_some_and(|items| items.iter().all(Value::is_object)),
                "a list of objects",
            ),
            Form::Object => (value.is_object(), "an object"),
            Form::Duration => (
                value
                    .as_str()
                    .and_then(|text| text.parse::<SignedDuration>().ok())
                    .is_some_and(|duration| !duration.is_negative()),
                "an ISO 8601 duration that is not negative",
            ),
        };
        if !fits {
            return Err(ArmError::bad_request(format!(
                "The value {value} of '{field}' of {place} must be {wanted}."
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_names_with_reserved_characters_are_refused() {
        let error = checked_tags(&json!({"tags": {"azureml.dask.dev/owner": "x"}})).unwrap_err();
        assert_eq!(error.code, "InvalidTagNameCharacters");
        assert!(checked_tags(&json!({"tags": {"dask-azureml-owner": "x"}})).is_ok());
    }
}
