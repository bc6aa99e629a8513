//! How this Azure behaves where Azure is not the same every time, or where it is not known: parts of
//! the world file.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

/// Most nodes of a pool without asking Azure for more (contract section 6). Every pool that a PUT
/// makes takes Mpi jobs, which only a communication-enabled pool does: the limit of 100 nodes of
/// those that are not has no pool to apply to.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolNodeLimits {
    /// Of a communication-enabled pool.
    pub communication: u64,
    /// Of one whose VM size has RDMA, which its name tells by an `r` (`Standard_NC24rs_v3`).
    pub rdma: u64,
}

impl Default for PoolNodeLimits {
    fn default() -> Self {
        Self {
            communication: 300,
            rdma: 100,
        }
    }
}

impl PoolNodeLimits {
    /// The limit of pools of a VM size, as `vmSizes` lists it.
    pub(crate) fn of_size(self, size: &Value) -> u64 {
        let name = size["name"].as_str().unwrap_or_default();
        let features = name
            .trim_start_matches("Standard_")
            .trim_start_matches(|c: char| c.is_ascii_uppercase())
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '-')
            .split('_')
            .next();
        if features.is_some_and(|features| features.contains('r')) {
            self.rdma
        } else {
            self.communication
        }
    }
}

/// What clients are told while an operation runs, where Azure is not the same every time.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LongRunning {
    /// `status` of an operation that has not ended: any word that is none of the three final ones.
    pub running_status: String,
    /// `Retry-After` of every answer that begins an operation; without it clients take their own
    /// interval, as with the recorded answers.
    pub retry_after_seconds: Option<u64>,
    /// How a write to a network is refused while another one is under way.
    pub network_conflict: NetworkConflict,
}

impl Default for LongRunning {
    fn default() -> Self {
        Self {
            running_status: "InProgress".to_owned(),
            retry_after_seconds: None,
            network_conflict: NetworkConflict::default(),
        }
    }
}

/// Numbers and words of answers that neither the contract nor a published answer of Azure proves. No
/// test takes one for granted that it has not set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Unproven {
    /// `Retry-After` of Microsoft.Network's 429, in seconds; 14 of them have been reported once
    /// (cloudfoundry/bosh-azure-cpi-release#179).
    pub network_retry_after_seconds: u64,
    /// HTTP status of a PUT that would change what a job keeps, or that has the id of a job that was
    /// deleted: none of 401, 404 and 409, of which clients make errors of their own (contract
    /// section 7).
    pub immutable_job_status: u16,
    /// HTTP status of a PUT that would change what a version of an asset keeps (contract section 8).
    pub immutable_asset_status: u16,
    /// How jobs end whose compute is deleted (contract section 6).
    pub jobs_of_deleted_compute: EndOfJobs,
    /// Whether `errors` of a compute tell that the quota has no cores for another node (contract
    /// section 3); run history tells it of the jobs that wait, in any case.
    pub core_quota_in_errors: bool,
    /// Whether a job finds its inputs and outputs by `AZURE_ML_INPUT_x` and `AZURE_ML_OUTPUT_x` too
    /// (contract section 9). Microsoft's own jobs read the latter (microsoft/physical-ai-toolchain).
    pub input_and_output_variables: bool,
    /// Whether a LIST of jobs begins with the newest.
    pub newest_jobs_first: bool,
    /// Whether `x-ms-client-request-id` comes back to who asks for it by
    /// `x-ms-return-client-request-id`.
    pub client_request_id_returned: bool,
    /// Code of ARM's 401 for a token that was revoked. Microsoft Graph's is this one
    /// (Azure/azure-powershell#28200).
    pub revoked_token_code: String,
}

impl Default for Unproven {
    fn default() -> Self {
        Self {
            network_retry_after_seconds: 10,
            immutable_job_status: 400,
            immutable_asset_status: 400,
            jobs_of_deleted_compute: EndOfJobs::default(),
            core_quota_in_errors: true,
            input_and_output_variables: true,
            newest_jobs_first: true,
            client_request_id_returned: true,
            revoked_token_code: "InvalidAuthenticationToken".to_owned(),
        }
    }
}

impl Unproven {
    /// The status as one of HTTP's; a world whose status is none does not start.
    pub(crate) fn immutable_job_status(&self) -> StatusCode {
        StatusCode::from_u16(self.immutable_job_status).unwrap_or(StatusCode::BAD_REQUEST)
    }

    /// Likewise.
    pub(crate) fn immutable_asset_status(&self) -> StatusCode {
        StatusCode::from_u16(self.immutable_asset_status).unwrap_or(StatusCode::BAD_REQUEST)
    }
}

/// The two ends of a job that did not come to its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum EndOfJobs {
    /// With an error that says why.
    #[default]
    Failed,
    /// As if it had been canceled.
    Canceled,
}

/// The two answers that have been seen to a write beside another one of the same network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum NetworkConflict {
    /// 409.
    #[default]
    AnotherOperationInProgress,
    /// 429 with `Retry-After`, which is no throttling: a `RetryableError` with this code among its
    /// details (cloudfoundry/bosh-azure-cpi-release#179, hashicorp/terraform-provider-azurerm#21293).
    RetryableErrorDueToAnotherOperation,
}

/// What a job's processes get when they are to end.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cancel {
    /// Seconds between SIGTERM and SIGKILL; 0 sends SIGKILL at once, as Azure ML does.
    pub sigterm_grace_seconds: f64,
    /// A cancel is accepted and never comes about, as has been seen; the compute's end still ends
    /// the job.
    pub hangs: bool,
}

/// What becomes of a job whose node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterLoss {
    /// The same job is queued again, and runs anew on another node.
    Requeue,
    /// It ends as `Failed`.
    Fail,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pools_of_sizes_with_rdma_have_a_limit_of_their_own() {
        for (name, limit) in [
            ("Standard_DS3_v2", 300),
            ("Standard_E4as_v5", 300),
            ("Standard_NC24rs_v3", 100),
            ("Standard_HB120-16rs_v3", 100),
        ] {
            let size = json!({"name": name});
            assert_eq!(PoolNodeLimits::default().of_size(&size), limit, "{name}");
        }
    }
}
