//! A dataset as Azure ML knows it: `workspaces/data/versions` (contract section 8). Versions are immutable and shared.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::ownership::Tags;
use super::{AzureKind, Drift, Health, LeavingRule, Scene, Standing, Wanted};
use crate::api::{ConditionType, DatasetType, Reason};
use crate::azure::ResourceId;
use crate::cluster::Place;

pub struct DataAsset;

#[derive(Clone, Debug, Serialize)]
pub struct Want {
    pub properties: WantProperties,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WantProperties {
    pub data_type: &'static str,
    pub data_uri: String,
    pub tags: Tags,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Have {
    pub properties: HaveProperties,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HaveProperties {
    #[serde(default)]
    pub data_uri: Option<String>,
}

/// The API's word for a type, in the wire's spelling; job inputs use the same words (contract sections 7 and 8).
pub(super) fn wire_type(kind: DatasetType) -> &'static str {
    match kind {
        DatasetType::UriFolder => "uri_folder",
        DatasetType::UriFile => "uri_file",
        DatasetType::MlTable => "mltable",
    }
}

impl AzureKind for DataAsset {
    const NAME: &'static str = "DataAsset";
    const RESOURCE_TYPE: &'static str =
        "Microsoft.MachineLearningServices/workspaces/data/versions";
    const API_VERSION: &'static str = super::MACHINE_LEARNING_API_VERSION;
    const STAGE: ConditionType = ConditionType::DatasetsReady;
    const AFTER: &'static [&'static str] = &[];
    const LEAVING: LeavingRule = LeavingRule::Stay;
    const CONFLICT: Reason = Reason::DatasetConflict;
    type Want = Want;
    type Have = Have;

    fn want(scene: &Scene<'_>) -> Vec<Wanted<Want>> {
        let datasets = scene.cluster.datasets.iter();
        datasets
            .map(|dataset| Wanted {
                id: dataset.id.clone(),
                standing: match &dataset.uri {
                    None => Standing::Use {
                        absent: Reason::DatasetNotFound,
                    },
                    Some(uri) => Standing::Shared(Want {
                        properties: WantProperties {
                            data_type: wire_type(dataset.kind),
                            data_uri: uri.clone(),
                            tags: scene.cluster.owner.shared_tags(),
                        },
                    }),
                },
            })
            .collect()
    }

    fn places(_: &Place) -> Vec<ResourceId> {
        Vec::new()
    }

    fn drift(want: &Want, have: &Have) -> Drift {
        let held = have.properties.data_uri.as_deref();
        Drift::of_version("uri", &want.properties.data_uri, held)
    }

    fn health(_: &Have) -> Health {
        Health::Ready
    }
}
