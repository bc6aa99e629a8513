//! Autoscaling, rest, and what the nodes may cost.

use serde_json::json;

use super::{Refusal, all_refused, refusal, values};
use crate::manifest::{set, story};

pub(super) fn elasticity() -> Vec<Refusal> {
    let autoscaling = "/spec/autoscaling";
    let mut refusals = values(
        autoscaling,
        [json!({"minReplicas": 50, "maxReplicas": 49})],
        "spec.autoscaling.minReplicas",
        "lower minReplicas or raise maxReplicas",
    );
    refusals.extend(values(
        autoscaling,
        [json!({"minReplicas": 1})],
        "spec.autoscaling.maxReplicas",
        "Required value",
    ));
    for (field, least, most) in [
        ("spec.autoscaling.minReplicas", 0, 100),
        ("spec.autoscaling.maxReplicas", 1, 100),
        ("spec.autoscaling.targetDurationSeconds", 60, 86_400),
        ("spec.autoscaling.scaleUpStabilizationSeconds", 0, 3600),
        ("spec.autoscaling.scaleDownStabilizationSeconds", 0, 86_400),
        ("spec.autoscaling.maxScaleUpStep", 1, 99),
        ("spec.autoscaling.maxScaleDownPercent", 1, 100),
        ("spec.idleTimeoutSeconds", 0, 31_536_000),
        ("spec.maxLifetimeSeconds", 300, 31_536_000),
        ("spec.worker.startTimeoutSeconds", 60, 86_400),
        ("spec.worker.scaleDownGraceSeconds", 0, 604_800),
    ] {
        let pointer = format!("/{}", field.replace('.', "/"));
        for (value, says) in [
            (least - 1, "greater than or equal to"),
            (most + 1, "less than or equal to"),
        ] {
            let mut edits = vec![set(&pointer, value)];
            if field.starts_with("spec.autoscaling") {
                edits.insert(0, set(autoscaling, json!({"maxReplicas": 50})));
            }
            refusals.push(refusal(story(), &edits, field, says));
        }
    }
    refusals.push(refusal(
        story(),
        &[
            set("/spec/compute/maxNodes", 50),
            set(autoscaling, json!({"maxReplicas": 50})),
        ],
        "spec.autoscaling.maxReplicas",
        "lower autoscaling.maxReplicas or raise compute.maxNodes",
    ));
    refusals.extend(values(
        autoscaling,
        [
            json!({"maxReplicas": 38}),
            json!({"minReplicas": 40, "maxReplicas": 50}),
        ],
        "spec.worker.replicas",
        "must lie between autoscaling.minReplicas and maxReplicas",
    ));
    refusals.extend(values(
        "/spec/idleAction",
        ["Suspend", "ScaleToZero"],
        "spec.idleAction",
        "does nothing without idleTimeoutSeconds",
    ));
    refusals.extend(values(
        "/spec/idleTimeoutSeconds",
        [1, 59],
        "spec.idleTimeoutSeconds",
        "must be 0, which is never, or at least 60",
    ));
    for (pointer, says) in [
        (
            "/spec/idleAction",
            "supported values: \"Suspend\", \"ScaleToZero\"",
        ),
        (
            "/spec/updatePolicy",
            "supported values: \"RollingUpdate\", \"Recreate\"",
        ),
        (
            "/spec/budget/action",
            "supported values: \"Warn\", \"Suspend\"",
        ),
    ] {
        let edits = [
            set("/spec/budget/maxTotal", "1"),
            set("/spec/idleTimeoutSeconds", 600),
            set(pointer, "Delete"),
        ];
        let field = match pointer {
            "/spec/idleAction" => "spec.idleAction",
            "/spec/updatePolicy" => "spec.updatePolicy",
            _ => "spec.budget.action",
        };
        refusals.push(refusal(story(), &edits, field, says));
    }
    refusals.extend(values(
        "/spec/budget",
        [json!({}), json!({"action": "Suspend"})],
        "spec.budget.maxPerHour",
        "must say maxPerHour, maxTotal or both",
    ));
    for field in ["spec.budget.maxPerHour", "spec.budget.maxTotal"] {
        let pointer = format!("/{}", field.replace('.', "/"));
        refusals.extend(values(
            &pointer,
            [
                json!("0"),
                json!(0),
                json!("-1"),
                json!("12 USD"),
                json!("much"),
            ],
            field,
            "must be an amount of money greater than 0",
        ));
    }
    refusals
}

#[tokio::test]
async fn limits_that_contradict_each_other_and_absurd_times_are_refused() {
    all_refused(elasticity()).await;
}
