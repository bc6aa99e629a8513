//! Datastores (contract section 8): containers of storage accounts under a name. Every workspace has
//! four, which lie in its own account.

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::clock::timestamp_text;
use crate::documents::Document;
use crate::kinds::asset_version::with_stored_workspace;
use crate::kinds::body_checks::only_known;
use crate::kinds::data_version::or_empty;
use crate::kinds::list_order::ListOrder;
use crate::kinds::{Kind, delete_at_once, most_wanted, not_allowed, system_data};
use crate::resource_id::ResourceId;
use crate::storage::account::{ARTIFACTS, Account};

pub(crate) struct Datastore;

/// Where the secrets of a stored datastore are: no GET shows them.
const SECRETS: &str = "_secrets";
const ENDPOINT: &str = "core.windows.net";

/// Types, with the properties that each must have.
const TYPES: [(&str, &[&str]); 4] = [
    ("AzureBlob", &["accountName", "containerName"]),
    ("AzureFile", &["accountName", "fileShareName"]),
    ("AzureDataLakeGen2", &["accountName", "filesystem"]),
    ("AzureDataLakeGen1", &["storeName"]),
];

impl Kind for Datastore {
    fn resource_type(&self) -> &'static str {
        "Microsoft.MachineLearningServices/workspaces/datastores"
    }

    fn query_parameters(&self, verb: &Verb) -> &'static [&'static str] {
        match verb {
            Verb::List => &[
                "$skip",
                "count",
                "isDefault",
                "names",
                "searchText",
                "orderBy",
                "orderByAsc",
            ],
            Verb::Put => &["skipValidation"],
            _ => &[],
        }
    }

    fn view(&self, _: &Transaction<'_>, document: &Document) -> Value {
        let mut body = document.body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.remove(SECRETS);
        }
        body
    }

    fn not_found(&self, id: &ResourceId) -> ArmError {
        ArmError::front_end_not_found(format!("Could not find datastore: {}.", id.name()))
    }

    fn list(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let part = |name| request.query.get(name).filter(|text| !text.is_empty());
        let is_true = |text: &str| text.eq_ignore_ascii_case("true");
        let default = part("isDefault").map(is_true);
        let names: Option<Vec<&str>> = part("names").map(|names| names.split(',').collect());
        let text = part("searchText");
        let takes = |document: &Document| {
            let name = document.id.name();
            let own = document.body["properties"]["isDefault"] == true;
            default.is_none_or(|wanted| own == wanted)
                && names.as_ref().is_none_or(|names| names.contains(&name))
                && text.is_none_or(|text| name.contains(text))
        };
        let ascending = part("orderByAsc").is_some_and(is_true);
        ListOrder::of_datastores(part("orderBy").unwrap_or_default(), ascending).answer(
            transaction,
            request,
            most_wanted(request, "count")?,
            takes,
            |document| self.view(transaction, document),
        )
    }

    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let (properties, secrets) = checked(&request.object()?["properties"])?;
        let existing = transaction.state.documents.get(&request.id).cloned();
        let id = match &existing {
            Some(found) => found.id.clone(),
            None => with_stored_workspace(transaction, &request.id),
        };
        let before = existing.as_ref().map(|found| &found.body["systemData"]);
        let body = json!({
            "id": id.to_string(),
            "name": id.name(),
            "type": self.resource_type(),
            "properties": properties,
            "systemData": system_data(transaction, request, before),
            SECRETS: secrets,
        });
        if body["properties"]["isDefault"] == true {
            no_other_default(transaction, &id);
        }
        transaction.state.documents.store(id, body);
        let status = match existing {
            Some(_) => StatusCode::OK,
            None => StatusCode::CREATED,
        };
        Ok(self.get(transaction, request)?.with_status(status))
    }

    fn delete(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        Ok(delete_at_once(transaction, &request.id))
    }

    fn act(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
        action: &str,
    ) -> Result<Answer, ArmError> {
        if !action.eq_ignore_ascii_case("listSecrets") {
            return Err(not_allowed(&format!("POST {action} of a datastore")));
        }
        let Some(found) = transaction.state.documents.get(&request.id) else {
            return Err(self.not_found(&request.id));
        };
        match &found.body[SECRETS] {
            Value::Null => Err(ArmError::user(format!(
                "The datastore '{}' has no secrets.",
                found.id.name()
            ))),
            secrets => Ok(Answer::ok(secrets.clone())),
        }
    }
}

