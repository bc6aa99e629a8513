//! The resource types that this Azure knows, one file each.
//!
//! Here stands what is special about a type: its life cycle, its refusals, its actions. Routing,
//! api-versions, paging and envelopes are in `arm/`; nodes and jobs that run are in `physics/`.

mod asset_container;
mod asset_version;
mod body_checks;
mod code_version;
mod compute;
mod compute_check;
mod compute_view;
mod data_version;
mod datastore;
mod environment_version;
mod job;
mod job_assets;
mod job_bindings;
mod job_check;
mod job_limits;
mod job_resources;
mod job_services;
mod job_update;
mod job_view;
mod list_order;
mod network_operation;
mod network_request;
mod network_security_group;
mod network_state;
mod operation_status;
mod peering;
mod pool_properties;
mod provider;
mod quotas;
mod resource_group;
mod scale_settings;
mod subnet;
mod usages;
mod virtual_network;
pub(crate) mod vm_sizes;
mod workspace;
mod workspace_body;

pub(crate) use compute::set_state as set_compute_state;
pub(crate) use environment_version::needs_image_build;
pub(crate) use job_assets::register as register_outputs;
pub(crate) use job_bindings::DEFAULT_OUTPUT;
pub(crate) use job_check::data_asset;
pub(crate) use job_limits::check_tags as check_job_tags;
pub(crate) use job_services::instances as service_instances;
pub(crate) use job_view::{COMPUTE_TARGET_STATUS, compute_target_status};
pub(crate) use network_state::{subnet_ranges, subnets_of};
pub(crate) use workspace::{
    are_several as are_several_workspaces, guid_of as workspace_guid, has_managed_network,
    is_going as is_workspace_going, set_state as set_workspace_state,
};

/// What exists, as the control port shows it.
pub(crate) mod shown {
    pub(crate) use super::compute_view::view as compute;
    pub(crate) use super::job_view::view as job;
}

use http::StatusCode;
use serde_json::Value;

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::paging;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::documents::{Document, Order};
use crate::resource_id::ResourceId;

pub(crate) const ML: &str = "Microsoft.MachineLearningServices";
pub(crate) const NETWORK: &str = "Microsoft.Network";

/// Api-versions of Microsoft.MachineLearningServices that its clients send (contract section 0).
pub(crate) const ML_VERSIONS: &[&str] = &[
    "2020-08-01",
    "2021-03-01-preview",
    "2022-01-01-preview",
    "2022-02-01-preview",
    "2022-05-01",
    "2022-10-01",
    "2022-10-01-preview",
    "2023-02-01-preview",
    "2023-04-01",
    "2023-04-01-preview",
    "2023-06-01-preview",
    "2023-08-01-preview",
    "2023-10-01",
    "2024-01-01-preview",
    "2024-04-01",
    "2024-04-01-preview",
    "2024-10-01",
    "2024-10-01-preview",
    "2025-01-01-preview",
    "2025-06-01",
    "2025-09-01",
    "2025-12-01",
    "2026-05-01",
];

/// Api-versions of Microsoft.Network that its clients send.
pub(crate) const NETWORK_VERSIONS: &[&str] = &[
    "2023-09-01",
    "2023-11-01",
    "2024-01-01",
    "2024-03-01",
    "2024-05-01",
    "2024-07-01",
    "2024-10-01",
    "2025-01-01",
    "2025-03-01",
    "2025-05-01",
    "2026-01-01",
    "2026-03-01",
];

/// A resource type with what is special about it.
pub(crate) trait Kind: Sync {
    /// Such as `Microsoft.Network/virtualNetworks`.
    fn resource_type(&self) -> &'static str;

