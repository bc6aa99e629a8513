//! Containers of assets (`data/{name}`): what the versions of a name add up to, with a description and
//! tags of their own where somebody has given them (contract section 8).

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::documents::{Document, Order};
use crate::kinds::asset_version::{AssetType, FORMS, archived_wanted, with_stored_workspace};
use crate::kinds::body_checks::{check_forms, only_known};
use crate::kinds::data_version::texts;
use crate::kinds::{Kind, system_data};
use crate::resource_id::ResourceId;

pub(crate) struct Container(pub(crate) &'static AssetType);

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
        self.shown(transaction, &request.id)
            .map(Answer::ok)
            .ok_or_else(|| {
                ArmError::front_end_not_found(format!(
                    "Could not find {} container with name '{}'.",
                    self.0.noun,
                    request.id.name(),
                ))
            })
    }

    /// All of them on one page.
    fn list(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let archived = archived_wanted(request)?;
        let workspace = request.id.parent().map(|parent| parent.key());
        let documents = &transaction.state.documents;
        let mut found: BTreeMap<String, ResourceId> = documents
            .members(&request.id, Order::OldestFirst, None)
            .map(|container| (container.id.key(), container.id.clone()))
            .collect();
        for version in documents.of_type(self.0.version_type) {
            if let Some(container) = version.id.parent()
                && container.parent().map(|home| home.key()) == workspace
            {
                found.entry(container.key()).or_insert(container);
            }
        }
        let value: Vec<Value> = found
            .values()
            .filter_map(|id| self.shown(transaction, id))
            .filter(|shown| {
                let own = shown["properties"]["isArchived"] == true;
                archived.is_none_or(|archived| archived == own)
            })
            .collect();
        Ok(Answer::ok(json!({"value": value, "nextLink": null})))
    }

    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let body = request.object()?;
        only_known(
            body,
            &["id", "name", "type", "properties", "systemData"],
            "a container",
        )?;
        let given = &body["properties"];
        let mut known = vec![
            "description",
            "tags",
            "properties",
            "isArchived",
            "latestVersion",
            "nextVersion",
            "provisioningState",
        ];
        known.extend(self.0.shown_by_container);
        only_known(given, &known, "a container's properties")?;
        check_forms(given, &FORMS, "a container")?;
        for field in self.0.shown_by_container {
            if !given[field].is_string() {
                return Err(ArmError::user(format!("A container needs a {field}.")));
            }
        }
        let existing = transaction.state.documents.get(&request.id).cloned();
        let known_already = self.shown(transaction, &request.id).is_some();
        let id = with_stored_workspace(transaction, &request.id);
        let mut properties = json!({
            "description": given["description"],
            "tags": texts(&given["tags"]),
            "properties": texts(&given["properties"]),
            "isArchived": given["isArchived"] == true,
        });
        for field in self.0.shown_by_container {
            properties[field] = given[field].clone();
        }
        let before = existing.as_ref().map(|found| &found.body["systemData"]);
        let body = json!({
            "properties": properties,
            "systemData": system_data(transaction, request, before),
        });
        transaction.state.documents.store(id.clone(), body);
        let status = if known_already {
            StatusCode::OK
        } else {
            StatusCode::CREATED
        };
        let shown = self.shown(transaction, &id).unwrap_or_default();
        Ok(Answer::json(status, shown))
    }

    /// Its versions go with it.
    fn delete(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let documents = &mut transaction.state.documents;
        let versions = request.id.child("versions", None);
        let mut keys: Vec<String> = documents
            .members(&versions, Order::OldestFirst, None)
            .map(|version| version.id.key())
            .collect();
        keys.push(request.id.key());
        let gone = keys
            .iter()
            .filter(|key| documents.remove(key).is_some())
            .count();
        Ok(Answer::empty(if gone > 0 {
            StatusCode::OK
        } else {
            StatusCode::NO_CONTENT
        }))
    }
}

impl Container {
    /// `None` where it has neither versions nor properties of its own.
    fn shown(&self, transaction: &Transaction<'_>, id: &ResourceId) -> Option<Value> {
        let documents = &transaction.state.documents;
        let own = documents.get(id);
        let versions = id.child("versions", None);
        let latest = documents
            .members(&versions, Order::NewestFirst, None)
            .next();
        let id = match (own, latest) {
            (Some(own), _) => own.id.clone(),
            (None, Some(latest)) => latest.id.parent()?,
            (None, None) => return None,
        };
        let properties = match own {
            Some(own) => own.body["properties"].clone(),
            None => json!({
                "description": null,
                "tags": {},
                "properties": {},
                "isArchived": false,
            }),
        };
        let mut shown = json!({
            "id": id.to_string(),
            "name": id.name(),
            "type": self.0.container_type,
            "properties": properties,
            "systemData": own.or(latest)?.body["systemData"],
        });
        self.add_latest(&mut shown["properties"], latest);
        Some(shown)
    }

    fn add_latest(&self, properties: &mut Value, latest: Option<&Document>) {
        let version = latest.map(|latest| latest.id.name());
        let number = version.map_or(Some(0), |version| version.parse::<u64>().ok());
        properties["latestVersion"] = json!(version);
        properties["nextVersion"] = match (number, version) {
            (Some(number), _) => json!(number.saturating_add(1).to_string()),
            (None, version) => json!(version),
        };
        for field in self.0.shown_by_container {
            if let Some(latest) = latest {
                properties[field] = latest.body["properties"][field].clone();
            }
        }
    }
}
