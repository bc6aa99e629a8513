//! Storage accounts: one a workspace, which holds the containers of its default datastores.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::azure::{Azure, Settings};
use crate::kinds;
use crate::resource_id::ResourceId;

/// Holds the files of runs, in `ExperimentRun/dcid.{run}/`.
pub(crate) const ARTIFACTS: &str = "azureml";

/// The storage account of a workspace.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    /// The workspace, as it is stored.
    pub(crate) workspace: ResourceId,
}

impl Account {
    pub(crate) fn of(workspace: &ResourceId) -> Self {
        let guid = kinds::workspace_guid(workspace).simple().to_string();
        Self {
            name: format!("st{}", &guid[..10]),
            workspace: workspace.clone(),
        }
    }

    /// The container that the default datastore stands for.
    pub(crate) fn default_container(&self) -> String {
        format!(
            "azureml-blobstore-{}",
            kinds::workspace_guid(&self.workspace)
        )
    }

    /// The account key, in base64; another one in every simulator.
    pub(crate) fn key(&self, settings: &Settings) -> String {
        STANDARD.encode(settings.signing_key.derived(&self.name))
    }

    /// Where the account is reached, with its host as the first part of the path.
    pub(crate) fn url(&self, settings: &Settings) -> String {
        let endpoint = endpoint(settings);
        format!("{}/{}.blob.{endpoint}", settings.base_url(), self.name)
    }

    /// The ARM id that workspaces and uploads name it by.
    pub(crate) fn arm_id(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Storage/storageAccounts/{}",
            self.workspace.subscription,
            self.workspace.resource_group.as_deref().unwrap_or_default(),
            self.name,
        )
    }
}

/// What follows `{account}.blob.` in the host of an account.
pub(crate) fn endpoint(settings: &Settings) -> String {
    let port = settings.authority.rsplit(':').next().unwrap_or_default();
    format!("core.localhost:{port}")
}

/// The account of that name.
pub(crate) fn find(azure: &Azure, name: &str) -> Option<Account> {
    azure.transact(|transaction| {
        transaction
            .state
            .documents
            .of_type("Microsoft.MachineLearningServices/workspaces")
            .into_iter()
            .map(|workspace| Account::of(&workspace.id))
            .find(|account| account.name == name)
    })
}

/// The container of an upload of its own, as `startPendingUpload` gives one.
pub(crate) fn new_upload_container() -> String {
    Uuid::new_v4().to_string()
}
