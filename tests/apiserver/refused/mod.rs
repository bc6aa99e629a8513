//! Each rule on what a manifest holds, broken: the refusal names the field and the way out.

mod compute;
mod datasets;
mod elasticity;
mod environment;
mod head_compute;
mod network;
mod scheduler_and_worker;
mod tags;
mod workspace;

use serde_json::Value;

use crate::definition::messages;
use crate::immutable;
use crate::manifest::{Edit, edited, everything, set, story};
use crate::server::Server;

/// A manifest that is refused, and how.
struct Refusal {
    manifest: Value,
    /// The field that the refusal names.
    field: &'static str,
    /// A part of the words in which it is refused.
    says: &'static str,
}

fn refusal(base: Value, edits: &[Edit], field: &'static str, says: &'static str) -> Refusal {
    Refusal {
        manifest: edited(base, edits),
        field,
        says,
    }
}

/// The story's manifest with each value in turn at `pointer`.
fn values(
    pointer: &str,
    values: impl IntoIterator<Item = impl Into<Value>>,
    field: &'static str,
    says: &'static str,
) -> Vec<Refusal> {
    values
        .into_iter()
        .map(|value| refusal(story(), &[set(pointer, value)], field, says))
        .collect()
}

async fn all_refused(refusals: Vec<Refusal>) {
    let server = Server::new().await;
    let mut wrong = Vec::new();
    for Refusal {
        manifest,
        field,
        says,
    } in refusals
    {
        match server.try_create(&manifest).await {
            Ok(_) => wrong.push(format!(
                "taken, against {field} {says:?}: {}",
                manifest["spec"]
            )),
            Err(words) if words.contains(&format!("{field}:")) && words.contains(says) => {}
            Err(words) => wrong.push(format!("{field} does not say {says:?}:\n  {words}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn unknown_fields_are_refused_by_name() {
    let server = Server::new().await;
    for (pointer, says) in [
        ("/spec/suspended", "unknown field \"spec.suspended\""),
        ("/spec/worker/nodes", "unknown field \"spec.worker.nodes\""),
        (
            "/spec/datasets/0/url",
            "unknown field \"spec.datasets[0].url\"",
        ),
        (
            "/spec/network/natGateway",
            "unknown field \"spec.network.natGateway\"",
        ),
    ] {
        let words = server
            .try_create(&edited(story(), &[set(pointer, true)]))
            .await
            .expect_err("an unknown field is refused");
        assert!(words.contains(says), "{words}");
    }
}

#[tokio::test]
async fn every_rule_of_the_schema_has_a_manifest_here_that_breaks_it() {
    let server = Server::new().await;
    let mut heard = String::new();
    for refusals in [
        workspace::metadata_and_workspace(),
        network::network(),
        compute::compute(),
        head_compute::head_compute(),
        environment::environment(),
        datasets::datasets(),
        datasets::dataset_places(),
        scheduler_and_worker::scheduler_and_worker(),
        scheduler_and_worker::environment_variables(),
        elasticity::elasticity(),
        tags::tags(),
    ] {
        for refusal in refusals {
            let words = server.try_create(&refusal.manifest).await.err();
            heard.push_str(&words.unwrap_or_default());
        }
    }
    let stored = server.create(&everything()).await;
    let changes = immutable::changes().into_iter().map(|change| change.edit);
    for edit in changes.chain([set("/spec/worker/replicas", 20)]) {
        let words = server
            .try_replace(&edited(stored.clone(), &[edit]))
            .await
            .err();
        heard.push_str(&words.unwrap_or_default());
    }
    let silent: Vec<_> = messages()
        .into_iter()
        .filter(|(_, message)| !heard.contains(message))
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}
