//! The variables that every process of a job has, and the tools that its environment brings along
//! (contract section 9).

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::arm::cloud_metadata;
use crate::azure::Settings;
use crate::documents::Document;
use crate::kinds;

/// Folder of a world's directory with every tool of the `PATH` but Python.
pub(crate) const WITHOUT_PYTHON: &str = "image-without-python";

pub(crate) fn of_azure_ml(
    settings: &Settings,
    job: &Document,
    properties: &Value,
) -> BTreeMap<String, String> {
    let home = job.id.root();
    let experiment = properties["experimentName"].as_str().unwrap_or_default();
    let guid = kinds::workspace_guid(&home);
    let experiment_id = Uuid::new_v5(&guid, experiment.as_bytes()).to_string();
    let base = settings.base_url();
    let bundle = settings.directory.join("ca-bundle.crt");
    let id = job.id.name();
    let group = home.resource_group.as_deref().unwrap_or_default();
    [
        ("AZUREML_RUN_ID", id),
        ("AZUREML_ARM_SUBSCRIPTION", home.subscription.as_str()),
        ("AZUREML_ARM_RESOURCEGROUP", group),
        ("AZUREML_ARM_WORKSPACE_NAME", home.name()),
        ("AZUREML_ARM_PROJECT_NAME", experiment),
        ("AZUREML_EXPERIMENT_ID", &experiment_id),
        ("AZUREML_WORKSPACE_ID", &guid.to_string()),
        ("AZUREML_SERVICE_ENDPOINT", &base),
        (
            "AZUREML_DISCOVERY_SERVICE_ENDPOINT",
            &format!("{base}/discovery"),
        ),
        (
            "MLFLOW_TRACKING_URI",
            &format!("azureml://{}/mlflow/v1.0{home}?", settings.authority),
        ),
        ("MLFLOW_RUN_ID", id),
        ("MLFLOW_EXPERIMENT_ID", &experiment_id),
        ("MLFLOW_EXPERIMENT_NAME", experiment),
        // Not Azure's: what clients within the job need to find this cloud and to trust it.
        ("SSL_CERT_FILE", &bundle.to_string_lossy()),
        ("REQUESTS_CA_BUNDLE", &bundle.to_string_lossy()),
        ("AZUREML_CURRENT_CLOUD", cloud_metadata::NAME),
        ("ARM_CLOUD_METADATA_URL", &cloud_metadata::url(settings)),
        ("LANG", "C.UTF-8"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// The folder of the job's image in front of the simulator's own `PATH`.
pub(crate) fn path(settings: &Settings, environment: Option<&Document>) -> String {
    let own = settings.path.clone();
    let Some(environment) = environment else {
        return own;
    };
    let image = environment.body["properties"]["image"].as_str();
    let name = environment
        .id
        .parent()
        .map(|parent| parent.name().to_owned());
    let mapping = settings.world.environments.iter().find(|mapping| {
        let by_image = mapping.image.is_some() && mapping.image.as_deref() == image;
        by_image || (mapping.name.is_some() && mapping.name == name)
    });
    match mapping {
        Some(mapping) if mapping.python == Some(false) => {
            let folder = settings.directory.join(WITHOUT_PYTHON);
            folder.to_string_lossy().into_owned()
        }
        Some(mapping) => match &mapping.path {
            Some(folder) => format!("{}:{own}", folder.display()),
            None => own,
        },
        None => own,
    }
}
