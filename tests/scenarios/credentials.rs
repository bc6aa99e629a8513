//! Who a cluster is in Azure, and what happens when its credentials change, are missing or go.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Secret, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use azure_simulator::{FederatedCredential, World};
use dask_azureml_operator::api::DaskCluster;
use dask_azureml_operator::azure::Identity;

use crate::harness::{CREDENTIALS, Line, wait_for};

const OF_NAMESPACE: &str = "dask-azureml-credentials";

/// Status and reason of a condition, and its message.
fn condition(cluster: &DaskCluster, kind: &str) -> Option<(String, String)> {
    let status = cluster.status.as_ref()?;
    let mut conditions = status.conditions.iter();
    let found = conditions.find(|condition| condition.type_ == kind)?;
    let told = format!("{} {}", found.status, found.reason);
    Some((told, found.message.clone()))
}

fn says(cluster: &DaskCluster, kind: &str, told: &str, message: &str) -> bool {
    condition(cluster, kind).is_some_and(|(found, words)| found == told && words.contains(message))
}

fn secrets(line: &Line) -> Api<Secret> {
    Api::namespaced(line.client.clone(), &line.namespace)
}

/// The good credentials, with these keys changed; `null` takes a key away.
async fn put_secret(line: &Line, name: &str, changes: Value) {
    let env = line.azure.env();
    let mut data = json!({
        "AZURE_TENANT_ID": env["AZURE_TENANT_ID"],
        "AZURE_CLIENT_ID": env["AZURE_CLIENT_ID"],
        "AZURE_CLIENT_SECRET": env["AZURE_CLIENT_SECRET"],
    });
    for (key, value) in changes.as_object().expect("an object") {
        data[key] = value.clone();
    }
    let data = data.as_object().expect("an object").iter();
    let data: Value = data
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    secrets(line)
        .patch(
            name,
            &PatchParams::apply("tests").force(),
            &Patch::Apply(&body),
        )
        .await
        .expect("the API server takes the Secret");
}

fn without_secret(line: &Line, name: &str) -> Value {
    let mut manifest = line.manifest(name, 0);
    let spec = manifest["spec"].as_object_mut().expect("a spec");
    spec.remove("credentialsSecretName");
    spec["scheduler"] = json!({"runWorker": true});
    manifest
}

async fn events(line: &Line, reason: &str) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(line.client.clone(), &line.namespace);
    let all = events
        .list(&ListParams::default())
        .await
        .expect("events are served");
    all.into_iter()
        .filter(|event| event.reason.as_deref() == Some(reason))
        .map(|event| event.message.unwrap_or_default())
        .collect()
}

/// How often Entra was asked for a token.
fn token_requests(line: &Line) -> usize {
    let exchanges = line.exchanges();
    let paths = exchanges
        .iter()
        .filter_map(|exchange| exchange["request"]["path"].as_str());
    paths
        .filter(|path| path.ends_with("/oauth2/v2.0/token"))
        .count()
}

