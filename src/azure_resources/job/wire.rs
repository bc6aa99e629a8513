//! The bodies of a command job (contract section 7; recorded exchange `job-get-and-cancel-terminal`).

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::azure_resources::ownership::{Tags, tags_at};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Want {
    pub properties: WantProperties,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WantProperties {
    pub job_type: &'static str,
    pub display_name: String,
    pub experiment_name: String,
    pub tags: Tags,
    pub compute_id: String,
    pub environment_id: String,
    pub command: String,
    pub environment_variables: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Input>,
    pub resources: Resources,
    /// Who reads the data; left out it is who submitted the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<JobIdentity>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobIdentity {
    pub identity_type: &'static str,
    pub resource_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    pub job_input_type: &'static str,
    pub uri: String,
    pub mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    pub instance_count: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Have {
    pub properties: HaveProperties,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HaveProperties {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    experiment_name: Option<String>,
    #[serde(default)]
    properties: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    services: Option<BTreeMap<String, Option<Service>>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Service {
    #[serde(default)]
    endpoint: Option<String>,
}

/// A job's status; words that we do not know are kept (contract section 0, 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStatus {
    NotStarted,
    Starting,
    Provisioning,
    Preparing,
    Queued,
    Running,
    Finalizing,
    CancelRequested,
    Completed,
    Failed,
    Canceled,
    NotResponding,
    Other(String),
}

impl JobStatus {
    fn parse(text: &str) -> Self {
        match text {
            "NotStarted" => Self::NotStarted,
            "Starting" => Self::Starting,
            "Provisioning" => Self::Provisioning,
            "Preparing" => Self::Preparing,
            "Queued" | "Scheduled" => Self::Queued,
            "Running" => Self::Running,
            "Finalizing" => Self::Finalizing,
            "CancelRequested" => Self::CancelRequested,
            "Completed" => Self::Completed,
            "Failed" => Self::Failed,
            "Canceled" => Self::Canceled,
            "NotResponding" => Self::NotResponding,
            other => Self::Other(other.to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::NotStarted => "NotStarted",
            Self::Starting => "Starting",
            Self::Provisioning => "Provisioning",
            Self::Preparing => "Preparing",
            Self::Queued => "Queued",
            Self::Running => "Running",
            Self::Finalizing => "Finalizing",
            Self::CancelRequested => "CancelRequested",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
            Self::NotResponding => "NotResponding",
            Self::Other(other) => other,
        }
    }

    /// Ended for good: the id is spent.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }

    /// On its way out, but not gone.
    pub fn is_leaving(&self) -> bool {
        matches!(self, Self::CancelRequested | Self::Finalizing)
    }

    /// Its command has not begun: cancelling it costs nobody anything.
    pub fn has_not_started(&self) -> bool {
        matches!(
            self,
            Self::NotStarted | Self::Starting | Self::Provisioning | Self::Preparing | Self::Queued
        )
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What we read of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobFacts {
    /// The job's id, as Azure spells it.
    pub id: String,
    pub status: JobStatus,
    pub tags: Tags,
    pub experiment: Option<String>,
    pub studio_url: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
}

/// Tag of a worker job: the id of the head job whose scheduler it serves.
pub(super) const HEAD_TAG: &str = "dask-azureml-head";

impl JobFacts {
    /// Reads a body of GET or LIST; `None` when it is no job that we could read.
    pub fn read(body: &Value) -> Option<Self> {
        let have: Have = serde_json::from_value(body.clone()).ok()?;
        let properties = have.properties;
        let time = |name: &str| {
            let text = properties.properties.as_ref()?.get(name)?.as_str()?;
            parse_time(text)
        };
        Some(Self {
            id: body.get("name")?.as_str()?.to_owned(),
            status: JobStatus::parse(properties.status.as_deref().unwrap_or("Unknown")),
            tags: tags(body),
            experiment: properties.experiment_name.clone(),
            studio_url: properties
                .services
                .as_ref()
                .and_then(|services| services.get("Studio")?.as_ref()?.endpoint.clone()),
            started_at: time("StartTimeUtc"),
            ended_at: time("EndTimeUtc"),
            created_at: body
                .pointer("/systemData/createdAt")
                .and_then(Value::as_str)
                .and_then(parse_time),
        })
    }

    /// Cancelled while it was queued or prepared: Azure ML names no start for it.
    pub fn was_cancelled_before_it_started(&self) -> bool {
        self.status == JobStatus::Canceled && self.started_at.is_none()
    }

    /// A worker that completes was retired, and one that was cancelled before it started was told to go.
    pub fn has_failed_as_worker(&self) -> bool {
        matches!(self.status, JobStatus::Failed | JobStatus::Canceled)
            && !self.was_cancelled_before_it_started()
    }

    /// A head's scheduler was there once, also where the job waits for a node again.
    pub fn has_published(&self) -> bool {
        self.tags.contains_key("scheduler")
    }

    /// The head job that this worker job serves.
    pub fn head(&self) -> Option<&str> {
        self.tags.get(HEAD_TAG).map(String::as_str)
    }
}

/// A job without what it was given to run, which nobody reads back: most of its size, and of ten thousand jobs most of
/// what would be held.
pub fn without_payload(mut body: Value) -> Value {
    if let Some(properties) = body.get_mut("properties").and_then(Value::as_object_mut) {
        for payload in PAYLOAD {
            properties.remove(payload);
        }
    }
    body
}

const PAYLOAD: [&str; 4] = ["command", "environmentVariables", "inputs", "outputs"];

/// The tags of a job stand inside its properties.
pub fn tags(body: &Value) -> Tags {
    tags_at(body.pointer("/properties/tags"))
}

/// Azure ML writes `2025-11-04 09:28:29` in run properties and RFC 3339 elsewhere (contract section 7).
fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}
