//! What the containers run in: `workspaces/environments/versions` (contract section 8). Versions are immutable and shared.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::ownership::Tags;
use super::{AzureKind, Drift, Health, LeavingRule, Scene, Standing, Wanted};
use crate::api::{ConditionType, Reason};
use crate::azure::ResourceId;
use crate::cluster::Place;

pub struct Environment;

#[derive(Clone, Debug, Serialize)]
pub struct Want {
    pub properties: WantProperties,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WantProperties {
    pub image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conda_file: Option<String>,
    pub os_type: &'static str,
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
    pub image: Option<String>,
}

impl AzureKind for Environment {
    const NAME: &'static str = "Environment";
    const RESOURCE_TYPE: &'static str =
        "Microsoft.MachineLearningServices/workspaces/environments/versions";
    const API_VERSION: &'static str = super::MACHINE_LEARNING_API_VERSION;
    const STAGE: ConditionType = ConditionType::EnvironmentReady;
    const AFTER: &'static [&'static str] = &[];
    const LEAVING: LeavingRule = LeavingRule::Stay;
    const CONFLICT: Reason = Reason::EnvironmentConflict;
    type Want = Want;
    type Have = Have;

    fn want(scene: &Scene<'_>) -> Vec<Wanted<Want>> {
        let environment = &scene.cluster.environment;
        let standing = match &environment.definition {
            None => Standing::Use {
                absent: Reason::EnvironmentNotFound,
            },
            Some(definition) => Standing::Shared(Want {
                properties: WantProperties {
                    image: definition.image.clone(),
                    conda_file: definition.conda_file.clone(),
                    os_type: "Linux",
                    tags: scene.cluster.owner.shared_tags(),
                },
            }),
        };
        vec![Wanted {
            id: environment.id.clone(),
            standing,
        }]
    }

    fn places(_: &Place) -> Vec<ResourceId> {
        Vec::new()
    }

    /// The version's name is the hash of its content, so only somebody else's version of that name differs. The
    /// conda file is not compared: Azure ML may write it anew.
    fn drift(want: &Want, have: &Have) -> Drift {
        let held = have.properties.image.as_deref();
        Drift::of_version("image", &want.properties.image, held)
    }

    fn health(_: &Have) -> Health {
        Health::Ready
    }
}
