//! The token of a run: what its job shows to the data plane, and what a later one is asked for with
//! (contract section 10).

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::azure::Azure;
use crate::entra::Principal;

/// A job lives 21 days at most, and its token as long.
const LIFETIME: SignedDuration = SignedDuration::from_hours(21 * 24);

/// Has no `Debug`: it is a secret.
pub(crate) struct RunToken {
    pub(crate) token: String,
    pub(crate) expires: Timestamp,
}

/// Another token for a run of the workspace with that key; earlier ones stay good until they expire.
pub(crate) fn issue(azure: &Azure, workspace: &str, run: &str) -> RunToken {
    let now = azure.clock.now().timestamp;
    let principal = Principal::Run {
        workspace: workspace.to_owned(),
    };
    let claims = json!({"aud": azure.settings.base_url(), "runid": run});
    RunToken {
        token: azure.tokens.issue(principal, now, LIFETIME, claims),
        expires: now.saturating_add(LIFETIME).unwrap_or(now),
    }
}
