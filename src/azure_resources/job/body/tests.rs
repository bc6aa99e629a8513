//! The bodies of head and worker as golden JSON in `job/golden/`; `UPDATE_GOLDEN=1` writes them anew.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::*;
use crate::reconcile::fixtures::{World, fresh_token, token};

/// What a job of this slot is submitted with in a world where the head is this one.
fn submitted(world: &World, slot: Slot) -> Value {
    let body = world.scene(|scene, lineup| body(scene, lineup, JobName::first(slot)));
    serde_json::to_value(body).unwrap()
}

fn demanding() -> World {
    World::provisioned(|spec| {
        spec["tags"] = json!({"team": "climate"});
        spec["scheduler"] = json!({
            "jupyter": true, "runWorker": false, "startTimeoutSeconds": 900, "env": [{"name": "LOG", "value": "debug"}],
        });
        spec["worker"] = json!({
            "replicas": 2, "threads": 8, "memoryLimit": "48Gi", "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
        });
    })
}

#[test]
fn jobs_read_data_as_the_first_identity_of_their_pool() {
    let id = |name: &str| {
        format!(
            "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        )
    };
    let world = World::provisioned(|spec| {
        spec["compute"]["identity"] = json!({"userAssigned": [id("reader"), id("other")]});
    });
    for slot in [Slot::Head, Slot::Worker(0)] {
        assert_eq!(
            submitted(&world, slot)["properties"]["identity"],
            json!({"identityType": "Managed", "resourceId": id("reader")})
        );
        let without = submitted(&demanding(), slot);
        assert_eq!(without["properties"].get("identity"), None);
    }
}

#[test]
fn the_head_runs_on_the_pool_of_its_own_where_it_has_one_and_the_workers_never() {
    let pool = |world: &World, slot| {
        let body = submitted(world, slot);
        let id = body["properties"]["computeId"].as_str().unwrap();
        id.rsplit('/').next().unwrap().to_owned()
    };
    let beside = World::provisioned(|_| {});
    let apart = World::provisioned(|spec| spec["scheduler"]["compute"] = json!({"name": "heads"}));
    let of_workers = beside.place().compute.name().to_owned();
    for (world, slot, expected) in [
        (&beside, Slot::Head, of_workers.as_str()),
        (&beside, Slot::Worker(0), &of_workers),
        (&apart, Slot::Head, "heads"),
        (&apart, Slot::Worker(0), &of_workers),
    ] {
        assert_eq!(pool(world, slot), expected, "{slot:?}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the test says whether to write golden bodies anew"
)]
#[track_caller]
fn assert_body(golden: &str, mut body: Value) {
    let bootstrap = &mut body["properties"]["environmentVariables"]["DASK_AZUREML_BOOTSTRAP"];
    assert_eq!(bootstrap.as_str(), Some(encoded_bootstrap()));
    *bootstrap = json!("<gzip and base64 of dask_azureml.py>");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/azure_resources/job/golden")
        .join(golden)
        .with_extension("json");
    let text = format!("{}\n", serde_json::to_string_pretty(&body).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let held = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}\n{text}", path.display()));
    assert_eq!(text, held, "{}", path.display());
}

#[test]
fn head_and_worker_are_submitted_with_what_the_bootstrap_reads() {
    assert_body("head", submitted(&demanding(), Slot::Head));
    assert_body("worker", submitted(&demanding(), Slot::Worker(0)));
}

#[test]
fn each_dataset_is_an_input_by_its_mode_and_is_named_in_the_command() {
    let world = World::provisioned(|spec| {
        spec["datasets"] = json!([
            {"name": "Noaa-ISD", "uri": "https://a/b/", "path": "/mnt/noaa"},
            {"name": "stations", "version": "3", "type": "UriFile", "mode": "Download", "path": "/mnt/stations.csv"},
            {"name": "table", "version": "2", "type": "MLTable", "mode": "Direct"},
        ]);
    });
    assert_body("datasets", submitted(&world, Slot::Worker(7)));
}

#[test]
fn a_cluster_without_datasets_has_no_inputs_and_a_command_without_expressions() {
    let world = World::provisioned(|spec| spec["datasets"] = json!([]));
    let body = submitted(&world, Slot::Head);
    assert_eq!(body["properties"].get("inputs"), None);
    let command = body["properties"]["command"].as_str().unwrap();
    assert!(command.starts_with("exec python "), "{command}");
    assert!(!command.contains('$'), "{command}");
}

#[test]
fn a_job_knows_the_hash_of_its_heads_token_and_never_the_token() {
    let hash = |body: &Value| {
        body["properties"]["environmentVariables"]["DASK_AZUREML_TOKEN_SHA256"].clone()
    };
    let next_head = World::provisioned(|_| {});
    let held_for_it = World::provisioned(|_| {}).connected("head-1");
    for (world, expected) in [(next_head, fresh_token()), (held_for_it, token())] {
        let head = submitted(&world, Slot::Head);
        let worker = submitted(&world, Slot::Worker(0));
        assert_eq!(hash(&head), json!(expected.sha256()));
        assert_eq!(hash(&worker), Value::Null, "a worker needs none");
        for body in [head, worker] {
            let text = body.to_string();
            for secret in [token(), fresh_token()] {
                assert!(!text.contains(secret.reveal()));
            }
        }
    }
}

#[test]
fn a_variable_of_the_user_overrides_none_of_ours() {
    let world = World::provisioned(|spec| {
        let reserved = json!([
            {"name": "DASK_AZUREML_ROLE", "value": "x"}, {"name": "DASK_AZUREML_BOOTSTRAP", "value": "x"},
            {"name": "DASK_AZUREML_TOKEN_SHA256", "value": "x"}, {"name": "DASK_AZUREML_HEAD_RUN", "value": "x"},
        ]);
        spec["scheduler"] = json!({"env": reserved});
        spec["worker"]["env"] = reserved;
    });
    let of = |slot, name: &str| {
        submitted(&world, slot)["properties"]["environmentVariables"][name].clone()
    };
    assert_eq!(of(Slot::Head, "DASK_AZUREML_ROLE"), "head");
    assert_eq!(
        of(Slot::Head, "DASK_AZUREML_TOKEN_SHA256"),
        json!(fresh_token().sha256())
    );
    assert_eq!(of(Slot::Worker(0), "DASK_AZUREML_ROLE"), "worker");
    assert_eq!(
        of(Slot::Worker(0), "DASK_AZUREML_HEAD_RUN"),
        json!(world.job_id("head-1"))
    );
    for slot in [Slot::Head, Slot::Worker(0)] {
        assert_eq!(of(slot, "DASK_AZUREML_BOOTSTRAP"), encoded_bootstrap());
    }
}

#[test]
fn the_subnet_of_a_network_that_is_not_ours_is_told_as_far_as_it_is_known() {
    let theirs = |spec: &mut Value| {
        spec["network"] =
            json!({"virtualNetwork": {"name": "their-vnet"}, "creationPolicy": "UseExisting"});
    };
    let unseen = World::empty(theirs);
    let subnet = unseen.place().network.clone().unwrap().subnet;
    let seen = unseen.clone().found(
        subnet,
        json!({"properties": {"addressPrefixes": ["10.9.0.0/24"]}}),
    );
    let told = |world: &World| {
        submitted(world, Slot::Head)["properties"]["environmentVariables"]["DASK_AZUREML_SUBNET"]
            .clone()
    };
    assert_eq!(told(&unseen), Value::Null);
    assert_eq!(told(&seen), "10.9.0.0/24");
}

#[test]
fn the_bootstrap_travels_whole_and_fits_into_one_variable() {
    let packed = base64::engine::general_purpose::STANDARD
        .decode(encoded_bootstrap())
        .unwrap();
    let mut source = String::new();
    GzDecoder::new(packed.as_slice())
        .read_to_string(&mut source)
        .unwrap();
    assert_eq!(source, BOOTSTRAP);
    assert!(encoded_bootstrap().len() < 32 << 10);
}
