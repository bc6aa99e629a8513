//! Step 1: DaskCluster → [`ValidCluster`] or [`SpecErrors`]. Pure.
//!
//! The API server has already held the spec to its schema and CEL rules; here stand the rules that neither can
//! say, and the meaning of what was left out.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use ipnet::Ipv4Net;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sha2::{Digest, Sha256};

use crate::api::{
    Autoscaling, BudgetAction, CreationPolicy, DaskCluster, Dataset, DatasetMode, DatasetType,
    DriftPolicy, EnvVar, Environment, HeadComputePolicy, IdleAction, Priority, UpdatePolicy,
};
use crate::azure::{InvalidResourceId, ResourceId};
use crate::azure_resources::ownership::{Owner, Tags};
use crate::cluster::Place;
use crate::quantity;

/// What the manifest asks for; the input of every later step.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    Cluster(Box<ValidCluster>),
    /// The DaskCluster is being deleted.
    Nothing(Box<Place>),
    /// The manifest cannot be understood: touch nothing.
    Unknown(SpecErrors),
}

/// What is wrong with a spec, all of it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecErrors(pub Vec<SpecError>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The field, e.g. `spec.environment.condaFile`.
    pub path: String,
    pub message: String,
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", error.path, error.message)?;
        }
        Ok(())
    }
}

/// A manifest that means something, with everything filled in. Only [`validate`] builds one.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidCluster {
    pub place: Place,
    pub owner: Owner,
    pub user_tags: Tags,
    pub drift_policy: DriftPolicy,
    pub network: Option<ValidNetwork>,
    pub compute: ValidCompute,
    pub environment: ValidEnvironment,
    pub datasets: Vec<ValidDataset>,
    pub experiment_name: String,
    pub scheduler: ValidScheduler,
    pub worker: ValidWorker,
    pub autoscaling: Option<Autoscaling>,
    pub suspend: bool,
    /// What happens when the cluster has been idle for so long; `None` is never.
    pub idle: Option<ValidIdle>,
    pub max_lifetime: Option<SignedDuration>,
    pub budget: Option<ValidBudget>,
    pub update_policy: UpdatePolicy,
    /// Held so that nothing but [`validate`] makes one of these.
    _validated: Validated,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Validated;

