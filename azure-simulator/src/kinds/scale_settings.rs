//! Between how many nodes an AmlCompute scales, and how long they may be idle (contract section 6).

use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::kinds::body_checks::{Form, check_forms, only_known};

/// Checked scale settings; what is not given is taken from `before`. A pool has `limit` nodes at most.
pub(crate) fn checked(given: &Value, before: &Value, limit: u64) -> Result<Value, ArmError> {
    only_known(
        given,
        &[
            "minNodeCount",
            "maxNodeCount",
            "nodeIdleTimeBeforeScaleDown",
        ],
        "scaleSettings",
    )?;
    let idle = [("nodeIdleTimeBeforeScaleDown", Form::Duration)];
    check_forms(given, &idle, "scaleSettings")?;
    let Some(most) = given["maxNodeCount"].as_u64() else {
        return Err(ArmError::bad_request(
            "'maxNodeCount' is required in 'scaleSettings' and must not be negative.",
        ));
    };
    let least = match (&given["minNodeCount"], &before["minNodeCount"]) {
        (Value::Null, Value::Null) => 0,
        (Value::Null, before) => before.as_u64().unwrap_or_default(),
        (given, _) => given.as_u64().ok_or_else(|| {
            ArmError::bad_request("'minNodeCount' must be a number that is not negative.")
        })?,
    };
    if most > limit {
        return Err(ArmError::bad_request(format!(
            "'maxNodeCount' {most} is above the limit of {limit} nodes of a cluster."
        )));
    }
    if least > most {
        return Err(ArmError::bad_request(format!(
            "'minNodeCount' {least} is above 'maxNodeCount' {most}."
        )));
    }
    let idle = match &given["nodeIdleTimeBeforeScaleDown"] {
        Value::Null => before["nodeIdleTimeBeforeScaleDown"].clone(),
        given => given.clone(),
    };
    Ok(json!({
        "minNodeCount": least,
        "maxNodeCount": most,
        "nodeIdleTimeBeforeScaleDown": idle,
    }))
}

/// The scale settings of a PATCH body (doubled nesting, contract section 0.4).
pub(crate) fn patched(body: &Value, before: &Value, limit: u64) -> Result<Value, ArmError> {
    only_known(body, &["properties"], "a patch of a compute")?;
    only_known(&body["properties"], &["properties"], "a patch's properties")?;
    let inner = &body["properties"]["properties"];
    only_known(inner, &["scaleSettings"], "a patch's inner properties")?;
    if inner["scaleSettings"].is_null() {
        return Err(ArmError::bad_request("'scaleSettings' is required."));
    }
    checked(&inner["scaleSettings"], before, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_keeps_what_it_does_not_name() {
        let before =
            json!({"minNodeCount": 2, "maxNodeCount": 8, "nodeIdleTimeBeforeScaleDown": "PT5M"});
        let body = json!({"properties": {"properties": {"scaleSettings": {"maxNodeCount": 4}}}});
        let after = patched(&body, &before, 300).unwrap();
        assert_eq!(
            after,
            json!({"minNodeCount": 2, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT5M"})
        );
        let flat = json!({"properties": {"scaleSettings": {"maxNodeCount": 4}}});
        assert!(patched(&flat, &before, 300).is_err());
    }
}
