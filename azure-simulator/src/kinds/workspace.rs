//! Workspaces: those of the world, read only (contract section 5).

use serde_json::json;
use uuid::Uuid;

use crate::azure::{Settings, Transaction};
use crate::clock::timestamp_text;
use crate::kinds::{Kind, ML, datastore};
use crate::resource_id::ResourceId;
use crate::storage::account::Account;
use crate::world;

pub(crate) struct Workspace;

impl Kind for Workspace {
    fn resource_type(&self) -> &'static str {
        "Microsoft.MachineLearningServices/workspaces"
    }
}

/// The ARM id of a workspace of the world.
pub(crate) fn id_of(settings: &Settings, workspace: &world::Workspace) -> ResourceId {
    let world = &settings.world;
    ResourceId {
        subscription: world.subscription_id.clone(),
        resource_group: Some(world.resource_group_of(workspace).to_owned()),
        provider: ML.to_owned(),
        segments: vec![("workspaces".to_owned(), Some(workspace.name.clone()))],
    }
}

/// The stable `workspaceId` guid of a workspace.
pub(crate) fn guid_of(id: &ResourceId) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, id.key().as_bytes())
}

/// `managedNetwork.isolationMode` is not `Disabled`.
pub(crate) fn has_managed_network(transaction: &Transaction<'_>, id: &ResourceId) -> bool {
    let mut root = id.clone();
    root.segments.truncate(1);
    transaction.state.documents.get(&root).is_some_and(|found| {
        let mode = &found.body["properties"]["managedNetwork"]["isolationMode"];
        mode.as_str().is_some_and(|mode| mode != "Disabled")
    })
}

pub(crate) fn create(transaction: &mut Transaction<'_>, workspace: &world::Workspace) {
    let settings = transaction.settings;
    let world = &settings.world;
    let id = id_of(settings, workspace);
    let group = format!(
        "/subscriptions/{}/resourceGroups/{}/providers",
        world.subscription_id,
        world.resource_group_of(workspace),
    );
    let guid = guid_of(&id);
    let short = &guid.simple().to_string()[..10];
    let managed = workspace.managed_network != "Disabled";
    let created = timestamp_text(transaction.now.timestamp);
    let body = json!({
        "id": id.to_string(),
        "name": workspace.name,
        "type": "Microsoft.MachineLearningServices/workspaces",
        "location": world.location,
        "tags": {},
        "etag": null,
        "kind": "Default",
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": {
            "type": "SystemAssigned",
            "principalId": Uuid::new_v5(&guid, b"principal"),
            "tenantId": world.tenant_id,
        },
        "systemData": {
            "createdAt": created, "createdBy": "azure-simulator",
            "createdByType": "Application", "lastModifiedAt": created,
            "lastModifiedBy": "azure-simulator", "lastModifiedByType": "Application",
        },
        "properties": {
            "workspaceId": guid,
            "friendlyName": workspace.name,
            "description": "",
            "storageAccount": Account::of(&id).arm_id(),
            "keyVault": format!("{group}/Microsoft.KeyVault/vaults/kv{short}"),
            "applicationInsights": format!("{group}/microsoft.insights/components/ai{short}"),
            "containerRegistry": null,
            "discoveryUrl": format!("{}/discovery", settings.base_url()),
            "mlFlowTrackingUri": format!("azureml://{}/mlflow/v1.0{id}", settings.authority),
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "hbiWorkspace": false,
            "imageBuildCompute": null,
            "tenantId": world.tenant_id,
            "v1LegacyMode": false,
            "privateLinkCount": 0,
            "allowPublicAccessWhenBehindVnet": false,
            "managedNetwork": {
                "isolationMode": workspace.managed_network,
                "status": {"status": if managed { "Active" } else { "Inactive" }, "sparkReady": false},
                "networkId": if managed { Some(Uuid::new_v5(&guid, b"network")) } else { None },
                "outboundRules": {},
            },
            "systemDatastoresAuthMode": "AccessKey",
        },
    });
    transaction.state.documents.insert(id.clone(), body);
    datastore::create_defaults(transaction, &id);
}
