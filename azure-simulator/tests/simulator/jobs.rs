//! The life of jobs: from a PUT to an end, and what a second PUT can change.

use std::time::Duration;

use azure_simulator::{Pace, Timings, World};
use serde_json::{Value, json};

use crate::client::{Azure, ML, until};

#[tokio::test]
async fn a_job_runs_to_its_end_and_leaves_its_output() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let body = azure.job_body("echo hello from $AZUREML_RUN_ID");
    let reply = azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    assert_eq!(reply.body["properties"]["status"], "Starting");
    assert!(!reply.headers.contains_key("azure-asyncoperation"));
    let location = format!(
        "{}{}/jobs/j1?{ML}",
        azure.simulator.arm_url(),
        azure.workspace
    );
    assert_eq!(reply.header("location"), location);
    let job = azure.job_is("j1", "Completed").await;
    assert_eq!(azure.log("j1"), "hello from j1\n");
    let properties = &job["properties"];
    assert!(properties["properties"]["EndTimeUtc"].is_string());
    assert_eq!(properties["resources"]["shmSize"], "2g");
    assert_eq!(properties["identity"], Value::Null);
    let studio = properties["services"]["Studio"]["endpoint"]
        .as_str()
        .unwrap();
    let page = format!("{}/runs/j1?wsid=", azure.simulator.control_url());
    assert!(studio.starts_with(&page), "{studio}");
    let status = properties["tags"]["_aml_system_ComputeTargetStatus"]
        .as_str()
        .unwrap();
    assert!(status.starts_with("{\"AllocationState\":"), "{status}");
}

