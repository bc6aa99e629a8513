//! `GET /metadata/endpoints`: where the parts of this cloud are, for clients that are told where its
//! Resource Manager is and nothing else (`ARM_CLOUD_METADATA_URL`).

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use crate::answer::Answer;
use crate::azure::{Azure, Settings};
use crate::storage::account;

/// The name of this cloud, as `AZUREML_CURRENT_CLOUD` gives it.
pub(crate) const NAME: &str = "AzureSimulator";

/// Where clients find what [`serve`] tells.
pub(crate) fn url(settings: &Settings) -> String {
    format!(
        "{}/metadata/endpoints?api-version=2019-05-01",
        settings.base_url()
    )
}

/// Needs no token.
pub(crate) async fn serve(State(azure): State<Arc<Azure>>) -> Answer {
    let base = azure.settings.base_url();
    Answer::ok(json!([{
        "name": NAME,
        "portal": "https://portal.azure.com",
        "resourceManager": format!("{base}/"),
        "authentication": {
            "loginEndpoint": format!("{base}/"),
            "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "suffixes": {
            "storage": account::endpoint(&azure.settings),
            "keyVaultDns": "vault.azure.net",
            "acrLoginServer": "azurecr.io",
            "sqlServerHostname": "database.windows.net",
            "azureDataLakeStoreFileSystem": "azuredatalakestore.net",
            "azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
        },
        "graph": "https://graph.windows.net/",
        "graphAudience": "https://graph.windows.net/",
        "media": "https://rest.media.azure.net",
        "batch": "https://batch.core.windows.net/",
        "gallery": "https://gallery.azure.com/",
        "sqlManagement": "https://management.core.windows.net:8443/",
        "activeDirectoryDataLake": "https://datalake.azure.net/",
        "vmImageAliasDoc": "",
    }]))
}