    fn api_versions(&self) -> &'static [&'static str] {
        ML_VERSIONS
    }

    /// Parameters beside `api-version`.
    fn query_parameters(&self, verb: &Verb) -> &'static [&'static str] {
        match verb {
            Verb::List => &[paging::SKIP],
            _ => &[],
        }
    }

    /// What a GET shows of a stored document.
    fn view(&self, _: &Transaction<'_>, document: &Document) -> Value {
        document.body.clone()
    }

    /// What a write can change, for telling writes that change nothing.
    fn stored(&self, transaction: &Transaction<'_>, id: &ResourceId) -> Option<Value> {
        transaction
            .state
            .documents
            .get(id)
            .map(|document| document.body.clone())
    }

    fn not_found(&self, id: &ResourceId) -> ArmError {
        ArmError::resource_not_found(id)
    }

    fn get(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        match transaction.state.documents.get(&request.id) {
            Some(document) => Ok(Answer::ok(self.view(transaction, document))),
            None => Err(self.not_found(&request.id)),
        }
    }

    fn list(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let after = paging::position(request)?;
        let documents = &transaction.state.documents;
        let everywhere = request.id.resource_group.is_none();
        let found: Box<dyn Iterator<Item = &Document>> = if everywhere {
            let all = documents.of_type(self.resource_type());
            Box::new(all.into_iter().filter(move |d| Some(d.number) > after))
        } else {
            Box::new(documents.members(&request.id, Order::OldestFirst, after))
        };
        Ok(Answer::ok(paging::page(
            transaction.settings,
            request,
            found,
            |document| self.view(transaction, document),
        )))
    }

    fn put(&self, _: &mut Transaction<'_>, request: &ArmRequest) -> Result<Answer, ArmError> {
        Err(not_allowed(&format!(
            "PUT of {}",
            request.id.resource_type()
        )))
    }

    fn patch(&self, _: &mut Transaction<'_>, request: &ArmRequest) -> Result<Answer, ArmError> {
        Err(not_allowed(&format!(
            "PATCH of {}",
            request.id.resource_type()
        )))
    }

    fn delete(&self, _: &mut Transaction<'_>, request: &ArmRequest) -> Result<Answer, ArmError> {
        Err(not_allowed(&format!(
            "DELETE of {}",
            request.id.resource_type()
        )))
    }

    fn act(
        &self,
        _: &mut Transaction<'_>,
        request: &ArmRequest,
        action: &str,
    ) -> Result<Answer, ArmError> {
        Err(not_allowed(&format!(
            "POST {action} of {}",
            request.id.resource_type()
        )))
    }
}

/// Every type, in no order that matters.
static KINDS: &[&dyn Kind] = &[
    &resource_group::ResourceGroup,
    &provider::Provider,
    &workspace::Workspace,
    &virtual_network::VirtualNetwork,
    &subnet::Subnet,
    &peering::Peering,
    &network_security_group::NetworkSecurityGroup,
    &compute::AmlCompute,
    &job::Job,
    &datastore::Datastore,
    &asset_container::Container(&data_version::DATA),
    &asset_version::Version(&data_version::DATA),
    &asset_container::Container(&environment_version::ENVIRONMENT),
    &asset_version::Version(&environment_version::ENVIRONMENT),
    &asset_container::Container(&code_version::CODE),
    &asset_version::Version(&code_version::CODE),
    &vm_sizes::VmSizes,
    &usages::Usages,
    &quotas::Quotas,
    &quotas::Location,
    &operation_status::COMPUTE_OPERATIONS,
    &operation_status::WORKSPACE_OPERATIONS,
    &operation_status::JOB_CANCELLATIONS,
    &operation_status::NETWORK_OPERATIONS,
    &operation_status::NETWORK_RESULTS,
];

pub(crate) fn find(id: &ResourceId) -> Option<&'static dyn Kind> {
    let wanted = if id.segments.is_empty() {
        id.resource_group.as_ref()?;
        "Microsoft.Resources/resourceGroups".to_owned()
    } else {
        id.resource_type()
    };
    KINDS
        .iter()
        .copied()
        .find(|kind| kind.resource_type().eq_ignore_ascii_case(&wanted))
}

