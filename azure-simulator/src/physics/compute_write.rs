//! The end of a write to a compute: it comes through, or its quota or a fault does not let it.

use serde_json::{Value, json};

use crate::arm::operation::OperationId;
use crate::azure::Transaction;
use crate::clock::timestamp_text;
use crate::faults::action::Fate;
use crate::physics::pool::Pool;
use crate::problem::Problem;

impl Transaction<'_> {
    /// Why the quota has no room for a pool as it was written.
    fn quota_refuses(&self, key: &str) -> Option<Problem> {
        let pool = self.state.physics.pools.get(key)?;
        let body = &self.state.documents.by_key(key)?.body;
        let least = &body["properties"]["properties"]["scaleSettings"]["minNodeCount"];
        let least = usize::try_from(least.as_u64().unwrap_or_default()).unwrap_or(usize::MAX);
        pool.refused
            .clone()
            .or_else(|| self.state.physics.quota.refuses_pool(&pool.machine, least))
    }

    /// The compute keeps the pool that it had before the write.
    pub(super) fn compute_write_failed(
        &mut self,
        pool: &str,
        operation: OperationId,
        problem: Problem,
    ) {
        let now = json!(timestamp_text(self.now.timestamp));
        if let Some(body) = self.state.documents.body_mut(pool) {
            body["properties"]["provisioningState"] = json!("Failed");
            body["properties"]["provisioningErrors"] = json!([problem.response()]);
            body["properties"]["modifiedOn"] = now;
        }
        if let Some(pool) = self.state.physics.pools.get_mut(pool) {
            pool.settling = false;
        }
        self.state.operations.fail(operation, problem);
    }

    /// The compute's document after a write has come through.
    pub(super) fn compute_written(&mut self, pool: &str, operation: OperationId) {
        match self.state.operations.fate(operation).cloned() {
            Some(Fate::NeverEnds) => return,
            Some(Fate::Fails(problem)) => {
                self.compute_write_failed(pool, operation, problem);
                return;
            }
            Some(Fate::Unavailable { .. }) | None => {}
        }
        if let Some(problem) = self.quota_refuses(pool) {
            self.compute_write_failed(pool, operation, problem);
            return;
        }
        let now = json!(timestamp_text(self.now.timestamp));
        let deleting = self
            .state
            .physics
            .pools
            .get(pool)
            .is_none_or(Pool::is_deleting);
        if !deleting && let Some(body) = self.state.documents.body_mut(pool) {
            body["properties"]["provisioningState"] = json!("Succeeded");
            body["properties"]["provisioningErrors"] = Value::Null;
            body["properties"]["modifiedOn"] = now;
            let scale = body["properties"]["properties"]["scaleSettings"].clone();
            self.configure_pool(pool, &scale);
        }
        self.state.operations.succeed(operation);
    }
}
