//! Versioned assets: what data and environments have in common (contract section 8).
//!
//! A version is stored; its container (`data/{name}`) is what the versions of a name add up to.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::documents::{Document, Order};
use crate::kinds::{Kind, system_data};
use crate::resource_id::ResourceId;

/// What tells one type of asset from another.
pub(crate) struct AssetType {
    pub(crate) container_type: &'static str,
    pub(crate) version_type: &'static str,
    pub(crate) noun: &'static str,
    /// Checks a PUT's properties and fills in what the server adds.
    pub(crate) normalise: fn(&ResourceId, &Value) -> Result<Value, ArmError>,
    /// Properties that a version keeps for ever.
    pub(crate) immutable: &'static [&'static str],
    /// Properties of the version that its container shows.
    pub(crate) shown_by_container: &'static [&'static str],
}

pub(crate) struct Version(pub(crate) &'static AssetType);
pub(crate) struct Container(pub(crate) &'static AssetType);

impl Kind for Version {
    fn resource_type(&self) -> &'static str {
        self.0.version_type
    }

    fn query_parameters(&self, verb: &Verb) -> &'static [&'static str] {
        match verb {
            Verb::List => &["$skip", "listViewType"],
            _ => &[],
        }
    }

    fn order(&self) -> Order {
        Order::NewestFirst
    }

    fn not_found(&self, id: &ResourceId) -> ArmError {
        let name = id.parent().map(|parent| parent.name().to_owned());
        ArmError::front_end_not_found(format!(
            "Could not find {} asset with name '{}' and version '{}'.",
            self.0.noun,
            name.unwrap_or_default(),
            id.name(),
        ))
    }

    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let body = request.object()?;
        let properties = (self.0.normalise)(&request.id, &body["properties"])?;
        let existing = transaction.state.documents.get(&request.id).cloned();
        let (status, body) = match existing {
            None => {
                let id = with_stored_workspace(transaction, &request.id);
                let body = json!({
                    "id": id.to_string(),
                    "name": id.name(),
                    "type": self.0.version_type,
                    "properties": properties,
                    "systemData": system_data(transaction, request, None),
                });
                transaction.state.documents.insert(id, body.clone());
                (StatusCode::CREATED, body)
            }
            Some(found) => {
                self.check_unchanged(&found, &properties)?;
                let mut body = found.body.clone();
                for field in ["description", "tags", "isArchived", "stage"] {
                    if let Some(value) = properties.get(field) {
                        body["properties"][field] = value.clone();
                    }
                }
                body["systemData"] =
                    system_data(transaction, request, Some(&found.body["systemData"]));
                if let Some(stored) = transaction.state.documents.body_mut(&found.id.key()) {
                    *stored = body.clone();
                }
                (StatusCode::OK, body)
            }
        };
        Ok(Answer::json(status, body))
    }

    fn delete(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        Ok(
            match transaction.state.documents.remove(&request.id.key()) {
                Some(_) => Answer::empty(StatusCode::OK),
                None => Answer::empty(StatusCode::NO_CONTENT),
            },
        )
    }
}

impl Version {
    fn check_unchanged(&self, found: &Document, properties: &Value) -> Result<(), ArmError> {
        let changed: Vec<&str> = self
            .0
            .immutable
            .iter()
            .copied()
            .filter(|field| found.body["properties"][field] != properties[field])
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let noun = self.0.noun;
        let changed = changed.join(", ");
        Err(ArmError::immutable(
            "AssetPropertyImmutable",
            format!(
                "A {noun} version with this name and version already exists. If you are trying to \
                 create a new {noun} version, use a different name or version. If you are trying to \
                 update an existing {noun} version, the existing asset's {changed} cannot be changed. \
                 Only tags, description, and isArchived can be updated."
            ),
            json!({"property": changed}),
        ))
    }
}

impl Kind for Container {
    fn resource_type(&self) -> &'static str {
        self.0.container_type
    }

    fn query_parameters(&self, verb: &Verb) -> &'static [&'static str] {
        match verb {
            Verb::List => &["$skip", "listViewType"],
            _ => &[],
        }
    }

    fn get(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let versions = request.id.child("versions", None);
        let documents = &transaction.state.documents;
        let latest = documents
            .members(&versions, Order::NewestFirst, None)
            .next();
        match latest {
            Some(latest) => Ok(Answer::ok(self.shown(latest))),
            None => Err(ArmError::front_end_not_found(format!(
                "Could not find {} container with name '{}'.",
                self.0.noun,
                request.id.name(),
            ))),
        }
    }

    /// All of them on one page.
    fn list(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let workspace = request.id.parent().map(|parent| parent.key());
        let mut latest: BTreeMap<String, &Document> = BTreeMap::new();
        for document in transaction.state.documents.of_type(self.0.version_type) {
            let container = document.id.parent();
            let home = container.as_ref().and_then(ResourceId::parent);
            if home.map(|home| home.key()) == workspace
                && let Some(container) = container
            {
                latest.insert(container.name().to_owned(), document);
            }
        }
        let value: Vec<Value> = latest.values().map(|latest| self.shown(latest)).collect();
        Ok(Answer::ok(json!({"value": value, "nextLink": null})))
    }
}

impl Container {
    fn shown(&self, latest: &Document) -> Value {
        let id = latest.id.parent().unwrap_or_else(|| latest.id.clone());
        let version = latest.id.name();
        let next = version
            .parse::<u64>()
            .map_or_else(|_| version.to_owned(), |number| (number + 1).to_string());
        let mut properties = json!({
            "description": null,
            "tags": {},
            "properties": {},
            "isArchived": false,
            "latestVersion": version,
            "nextVersion": next,
        });
        for field in self.0.shown_by_container {
            properties[field] = latest.body["properties"][field].clone();
        }
        json!({
            "id": id.to_string(),
            "name": id.name(),
            "type": self.0.container_type,
            "properties": properties,
            "systemData": latest.body["systemData"],
        })
    }
}

/// The casing that the workspace was stored with.
pub(crate) fn with_stored_workspace(transaction: &Transaction<'_>, id: &ResourceId) -> ResourceId {
    let mut root = id.clone();
    root.segments.truncate(1);
    let Some(workspace) = transaction.state.documents.get(&root) else {
        return id.clone();
    };
    let mut stored = workspace.id.clone();
    stored.segments.extend(id.segments.iter().skip(1).cloned());
    stored
}