fn no_other_default(transaction: &mut Transaction<'_>, id: &ResourceId) {
    let others: Vec<String> = transaction
        .state
        .documents
        .members(&id.collection(), crate::documents::Order::OldestFirst, None)
        .map(|other| other.id.key())
        .filter(|key| *key != id.key())
        .collect();
    for key in others {
        if let Some(body) = transaction.state.documents.body_mut(&key) {
            body["properties"]["isDefault"] = json!(false);
        }
    }
}

/// The properties that are shown, and the secrets that are not.
fn checked(given: &Value) -> Result<(Value, Value), ArmError> {
    let kind = given["datastoreType"].as_str().unwrap_or_default();
    let Some((_, required)) = TYPES.iter().find(|(known, _)| *known == kind) else {
        return Err(ArmError::refused(format!("The datastore type '{kind}'")));
    };
    let mut known = vec![
        "datastoreType",
        "description",
        "tags",
        "properties",
        "credentials",
        "isDefault",
        "endpoint",
        "protocol",
        "serviceDataAccessAuthIdentity",
        "subscriptionId",
        "resourceGroup",
    ];
    known.extend(*required);
    only_known(given, &known, "a datastore's properties")?;
    for field in *required {
        if given[field].as_str().is_none_or(str::is_empty) {
            return Err(ArmError::user(format!(
                "A datastore of type {kind} needs {field}."
            )));
        }
    }
    let mut credentials = given["credentials"].clone();
    let word = credentials["credentialsType"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if ![
        "AccountKey",
        "Sas",
        "ServicePrincipal",
        "Certificate",
        "None",
    ]
    .contains(&word.as_str())
    {
        return Err(ArmError::user(format!(
            "The credentials type '{word}' is not known."
        )));
    }
    let mut secrets = Value::Null;
    if word != "None" {
        secrets = credentials["secrets"].take();
        credentials["secrets"] = json!({"secretsType": word});
    }
    let mut properties = json!({
        "description": given["description"],
        "tags": or_empty(&given["tags"]),
        "properties": given["properties"],
        "isDefault": given["isDefault"] == true,
        "credentials": credentials,
        "datastoreType": kind,
        "subscriptionId": given["subscriptionId"],
        "resourceGroup": given["resourceGroup"],
    });
    for field in *required {
        properties[field] = given[field].clone();
    }
    if kind != "AzureDataLakeGen1" {
        properties["endpoint"] = json!(given["endpoint"].as_str().unwrap_or(ENDPOINT));
        properties["protocol"] = json!(given["protocol"].as_str().unwrap_or("https"));
        let identity = given["serviceDataAccessAuthIdentity"].as_str();
        properties["serviceDataAccessAuthIdentity"] = json!(identity.unwrap_or("None"));
    }
    Ok((properties, secrets))
}

/// The datastores that every workspace has.
pub(crate) fn create_defaults(transaction: &mut Transaction<'_>, workspace: &ResourceId) {
    let account = Account::of(workspace);
    let key = account.key(transaction.settings);
    let blob = account.default_container();
    let share = blob.replace("blobstore", "filestore");
    let stores = [
        ("workspaceblobstore", "AzureBlob", blob.as_str()),
        ("workspaceartifactstore", "AzureBlob", ARTIFACTS),
        ("workspacefilestore", "AzureFile", share.as_str()),
        ("workspaceworkingdirectory", "AzureFile", "code"),
    ];
    let created = timestamp_text(transaction.now.timestamp);
    for (name, kind, container) in stores {
        let id = workspace.child("datastores", Some(name));
        let place = match kind {
            "AzureBlob" => "containerName",
            _ => "fileShareName",
        };
        let body = json!({
            "id": id.to_string(),
            "name": name,
            "type": Datastore.resource_type(),
            "properties": {
                "description": null,
                "tags": {},
                "properties": null,
                "isDefault": name == "workspaceblobstore",
                "credentials": {
                    "credentialsType": "AccountKey",
                    "secrets": {"secretsType": "AccountKey"},
                },
                "datastoreType": kind,
                "subscriptionId": workspace.subscription,
                "resourceGroup": workspace.resource_group,
                "accountName": account.name,
                place: container,
                "endpoint": ENDPOINT,
                "protocol": "https",
                "serviceDataAccessAuthIdentity": "None",
            },
            "systemData": {
                "createdAt": created, "createdBy": "azure-simulator",
                "createdByType": "Application", "lastModifiedAt": created,
                "lastModifiedBy": "azure-simulator", "lastModifiedByType": "Application",
            },
            SECRETS: {"secretsType": "AccountKey", "key": key},
        });
        transaction.state.documents.insert(id, body);
    }
}