/// Every type, for whoever lists them.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn Kind> {
    KINDS.iter().copied()
}

pub(crate) fn knows_provider(namespace: &str) -> bool {
    [ML, NETWORK, "Microsoft.Resources"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(namespace))
}

/// A verb or action that the simulator does not have for a type.
pub(crate) fn not_allowed(what: &str) -> ArmError {
    ArmError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        format!("{what} is not simulated."),
    )
    .refusing(what)
}

/// Deletes what goes at once: 200, or 204 where nothing is there.
pub(crate) fn delete_at_once(transaction: &mut Transaction<'_>, id: &ResourceId) -> Answer {
    Answer::empty(match transaction.state.documents.remove(&id.key()) {
        Some(_) => StatusCode::OK,
        None => StatusCode::NO_CONTENT,
    })
}

/// One write at a time to a resource; `what` names its kind.
pub(crate) fn check_settled(found: &Document, what: &str) -> Result<(), ArmError> {
    let state = &found.body["properties"]["provisioningState"];
    if state == "Succeeded" || state == "Failed" {
        return Ok(());
    }
    Err(ArmError::new(
        StatusCode::CONFLICT,
        "Conflict",
        format!(
            "The {what} '{}' is being changed: its provisioning state is {}.",
            found.id.name(),
            state.as_str().unwrap_or_default(),
        ),
    ))
}

/// The number that a LIST names as `parameter`, such as `$top`: how many it wants at most.
pub(crate) fn most_wanted(request: &ArmRequest, parameter: &str) -> Result<usize, ArmError> {
    match request.query.get(parameter).filter(|text| !text.is_empty()) {
        None => Ok(usize::MAX),
        Some(text) => text
            .parse()
            .map_err(|_| ArmError::user(format!("'{parameter}' must be a number."))),
    }
}

/// Puts the world's resource groups and workspaces in place.
pub(crate) fn create_what_exists(transaction: &mut Transaction<'_>) {
    let world = transaction.settings.world.clone();
    for group in &world.resource_groups {
        resource_group::create(transaction, group);
    }
    for workspace in &world.workspaces {
        workspace::create(transaction, workspace);
    }
}

/// A write to a network or subnet has come through.
pub(crate) fn network_written(transaction: &mut Transaction<'_>, network: &ResourceId) {
    network_state::set_state(transaction, network, "Succeeded");
    network_state::renew_etag(transaction, &network.key());
}

/// A write to a network or subnet has failed.
pub(crate) fn network_failed(transaction: &mut Transaction<'_>, network: &ResourceId) {
    network_state::set_state(transaction, network, "Failed");
    network_state::renew_etag(transaction, &network.key());
}

/// A network's time to go has come.
pub(crate) fn network_deleted(transaction: &mut Transaction<'_>, network: &ResourceId) {
    let subnets: Vec<String> = subnets_of(transaction, network)
        .map(|subnet| subnet.id.key())
        .collect();
    peering::disconnect(transaction, network);
    let peerings = peering::keys_of(transaction, network);
    for child in subnets.into_iter().chain(peerings) {
        transaction.state.documents.remove(&child);
    }
    transaction.state.documents.remove(&network.key());
}

/// `systemData` of a resource that `author` made or changed now.
pub(crate) fn system_data(
    transaction: &Transaction<'_>,
    request: &ArmRequest,
    before: Option<&Value>,
) -> Value {
    let now = crate::clock::timestamp_text(transaction.now.timestamp);
    let author = request.principal.display_name();
    let created = |name: &str, fallback: &str| {
        before
            .and_then(|data| data.get(name))
            .cloned()
            .unwrap_or_else(|| Value::from(fallback))
    };
    serde_json::json!({
        "createdAt": created("createdAt", &now),
        "createdBy": created("createdBy", author),
        "createdByType": created("createdByType", "Application"),
        "lastModifiedAt": now,
        "lastModifiedBy": author,
        "lastModifiedByType": "Application",
    })
}
