//! Versions of assets: what data, environments and code have in common (contract section 8).

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::paging;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds::body_checks::{Form, check_forms, only_known};
use crate::kinds::list_order::ListOrder;
use crate::kinds::{Kind, system_data};
use crate::resource_id::ResourceId;
use crate::world::Unproven;

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
    /// What a POST on a version does.
    pub(crate) act: Option<Act>,
}

/// What all assets and their containers have.
pub(crate) const FORMS: [(&str, Form); 5] = [
    ("description", Form::Text),
    ("tags", Form::Texts),
    ("properties", Form::Texts),
    ("isAnonymous", Form::Flag),
    ("isArchived", Form::Flag),
];

/// What may be left out of a second PUT, and not be another.
const KEPT: [&str; 3] = ["properties", "isAnonymous", "autoRebuild"];

type Act = fn(&mut Transaction<'_>, &ArmRequest, &str) -> Result<Answer, ArmError>;

pub(crate) struct Version(pub(crate) &'static AssetType);

impl Kind for Version {
    fn resource_type(&self) -> &'static str {
        self.0.version_type
    }

    fn query_parameters(&self, verb: &Verb) -> &'static [&'static str] {
        match verb {
            Verb::List => &[
                "$skip",
                "$top",
                "$orderBy",
                "$tags",
                "listViewType",
                "hash",
                "hashVersion",
            ],
            _ => &[],
        }
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

    fn list(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let wanted = Wanted::read(request)?;
        if wanted.hash.is_some() {
            return self.list_by_hash(transaction, request, &wanted);
        }
        wanted.order.answer(
            transaction,
            request,
            wanted.most,
            |document| wanted.takes(&document.body["properties"]),
            |document| document.body.clone(),
        )
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
            "a version of an asset",
        )?;
        let given = &body["properties"];
        let properties = (self.0.normalise)(&request.id, given)?;
        check_forms(given, &FORMS, "a version of an asset")?;
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
                let unproven = &transaction.settings.world.unproven;
                self.check_unchanged(&found, given, &properties, unproven)?;
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
        Ok(super::delete_at_once(transaction, &request.id))
    }

    fn act(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
        action: &str,
    ) -> Result<Answer, ArmError> {
        match self.0.act {
            Some(act) => act(transaction, request, action),
            None => Err(super::not_allowed(&format!(
                "POST {action} of a {} version",
                self.0.noun
            ))),
        }
    }
}

/// What a LIST of versions asks for.
struct Wanted<'a> {
    order: ListOrder,
    most: usize,
    archived: Option<bool>,
    tags: &'a str,
    hash: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn read(request: &'a ArmRequest) -> Result<Self, ArmError> {
        let part = |name| request.query.get(name).filter(|text| !text.is_empty());
        Ok(Self {
            order: ListOrder::of_versions(part("$orderBy").unwrap_or_default()),
            most: super::most_wanted(request, "$top")?,
            archived: archived_wanted(request)?,
            tags: part("$tags").unwrap_or_default(),
            hash: part("hash"),
        })
    }

    fn takes(&self, properties: &Value) -> bool {
        self.archived
            .is_none_or(|archived| (properties["isArchived"] == true) == archived)
            && has_all(&properties["tags"], self.tags)
            && self
                .hash
                .is_none_or(|hash| properties["properties"]["hash_sha256"] == hash)
    }
}

/// Key of the workspace that an id is in.
fn home_of(id: &ResourceId) -> String {
    let mut home = id.clone();
    home.segments.truncate(1);
    home.key()
}

/// Whether an object of strings has all that a list such as `a,b=c` names, with the values it gives.
pub(crate) fn has_all(texts: &Value, asked: &str) -> bool {
    asked
        .split(',')
        .filter(|one| !one.is_empty())
        .all(|one| match one.split_once('=') {
            Some((name, value)) => texts[name] == value,
            None => texts.get(one).is_some(),
        })
}

/// What `listViewType` asks for; active ones where it does not say.
pub(crate) fn archived_wanted(request: &ArmRequest) -> Result<Option<bool>, ArmError> {
    match request.query.get("listViewType").unwrap_or("ActiveOnly") {
        "ActiveOnly" => Ok(Some(false)),
        "ArchivedOnly" => Ok(Some(true)),
        "All" => Ok(None),
        other => Err(ArmError::user(format!(
            "The list view type '{other}' is not one of ActiveOnly, ArchivedOnly, All."
        ))),
    }
}

impl Version {
    /// A hash is looked for under every name (contract section 8, the specification's own words).
    fn list_by_hash(
        &self,
        transaction: &Transaction<'_>,
        request: &ArmRequest,
        wanted: &Wanted<'_>,
    ) -> Result<Answer, ArmError> {
        let after = paging::position(request)?;
        let home = home_of(&request.id);
        let found = transaction
            .state
            .documents
            .of_type(self.0.version_type)
            .into_iter()
            .filter(|one| home_of(&one.id) == home && Some(one.number) > after)
            .filter(|one| wanted.takes(&one.body["properties"]))
            .take(wanted.most);
        Ok(Answer::ok(paging::page(
            transaction.settings,
            request,
            found,
            |document| document.body.clone(),
        )))
    }

    fn check_unchanged(
        &self,
        found: &Document,
        given: &Value,
        properties: &Value,
        unproven: &Unproven,
    ) -> Result<(), ArmError> {
        let changed: Vec<&str> = self
            .0
            .immutable
            .iter()
            .copied()
            .chain(KEPT.into_iter().filter(|field| !given[field].is_null()))
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
        )
        .with_status(unproven.immutable_asset_status()))
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