#[derive(Clone, Debug, PartialEq)]
pub struct ValidNetwork {
    /// Both set where the network is ours to make.
    pub address_prefix: Option<Ipv4Net>,
    pub subnet_address_prefix: Option<Ipv4Net>,
    pub node_public_ip: bool,
    /// The network is there and is taken over.
    pub adopt: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ValidCompute {
    /// Set where the pool is ours to make, and where one that is taken over must have it.
    pub vm_size: Option<String>,
    /// ARM ids of user-assigned identities of a pool that is ours to make.
    pub identities: Vec<String>,
    /// The pool is there and is taken over.
    pub adopt: bool,
    pub priority: Priority,
    pub min_nodes: u32,
    pub max_nodes: u32,
    pub idle_seconds_before_scale_down: u32,
}

/// An environment version, by id.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidEnvironment {
    pub id: ResourceId,
    /// What it is made of; `None` for one that is registered already.
    pub definition: Option<EnvironmentDefinition>,
    /// What the manifest says of it, as JSON: another default of the operator is no change of the spec.
    pub written: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentDefinition {
    pub image: String,
    pub conda_file: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ValidDataset {
    pub name: String,
    pub version: String,
    pub id: ResourceId,
    /// `None` for one that is registered already.
    pub uri: Option<String>,
    pub kind: DatasetType,
    pub mode: DatasetMode,
    pub path: Option<String>,
}

/// The pool of the head alone. Whose it is stands in [`Place::head_compute`].
#[derive(Clone, Debug, PartialEq)]
pub struct ValidHeadCompute {
    /// Set where the pool is ours to make.
    pub vm_size: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ValidScheduler {
    pub compute: Option<ValidHeadCompute>,
    pub run_worker: bool,
    pub jupyter: bool,
    pub env: BTreeMap<String, String>,
    pub start_timeout_seconds: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ValidWorker {
    /// Worker nodes beside the head.
    pub replicas: u32,
    pub threads: Option<u32>,
    /// Bytes.
    pub memory_limit: Option<u64>,
    pub env: BTreeMap<String, String>,
    /// From the start of the job until the worker has registered.
    pub start_timeout: SignedDuration,
    /// How long a worker is kept whose data fits nowhere else; `None` is as long as it takes.
    pub scale_down_grace: Option<SignedDuration>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValidIdle {
    pub timeout: SignedDuration,
    pub action: IdleAction,
}

/// Amounts in the currency of Azure's prices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValidBudget {
    pub max_per_hour: Option<f64>,
    pub max_total: Option<f64>,
    pub action: BudgetAction,
}

/// What the operator's settings contribute to the meaning of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The operator instance, as the tags name it.
    pub instance: String,
    /// What a manifest without an `environment` runs in; its image also goes with a lone `condaFile`.
    pub environment: EnvironmentDefinition,
}

impl ValidCluster {
    /// Dask workers that the manifest asks for, the head's own among them.
    pub fn desired_dask_workers(&self) -> u32 {
        self.worker.replicas + u32::from(self.scheduler.run_worker)
    }

    /// Nodes of the workers' pool that the head takes.
    pub fn head_nodes(&self) -> u32 {
        u32::from(self.scheduler.compute.is_none())
    }
}

/// # Errors
/// Every rule that the spec breaks.
pub fn validate(cluster: &DaskCluster, defaults: &Defaults) -> Result<ValidCluster, SpecErrors> {
    let mut errors = Vec::new();
    let mut refuse = |path: &str, message: String| {
        errors.push(SpecError {
            path: path.into(),
            message,
        })
    };
    let spec = &cluster.spec;
    let place = match Place::of(cluster) {
        Ok(place) => place,
        Err(error) => {
            refuse("spec", error.to_string());
            return Err(SpecErrors(errors));
        }
    };
    let network = spec.network.as_ref().map(|network| {
        let mut prefix = |path: &str, text: Option<&String>| {
            let text = text?;
            text.parse::<Ipv4Net>()
                .map_err(|_| refuse(path, format!("'{text}' is no IPv4 range in CIDR notation")))
                .ok()
        };
        ValidNetwork {
            address_prefix: prefix(
                "spec.network.virtualNetwork.addressPrefix",
                network.virtual_network.address_prefix.as_ref(),
            ),
            subnet_address_prefix: prefix(
                "spec.network.subnet.addressPrefix",
                network.subnet.address_prefix.as_ref(),
            ),
            node_public_ip: network.node_public_ip,
            adopt: network.creation_policy == CreationPolicy::Adopt,
        }
    });
    let memory_limit = spec.worker.memory_limit.as_ref().and_then(|limit| {
        quantity::bytes(&limit.0)
            .map_err(|error| refuse("spec.worker.memoryLimit", error.to_string()))
            .ok()
    });
    let budget = spec.budget.as_ref().map(|budget| {
        let mut amount = |path: &str, amount: Option<&Quantity>| {
            quantity::number(&amount?.0)
                .map_err(|error| refuse(path, error.to_string()))
                .ok()
        };
        ValidBudget {
            max_per_hour: amount("spec.budget.maxPerHour", budget.max_per_hour.as_ref()),
            max_total: amount("spec.budget.maxTotal", budget.max_total.as_ref()),
            action: budget.action,
        }
    });
    if let Some(conda_file) = spec
        .environment
        .as_ref()
        .and_then(|environment| environment.conda_file.as_ref())
        && let Err(message) = check_conda_file(conda_file)
    {
        refuse("spec.environment.condaFile", message);
    }
    let environment = environment(spec.environment.as_ref(), &place, defaults);
    let datasets: Result<Vec<_>, _> = spec
        .datasets
        .iter()
        .map(|dataset| valid_dataset(dataset, &place))
        .collect();
    let (environment, datasets) = match (environment, datasets) {
        (Ok(environment), Ok(datasets)) if errors.is_empty() => (environment, datasets),
        (environment, datasets) => {
            let ids = [
                ("spec.environment", environment.err()),
                ("spec.datasets", datasets.err()),
            ];
            errors.extend(ids.into_iter().filter_map(|(path, error)| {
                Some(SpecError {
                    path: path.into(),
                    message: error?.to_string(),
                })
            }));
            return Err(SpecErrors(errors));
        }
    };
    let owned = spec.compute.creation_policy != CreationPolicy::UseExisting;
    Ok(ValidCluster {
        owner: Owner {
            uid: place.identity.uid.clone(),
            instance: defaults.instance.clone(),
            cluster: place.identity.to_string(),
        },
        user_tags: spec.tags.clone(),
        drift_policy: spec.drift_policy,
        network,
        compute: ValidCompute {
            vm_size: spec.compute.vm_size.clone().filter(|_| owned),
            identities: spec
                .compute
                .identity
                .as_ref()
                .filter(|_| owned)
                .map(|identity| identity.user_assigned.clone())
                .unwrap_or_default(),
            adopt: spec.compute.creation_policy == CreationPolicy::Adopt,
            priority: spec.compute.priority,
            min_nodes: spec.compute.min_nodes,
            max_nodes: spec.compute.max_nodes,
            idle_seconds_before_scale_down: spec.compute.idle_seconds_before_scale_down,
        },
        environment,
        datasets,
        experiment_name: spec.experiment_name.clone(),
        scheduler: ValidScheduler {
            compute: spec
                .scheduler
                .compute
                .as_ref()
                .map(|compute| ValidHeadCompute {
                    vm_size: compute
                        .vm_size
                        .clone()
                        .or_else(|| spec.compute.vm_size.clone())
                        .filter(|_| compute.creation_policy == HeadComputePolicy::Create),
                }),
            run_worker: spec.scheduler.run_worker,
            jupyter: spec.scheduler.jupyter,
            env: env(&spec.scheduler.env),
            start_timeout_seconds: spec.scheduler.start_timeout_seconds,
        },
        worker: ValidWorker {
            replicas: spec.worker.replicas,
            threads: spec.worker.threads,
            memory_limit,
            env: env(&spec.worker.env),
            start_timeout: SignedDuration::from_secs(spec.worker.start_timeout_seconds.into()),
            scale_down_grace: spec
                .worker
                .scale_down_grace_seconds
                .map(|seconds| SignedDuration::from_secs(seconds.into())),
        },
        autoscaling: spec.autoscaling,
        suspend: spec.suspend,
        idle: (spec.idle_timeout_seconds > 0).then(|| ValidIdle {
            timeout: SignedDuration::from_secs(spec.idle_timeout_seconds.into()),
            action: spec.idle_action.unwrap_or_default(),
        }),
        max_lifetime: spec
            .max_lifetime_seconds
            .map(|seconds| SignedDuration::from_secs(seconds.into())),
        budget,
        update_policy: spec.update_policy,
        place,
        _validated: Validated,
    })
}

fn env(variables: &[EnvVar]) -> BTreeMap<String, String> {
    variables
        .iter()
        .map(|variable| {
            (
                variable.name.clone(),
                variable.value.clone().unwrap_or_default(),
            )
        })
        .collect()
}

/// Version of a dataset that names a `uri` but no version (api-fields: no default in the schema, since a dataset
/// without a `uri` must name one).
const FIRST_VERSION: &str = "1";

fn valid_dataset(dataset: &Dataset, place: &Place) -> Result<ValidDataset, InvalidResourceId> {
    let version = dataset
        .version
        .clone()
        .unwrap_or_else(|| FIRST_VERSION.to_owned());
    Ok(ValidDataset {
        id: place
            .workspace
            .child("data", &dataset.name)?
            .child("versions", &version)?,
        name: dataset.name.clone(),
        version,
        uri: dataset.uri.clone(),
        kind: dataset.type_,
        mode: dataset.mode,
        path: dataset.path.clone(),
    })
}

/// Name of the environments that we register. The version is the hash of the content, so equal definitions share
/// one version and one image build, and a version never changes.
const ENVIRONMENT_NAME: &str = "dask-azureml";

fn environment(
    spec: Option<&Environment>,
    place: &Place,
    defaults: &Defaults,
) -> Result<ValidEnvironment, InvalidResourceId> {
    let version_id = |name: &str, version: &str| {
        place
            .workspace
            .child("environments", name)?
            .child("versions", version)
    };
    let written = spec.map(|spec| serde_json::json!(spec).to_string());
    if let Some(Environment {
        name: Some(name),
        version: Some(version),
        ..
    }) = spec
    {
        return Ok(ValidEnvironment {
            id: version_id(name, version)?,
            definition: None,
            written,
        });
    }
    let definition = match spec {
        None => defaults.environment.clone(),
        Some(spec) => EnvironmentDefinition {
            image: spec
                .image
                .clone()
                .unwrap_or_else(|| defaults.environment.image.clone()),
            conda_file: spec.conda_file.clone(),
        },
    };
    let mut hash = Sha256::new();
    hash.update(definition.image.as_bytes());
    hash.update([0]);
    hash.update(
        definition
            .conda_file
            .as_deref()
            .unwrap_or_default()
            .as_bytes(),
    );
    let version: String = hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(ValidEnvironment {
        id: version_id(ENVIRONMENT_NAME, &version)?,
        definition: Some(definition),
        written,
    })
}

/// Azure ML takes a conda file as YAML text and builds it minutes later: a typo is better told now.
fn check_conda_file(text: &str) -> Result<(), String> {
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| {
        // The lines after the first draw the place.
        let error = error.to_string();
        format!("is no YAML: {}", error.lines().next().unwrap_or_default())
    })?;
    let dependencies = value.as_object().and_then(|map| map.get("dependencies"));
    if dependencies.is_some_and(serde_json::Value::is_array) {
        Ok(())
    } else {
        Err("is no conda environment: a mapping with a list 'dependencies' is expected".into())
    }
}
