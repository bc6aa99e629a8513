//! Limits of what a run is called and carries (contract section 10).

use serde_json::Value;

use crate::arm::error::ArmError;

const MOST_TEXTS: usize = 50;
const LONGEST_NAME: usize = 100;
const LONGEST_VALUE: usize = 1000;
const LONGEST_DISPLAY_NAME: usize = 256;
const LONGEST_DESCRIPTION: usize = 5000;

/// Checks what a job's properties say.
pub(crate) fn check(properties: &Value) -> Result<(), ArmError> {
    check_tags(&properties["tags"])?;
    check_texts(("property", "properties"), &properties["properties"])?;
    check_lengths(properties)
}

/// Checks the tags of a run.
pub(crate) fn check_tags(tags: &Value) -> Result<(), ArmError> {
    check_texts(("tag", "tags"), tags)
}

/// Checks names and values that a run has: its tags or its properties, by what one and many are called.
fn check_texts((one, many): (&str, &str), texts: &Value) -> Result<(), ArmError> {
    let texts = match texts {
        Value::Null => return Ok(()),
        Value::Object(texts) => texts,
        _ => {
            return Err(ArmError::user(format!(
                "The {many} of a job must be an object of strings."
            )));
        }
    };
    if texts.len() > MOST_TEXTS {
        return Err(ArmError::user(format!(
            "A run can have {MOST_TEXTS} {many} at most, not {}.",
            texts.len()
        )));
    }
    for (name, value) in texts {
        let Some(value) = value.as_str() else {
            return Err(ArmError::user(format!(
                "The value of {one} '{name}' must be a string."
            )));
        };
        if name.chars().count() > LONGEST_NAME || value.chars().count() > LONGEST_VALUE {
            return Err(ArmError::user(format!(
                "The {one} '{name}' is too long: {LONGEST_NAME} characters of name and \
                 {LONGEST_VALUE} of value are the limit."
            )));
        }
    }
    Ok(())
}

fn check_lengths(given: &Value) -> Result<(), ArmError> {
    for (field, most) in [
        ("displayName", LONGEST_DISPLAY_NAME),
        ("description", LONGEST_DESCRIPTION),
    ] {
        let length = given[field].as_str().map_or(0, |text| text.chars().count());
        if length > most {
            return Err(ArmError::user(format!(
                "The {field} of a job can have {most} characters at most, not {length}."
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(count: usize) -> Value {
        (0..count)
            .map(|number| (format!("n{number}"), json!("v")))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    #[test]
    fn a_run_carries_what_the_limits_allow_and_no_more() {
        let of = |length: usize| "x".repeat(length);
        for (fits, exceeds) in [
            (json!({"tags": texts(50)}), json!({"tags": texts(51)})),
            (
                json!({"properties": texts(50)}),
                json!({"properties": texts(51)}),
            ),
            (
                json!({"tags": {of(100): of(1000)}}),
                json!({"tags": {of(101): "v"}}),
            ),
            (
                json!({"properties": {"n": of(1000)}}),
                json!({"properties": {"n": of(1001)}}),
            ),
            (
                json!({"displayName": of(256)}),
                json!({"displayName": of(257)}),
            ),
            (
                json!({"description": of(5000)}),
                json!({"description": of(5001)}),
            ),
        ] {
            assert!(check(&fits).is_ok(), "{fits}");
            assert!(check(&exceeds).is_err(), "{exceeds}");
        }
    }
}