/// One that works, as a machine of Azure has it.
fn managed_identity(line: &Line) -> Identity {
    let client_id = Some(line.azure.env()["AZURE_CLIENT_ID"].clone());
    Identity::ManagedIdentity { client_id }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_credentials_is_nobody_until_its_namespace_has_some() {
    let mut line = Line::without_operator(World::default().without_delays()).await;
    let identity = managed_identity(&line);
    line.operator_is(identity, false);
    line.start_operator();
    line.apply(&without_secret(&line, "nobody")).await;
    line.wait_for("nobody", "it says what it lacks", |cluster| {
        says(
            cluster,
            "Ready",
            "False CredentialsMissing",
            "does not lend its own identity",
        ) && says(cluster, "Ready", "False CredentialsMissing", OF_NAMESPACE)
    })
    .await;
    assert_eq!(line.exchanges().len(), 0, "Azure was not even asked");

    put_secret(&line, OF_NAMESPACE, json!({})).await;
    line.wait_until_ready("nobody").await;
    let secret = secrets(&line).get(OF_NAMESPACE).await.expect("it is there");
    assert_eq!(secret.finalizers(), ["azureml.dask.dev/in-use"]);
    line.delete("nobody").await;
    line.wait_until_gone("nobody").await;
    let secret = secrets(&line).get(OF_NAMESPACE).await.expect("it stays");
    assert_eq!(secret.finalizers(), &[] as &[String]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_that_lends_itself_acts_for_clusters_without_credentials() {
    let mut line = Line::without_operator(World::default().without_delays()).await;
    let identity = managed_identity(&line);
    line.operator_is(identity, true);
    line.start_operator();
    line.apply(&without_secret(&line, "lent")).await;
    line.wait_until_ready("lent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_wakes_every_cluster_that_waits_for_it() {
    let mut line = Line::without_operator(World::default().without_delays()).await;
    // What is seen is seen because somebody was woken.
    line.set_resync(Duration::from_secs(3600));
    line.start_operator();
    for name in ["first", "second"] {
        let mut manifest = line.manifest(name, 0);
        manifest["spec"]["compute"]["name"] = json!(format!("{name}-pool"));
        manifest["spec"]["network"]["virtualNetwork"]["name"] = json!(format!("{name}-vnet"));
        manifest["spec"]["scheduler"] = json!({"runWorker": true});
        line.apply(&manifest).await;
        line.wait_until_ready(name).await;
    }
    let asked = token_requests(&line);
    assert_eq!(asked, 1, "both act by one token");

    put_secret(
        &line,
        CREDENTIALS,
        json!({"AZURE_CLIENT_SECRET": "expired"}),
    )
    .await;
    for name in ["first", "second"] {
        let told = |cluster: &DaskCluster| {
            says(
                cluster,
                "CredentialsTrouble",
                "True CredentialsRefused",
                "AADSTS7000215",
            )
        };
        let cluster = line.wait_for(name, "it tells at rest", told).await;
        assert!(
            says(&cluster, "Ready", "True Ready", ""),
            "it works all the same"
        );
    }
    for name in ["first", "second"] {
        line.delete(name).await;
        line.wait_for(name, "it says that Entra refuses it", |cluster| {
            says(cluster, "Ready", "False Deleting", "AADSTS7000215")
                && says(
                    cluster,
                    "Ready",
                    "False Deleting",
                    "azureml.dask.dev/abandon=true",
                )
        })
        .await;
    }
    put_secret(&line, CREDENTIALS, json!({})).await;
    for name in ["first", "second"] {
        line.wait_until_gone(name).await;
    }
    let world = line.azure.world();
    assert_eq!(
        (&world["networks"], &world["computes"]),
        (&json!([]), &json!([]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_of_the_same_client_gets_nothing_of_the_right_ones() {
    let line = Line::start().await;
    let mut right = line.manifest("right", 0);
    right["spec"]["scheduler"] = json!({"runWorker": true});
    line.apply(&right).await;
    line.wait_until_ready("right").await;
    put_secret(&line, "guessed", json!({"AZURE_CLIENT_SECRET": "guessed"})).await;
    let mut wrong = right.clone();
    wrong["metadata"]["name"] = json!("wrong");
    wrong["spec"]["credentialsSecretName"] = json!("guessed");
    let writes = line.azure_writes().len();
    line.apply(&wrong).await;
    line.wait_for("wrong", "Entra refuses it", |cluster| {
        says(
            cluster,
            "Ready",
            "False CredentialsRefused",
            "AADSTS7000215",
        )
    })
    .await;
    assert_eq!(line.azure_writes().len(), writes);
    // What was wrong becomes right without a change of the manifest, though no watch tells of it.
    put_secret(&line, "guessed", json!({})).await;
    line.wait_for("wrong", "it sees what stands there", |cluster| {
        says(cluster, "ComputeReady", "False AlreadyOwned", "")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_deleted_is_told_on_every_cluster_and_kept_until_they_need_it_no_more() {
    let line = Line::start().await;
    for name in ["one", "other"] {
        let mut manifest = line.manifest(name, 0);
        manifest["spec"]["compute"]["name"] = json!(format!("{name}-pool"));
        manifest["spec"]["network"]["virtualNetwork"]["name"] = json!(format!("{name}-vnet"));
        manifest["spec"]["scheduler"] = json!({"runWorker": true});
        line.apply(&manifest).await;
        line.wait_until_ready(name).await;
    }
    secrets(&line)
        .delete(CREDENTIALS, &DeleteParams::default())
        .await
        .expect("the API server takes the deletion");
    for name in ["one", "other"] {
        let cluster = line
            .wait_for(name, "it says that its Secret goes", |cluster| {
                says(
                    cluster,
                    "CredentialsTrouble",
                    "True SecretBeingDeleted",
                    CREDENTIALS,
                )
            })
            .await;
        assert!(
            says(&cluster, "Ready", "True Ready", ""),
            "it works all the same"
        );
    }
    wait_for("both are told by an event", async || {
        let told = events(&line, "SecretBeingDeleted").await;
        (told.len() == 2).then_some(()).ok_or(format!("{told:?}"))
    })
    .await;

    line.delete("one").await;
    line.wait_until_gone("one").await;
    assert!(
        secrets(&line).get(CREDENTIALS).await.is_ok(),
        "the other needs it"
    );
    put_secret(&line, "replacement", json!({})).await;
    let rename = json!({"spec": {"credentialsSecretName": "replacement"}});
    line.clusters()
        .patch("other", &PatchParams::default(), &Patch::Merge(rename))
        .await
        .expect("the API server takes another name");
    wait_for("the deleted Secret is let go", async || {
        let found = secrets(&line).get_opt(CREDENTIALS).await;
        let found = found.expect("the API server answers");
        found.map_or(Ok(()), |secret| Err(json!(secret.metadata).to_string()))
    })
    .await;
    let other = line.wait_until_ready("other").await;
    assert_eq!(condition(&other, "CredentialsTrouble"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_credentials_are_gone_is_let_go_by_a_word_and_names_what_it_leaves() {
    let line = Line::start().await;
    let mut manifest = line.manifest("stranded", 0);
    manifest["spec"]["scheduler"] = json!({"runWorker": true});
    line.apply(&manifest).await;
    line.wait_until_ready("stranded").await;
    let api = secrets(&line);
    api.delete(CREDENTIALS, &DeleteParams::default())
        .await
        .expect("the API server takes the deletion");
    // Somebody takes the finalizer away that was to keep it.
    let bare = json!({"metadata": {"finalizers": null}});
    api.patch(CREDENTIALS, &PatchParams::default(), &Patch::Merge(bare))
        .await
        .expect("the API server takes the finalizer away");
    line.delete("stranded").await;
    line.wait_for("stranded", "it says what it lacks", |cluster| {
        let missing = format!("Secret {CREDENTIALS} does not exist");
        says(cluster, "Ready", "False Deleting", &missing)
            && says(
                cluster,
                "Ready",
                "False Deleting",
                "azureml.dask.dev/abandon=true",
            )
    })
    .await;
    let writes = line.azure_writes();

    line.annotate("stranded", "azureml.dask.dev/abandon", Some("true"))
        .await;
    line.wait_until_gone("stranded").await;
    assert_eq!(line.azure_writes(), writes, "Azure is not touched");
    let told = wait_for("what is left is told", async || {
        let told = events(&line, "Abandoned").await;
        told.into_iter().next().ok_or("no event".to_owned())
    })
    .await;
    let world = line.azure.world();
    let jobs = world["jobs"].as_array().expect("jobs");
    let head = jobs[0]["name"].as_str().expect("a name");
    for left in ["/computes/ds13-cluster", "/virtualNetworks/dask-vnet", head] {
        assert!(told.contains(left), "{left}: {told}");
    }
    assert!(!world["computes"].as_array().expect("computes").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_of_the_namespace_is_enough() {
    let mut line = Line::without_operator_in(|namespace| {
        let mut world = World::default().without_delays();
        world.federated_credentials = vec![FederatedCredential {
            client_id: world.clients[0].client_id.clone(),
            issuer: "https://kubernetes.default.svc".to_owned(),
            subject: format!("system:serviceaccount:{namespace}:dask"),
            audience: "api://AzureADTokenExchange".to_owned(),
            jwks: None,
        }];
        world
    })
    .await;
    let accounts: Api<ServiceAccount> = Api::namespaced(line.client.clone(), &line.namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": "dask"}}));
    accounts
        .create(&PostParams::default(), &account.expect("a service account"))
        .await
        .expect("the API server takes the account");
    let federated = json!({"AZURE_CLIENT_SECRET": null, "AZURE_FEDERATED_SERVICE_ACCOUNT": "dask"});
    put_secret(&line, OF_NAMESPACE, federated).await;
    line.start_operator();
    line.apply(&without_secret(&line, "federated")).await;
    line.wait_until_ready("federated").await;
    for (account, code) in [("default", "AADSTS700213"), ("missing", "does not exist")] {
        let name = format!("{account}-account");
        let changed =
            json!({"AZURE_CLIENT_SECRET": null, "AZURE_FEDERATED_SERVICE_ACCOUNT": account});
        put_secret(&line, &name, changed).await;
        let mut manifest = without_secret(&line, &name);
        manifest["spec"]["credentialsSecretName"] = json!(name);
        line.apply(&manifest).await;
        line.wait_for(&name, "it is refused", |cluster| {
            says(cluster, "Ready", "False CredentialsRefused", code)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_carries_its_identities_from_the_first_write_and_its_jobs_read_as_the_first() {
    let line = Line::start().await;
    let subscription = &line.azure.env()["AZURE_SUBSCRIPTION_ID"];
    let id = |name: &str| {
        format!(
            "/subscriptions/{subscription}/resourceGroups/rg-dask/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        )
    };
    let mut manifest = line.manifest("reading", 1);
    manifest["spec"]["compute"]["identity"] = json!({"userAssigned": [id("reader"), id("other")]});
    line.apply(&manifest).await;
    line.wait_until_ready("reading").await;
    let exchanges = line.exchanges();
    let written = |kind: &str| -> Vec<Value> {
        let requests = exchanges.iter().map(|exchange| &exchange["request"]);
        requests
            .filter(|request| request["method"] == "PUT")
            .filter(|request| {
                request["path"]
                    .as_str()
                    .is_some_and(|path| path.contains(kind))
            })
            .map(|request| request["body"].clone())
            .collect()
    };
    let pools = written("/computes/");
    assert_eq!(
        pools.len(),
        1,
        "what Azure adds to it is no drift: {pools:#?}"
    );
    assert_eq!(
        pools[0]["identity"],
        json!({"type": "UserAssigned", "userAssignedIdentities": {id("reader"): {}, id("other"): {}}})
    );
    let jobs = written("/jobs/");
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        assert_eq!(
            job["properties"]["identity"],
            json!({"identityType": "Managed", "resourceId": id("reader")})
        );
    }
}