#[tokio::test]
async fn a_job_passes_through_its_states_in_order() {
    let world = World::default().with_timings(Timings {
        job_start_seconds: 3600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await.with_pool(1).await;
    azure.submit("j1", "true").await;
    assert_eq!(azure.job("j1").await["properties"]["status"], "Starting");
    azure.simulator.set_pace(Pace::Instant);
    azure.job_is("j1", "Completed").await;
    let world = World::default().with_timings(Timings {
        job_finalize_seconds: 3600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await.with_pool(1).await;
    azure.submit("j1", "true").await;
    azure.job_is("j1", "Finalizing").await;
    assert_eq!(
        azure.nodes()[0]["state"],
        "running",
        "the node is not free yet"
    );
}

#[tokio::test]
async fn an_image_is_built_once_for_all_jobs_of_an_environment() {
    let world = World::default().with_timings(Timings {
        image_build_seconds: 3600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await.with_pool(2).await;
    let built = json!({"properties": {"image": "mcr/base", "condaFile": "dependencies: []"}});
    azure
        .put(&azure.ml("environments/conda/versions/1"), built)
        .await
        .expect(201);
    let mut body = azure.job_body("true");
    let environment = format!("{}/environments/conda/versions/1", azure.workspace);
    body["properties"]["environmentId"] = json!(environment);
    for id in ["j1", "j2"] {
        azure
            .put(&azure.ml(&format!("jobs/{id}")), body.clone())
            .await
            .expect(201);
        azure.job_is(id, "Preparing").await;
    }
    azure.submit("other", "true").await;
    azure.job_is("other", "Completed").await;
    azure.simulator.set_pace(Pace::Instant);
    azure.job_is("j1", "Completed").await;
    azure.job_is("j2", "Completed").await;
    azure.simulator.set_pace(Pace::Scaled(1.0));
    azure.put(&azure.ml("jobs/j3"), body).await.expect(201);
    azure.job_is("j3", "Completed").await;
}

#[tokio::test]
async fn a_job_that_fails_says_why_in_run_history_with_the_end_of_its_log() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure
        .submit("j1", "echo out of $(echo luck) >&2; exit 3")
        .await;
    let job = azure.job_is("j1", "Failed").await;
    assert!(
        !job.to_string().contains("out of luck"),
        "ARM does not tell"
    );
    let error = azure.run("j1").await["error"]["error"].clone();
    assert_eq!(error["code"], "UserError");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("status code 3") && message.contains("out of luck"),
        "{message}"
    );
}

#[tokio::test]
async fn a_spent_id_answers_200_and_runs_nothing() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", "echo once").await;
    azure.job_is("j1", "Completed").await;
    let body = azure.job_body("echo once");
    let reply = azure.put(&azure.ml("jobs/j1"), body).await.expect(200);
    assert_eq!(reply.body["properties"]["status"], "Completed");
    assert_eq!(azure.log("j1"), "once\n");
    assert_eq!(azure.simulator.meter()["unchanged_writes"], 1);
}

#[tokio::test]
async fn a_second_put_merges_tags_and_cannot_change_what_runs() {
    let mut world = World::default().without_delays();
    world.unproven.immutable_job_status = 422;
    let azure = Azure::start(world).await.with_pool(1).await;
    let mut body = azure.job_body("true");
    body["properties"]["tags"] = json!({"kept": "1", "changed": "1"});
    body["properties"]["properties"] = json!({"fixed": "1"});
    azure
        .put(&azure.ml("jobs/j1"), body.clone())
        .await
        .expect(201);
    azure.job_is("j1", "Completed").await;
    body["properties"]["tags"] = json!({"changed": "2", "new": "1"});
    body["properties"]["isArchived"] = json!(true);
    let reply = azure
        .put(&azure.ml("jobs/j1"), body.clone())
        .await
        .expect(200);
    let tags = &reply.body["properties"]["tags"];
    assert_eq!(
        (&tags["kept"], &tags["changed"], &tags["new"]),
        (&json!("1"), &json!("2"), &json!("1"))
    );
    assert_eq!(reply.body["properties"]["isArchived"], true);
    let mut served = body.clone();
    served["properties"]["services"] = json!({"x": {"jobServiceType": "Custom", "port": 80}});
    azure.put(&azure.ml("jobs/j1"), served).await.expect(422);
    body["properties"]["properties"] = json!({"fixed": "2"});
    azure.put(&azure.ml("jobs/j1"), body).await.expect(422);
    let other = azure
        .put(&azure.ml("jobs/j1"), azure.job_body("false"))
        .await
        .expect(422);
    assert_eq!(other.code(), "UserError");
    assert!(
        other
            .message()
            .contains("A job with this name already exists."),
        "{}",
        other.message()
    );
    let info = other.body["error"]["additionalInfo"].as_array().unwrap();
    let inner = info
        .iter()
        .find(|info| info["type"] == "InnerError")
        .unwrap();
    let inner = &inner["info"]["value"];
    assert_eq!(inner["code"], "Immutable");
    assert_eq!(inner["innerError"]["code"], "JobPropertyImmutable");
}

#[tokio::test]
async fn a_cancel_takes_its_time_and_kills_without_a_word() {
    let world = World::default().with_timings(Timings {
        cancel_seconds: 3600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await.with_pool(1).await;
    azure
        .submit(
            "j1",
            "trap 'echo warned' TERM; echo ready; while :; do sleep 0.05; done",
        )
        .await;
    azure.job_says("j1", "ready").await;
    let reply = azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    assert_eq!(reply.text, "null");
    assert_eq!(reply.header("x-ms-async-operation-timeout"), "PT1H");
    let location = reply.header("location").to_owned();
    assert!(location.contains("/mfeOperationResults/jc:"), "{location}");
    azure.get(&location).await.expect(202);
    azure.job_is("j1", "CancelRequested").await;
    assert_ne!(azure.job_in_world("j1")["pids"], json!([]));
    azure.simulator.set_pace(Pace::Instant);
    azure.job_is("j1", "Canceled").await;
    assert_eq!(azure.get(&location).await.expect(200).text, "");
    assert_eq!(azure.log("j1"), "ready\n");
    let again = azure.post(&azure.ml("jobs/j1/cancel")).await.expect(200);
    assert!(again.text.is_empty() && !again.headers.contains_key("location"));
}

#[tokio::test]
async fn a_world_can_grant_sigterm_and_a_grace() {
    let mut world = World::default().with_timings(Timings::none());
    world.cancel.sigterm_grace_seconds = 60.0;
    let azure = Azure::start(world).await.with_pool(1).await;
    let command = "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    azure.submit("polite", command).await;
    azure.job_says("polite", "ready").await;
    azure
        .post(&azure.ml("jobs/polite/cancel"))
        .await
        .expect(202);
    azure.job_is("polite", "Canceled").await;
    assert_eq!(azure.log("polite"), "ready\ngoodbye\n");
    azure
        .submit(
            "deaf",
            "trap '' TERM; echo ready; while :; do sleep 0.05; done",
        )
        .await;
    azure.job_says("deaf", "ready").await;
    azure.post(&azure.ml("jobs/deaf/cancel")).await.expect(202);
    assert_ne!(azure.job_in_world("deaf")["pids"], json!([]));
    azure.simulator.set_pace(Pace::Instant);
    azure.job_is("deaf", "Canceled").await;
}

#[tokio::test]
async fn a_job_that_waits_for_a_node_can_be_canceled() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("first", "sleep 1000").await;
    azure.job_is("first", "Running").await;
    azure.submit("second", "echo never").await;
    azure
        .post(&azure.ml("jobs/second/cancel"))
        .await
        .expect(202);
    assert_eq!(
        azure.job("second").await["properties"]["status"],
        "Canceled"
    );
    azure.post(&azure.ml("jobs/first/cancel")).await.expect(202);
    azure.job_is("first", "Canceled").await;
    assert_eq!(azure.log("second"), "");
    azure.post(&azure.ml("jobs/none/cancel")).await.expect(404);
}

#[tokio::test]
async fn a_job_past_its_timeout_is_canceled() {
    let world = World::default().with_timings(Timings::none());
    let azure = Azure::start(world).await.with_pool(1).await;
    let mut body = azure.job_body("sleep 1000");
    body["properties"]["limits"] = json!({"jobLimitsType": "Command", "timeout": "PT1H"});
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Running").await;
    azure.simulator.set_pace(Pace::Instant);
    azure.job_is("j1", "Canceled").await;
}

#[tokio::test]
async fn a_job_that_has_ended_by_itself_is_in_time_however_long_its_outputs_take() {
    let world = World::default().with_timings(Timings {
        job_finalize_seconds: 1800.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await.with_pool(1).await;
    let mut body = azure.job_body("true");
    body["properties"]["limits"] = json!({"jobLimitsType": "Command", "timeout": "PT10M"});
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Finalizing").await;
    azure.simulator.advance(Duration::from_secs(1800)).await;
    azure.job_is("j1", "Completed").await;
}

#[tokio::test]
async fn jobs_are_listed_newest_first_by_tag_key_and_by_archive() {
    let mut world = World::default().without_delays();
    world.unproven.newest_jobs_first = true;
    let azure = Azure::start(world).await.with_pool(1).await;
    for (id, tags) in [
        ("j1", json!({"owner-a": "x"})),
        ("j2", json!({"owner-b": "owner-a"})),
        ("j3", json!({"owner-a": "y"})),
    ] {
        let mut body = azure.job_body("true");
        body["properties"]["tags"] = tags;
        azure
            .put(&azure.ml(&format!("jobs/{id}")), body)
            .await
            .expect(201);
    }
    let names = async |query: &str| {
        let body = azure
            .get(&azure.ml(&format!("jobs{query}")))
            .await
            .expect(200)
            .body;
        let names = body["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["name"].clone());
        Value::Array(names.collect())
    };
    assert_eq!(names("").await, json!(["j3", "j2", "j1"]));
    assert_eq!(names("?tag=owner-a").await, json!(["j3", "j1"]));
    let mut archive = azure.job_body("true");
    archive["properties"]["isArchived"] = json!(true);
    azure.put(&azure.ml("jobs/j1"), archive).await.expect(200);
    assert_eq!(names("").await, json!(["j3", "j2"]));
    assert_eq!(names("?listViewType=ArchivedOnly").await, json!(["j1"]));
    assert_eq!(
        names("?listViewType=All&tag=owner-a").await,
        json!(["j3", "j1"])
    );
    azure
        .get(&azure.ml("jobs?listViewType=Some"))
        .await
        .expect(400);
}

#[tokio::test]
async fn what_a_job_refers_to_must_be_there() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let refused = async |change: &dyn Fn(&mut Value)| {
        let mut body = azure.job_body("true");
        change(&mut body["properties"]);
        let reply = azure.put(&azure.ml("jobs/j1"), body).await;
        assert_eq!(reply.status.as_u16(), 400, "{}", reply.text);
    };
    refused(&|job| job["computeId"] = json!("/none")).await;
    refused(&|job| job["environmentId"] = json!("/none")).await;
    refused(&|job| job["command"] = json!("!!")).await;
    refused(&|job| job["jobType"] = json!("Sweep")).await;
    refused(&|job| job["tags"] = json!({"long": "x".repeat(1001)})).await;
    refused(&|job| {
        job["inputs"] = json!({"x": {"jobInputType": "uri_folder", "uri": "azureml:none:1"}});
    })
    .await;
    azure.get(&azure.ml("jobs/j1")).await.expect(404);
    azure
        .put(&azure.ml("jobs/-j1"), azure.job_body("true"))
        .await
        .expect(400);
}

#[tokio::test]
async fn forty_jobs_run_at_once_on_forty_nodes() {
    let azure = Azure::without_delays().await.with_pool(40).await;
    for number in 0..40 {
        azure.submit(&format!("j{number}"), "sleep 1000").await;
    }
    until("all jobs run", async || {
        let world = azure.simulator.world();
        let jobs = world["jobs"].as_array().unwrap().clone();
        jobs.iter()
            .all(|job| job["status"] == "Running")
            .then_some(())
    })
    .await;
    assert_eq!(azure.nodes().len(), 40);
    azure
        .delete(&azure.ml("computes/pool?underlyingResourceAction=Delete"))
        .await
        .expect(202);
    until("all jobs have ended", async || {
        let world = azure.simulator.world();
        let jobs = world["jobs"].as_array().unwrap().clone();
        jobs.iter()
            .all(|job| job["pids"] == json!([]))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_distribution_on_one_instance_names_its_ranks() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let ranks = [
        ("PyTorch", "$RANK/$WORLD_SIZE at $MASTER_ADDR"),
        (
            "Mpi",
            "$OMPI_COMM_WORLD_RANK/$OMPI_COMM_WORLD_SIZE at $AZ_BATCHAI_MPI_MASTER_NODE",
        ),
    ];
    for (kind, says) in ranks {
        let mut body = azure.job_body(&format!(
            "echo \"{says}\" \"from $AZURE_SIMULATOR_NODE_ADDRESS\""
        ));
        body["properties"]["distribution"] =
            json!({"distributionType": kind, "processCountPerInstance": 1});
        let id = kind.to_lowercase();
        azure
            .put(&azure.ml(&format!("jobs/{id}")), body)
            .await
            .expect(201);
        azure.job_is(&id, "Completed").await;
        let log = azure.log(&id);
        assert!(log.starts_with("0/1 at "), "{log}");
        let (master, own) = log.split_once(" from ").unwrap();
        let expected = if kind == "Mpi" {
            "localhost"
        } else {
            own.trim()
        };
        assert!(master.ends_with(expected), "{log}");
    }
}

#[tokio::test]
async fn jobs_are_listed_by_their_properties() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let mut body = azure.job_body("true");
    body["properties"]["properties"] = json!({"team": "weather"});
    azure.put(&azure.ml("jobs/theirs"), body).await.expect(201);
    azure.submit("other", "true").await;
    for (query, found) in [
        ("team", 1),
        ("team=weather", 1),
        ("team=sea", 0),
        ("team,x", 0),
    ] {
        let path = azure.ml(&format!("jobs?properties={query}"));
        let list = azure.get(&path).await.expect(200).body;
        assert_eq!(list["value"].as_array().unwrap().len(), found, "{query}");
    }
}

#[tokio::test]
async fn a_job_that_has_ended_can_be_deleted_and_its_id_stays_spent() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", "sleep 1000").await;
    azure.job_is("j1", "Running").await;
    let path = azure.ml("jobs/j1");
    azure.delete(&path).await.expect(400);
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    azure.job_is("j1", "Canceled").await;
    let reply = azure.delete(&path).await.expect(202);
    assert_eq!(reply.header("retry-after"), "10");
    azure.get(reply.header("location")).await.expect(200);
    azure.get(&path).await.expect(404);
    azure.delete(&path).await.expect(204);
    let reply = azure.put(&path, azure.job_body("true")).await;
    assert!(reply.status.is_client_error(), "{}", reply.text);
    azure.get(&path).await.expect(404);
}
