//! How workspaces come to be, and how they go with everything that is in them.

use crate::arm::operation::OperationId;
use crate::azure::Transaction;
use crate::faults::action::Fate;
use crate::kinds;
use crate::physics::Event;
use crate::physics::pool::Deletion;
use crate::physics::run::{JobStatus, Outcome};
use crate::resource_id::ResourceId;
use crate::storage::account::Account;
use crate::storage::blobs::account_root;

/// What the keys of all that is in a workspace begin with.
fn below(workspace: &str) -> String {
    format!("{workspace}/")
}

impl Transaction<'_> {
    /// A write to a workspace has come through, unless a fault wants it otherwise.
    pub(crate) fn workspace_written(&mut self, workspace: &ResourceId, operation: OperationId) {
        match self.state.operations.fate(operation).cloned() {
            Some(Fate::NeverEnds) => {}
            Some(Fate::Fails(problem)) => {
                kinds::set_workspace_state(self, workspace, "Failed");
                self.state.operations.fail(operation, problem);
            }
            Some(Fate::Unavailable { .. }) | None => {
                kinds::set_workspace_state(self, workspace, "Succeeded");
                self.state.operations.succeed(operation);
            }
        }
    }

    /// Ends what is in a workspace; its document goes, and all below it, when that is gone.
    pub(crate) fn delete_workspace(&mut self, workspace: &ResourceId, operation: OperationId) {
        let timings = &self.settings.world.timings;
        let seconds = timings.workspace_delete_seconds;
        match self.state.operations.fate(operation) {
            Some(Fate::NeverEnds) => return,
            Some(Fate::Fails(_)) => {
                let workspace = workspace.clone();
                let failing = Event::WorkspaceWritten {
                    workspace,
                    operation,
                };
                self.schedule(seconds, failing);
                return;
            }
            Some(Fate::Unavailable { .. }) | None => {}
        }
        let key = workspace.key();
        let physics = &mut self.state.physics;
        if let Some(deletion) = physics.workspace_deletions.get_mut(&key) {
            deletion.operations.push(operation);
            return;
        }
        let deletion = Deletion {
            operations: vec![operation],
            due: false,
        };
        physics.workspace_deletions.insert(key.clone(), deletion);
        let inside = below(&key);
        let pools: Vec<String> = physics
            .pools
            .keys()
            .filter(|pool| pool.starts_with(&inside))
            .cloned()
            .collect();
        for pool in pools {
            kinds::set_compute_state(self, &pool, "Deleting");
            self.end_pool(&pool, None);
        }
        // Those that have not come to their pool yet.
        let early = |status| matches!(status, JobStatus::Starting | JobStatus::Preparing);
        let runs = &self.state.physics.runs;
        let waiting: Vec<String> = runs
            .iter()
            .filter(|(_, run)| run.workspace == key && early(run.status))
            .map(|(key, _)| key.clone())
            .collect();
        for run in waiting {
            self.end_run(
                &run,
                Outcome::compute_deleted(&self.settings.world.unproven),
            );
        }
        self.schedule(seconds, Event::WorkspaceDeleteDue { workspace: key });
    }

    pub(crate) fn workspace_delete_due(&mut self, workspace: &str) {
        let deletions = &mut self.state.physics.workspace_deletions;
        if let Some(deletion) = deletions.get_mut(workspace) {
            deletion.due = true;
        }
        self.finish_workspace_deletions();
    }

    /// Lets go the workspaces whose time has come and whose last compute is gone.
    pub(crate) fn finish_workspace_deletions(&mut self) {
        let physics = &self.state.physics;
        let ready: Vec<String> = physics
            .workspace_deletions
            .iter()
            .filter(|(_, deletion)| deletion.due)
            .map(|(key, _)| key.clone())
            .filter(|key| {
                let inside = below(key);
                !physics.pools.keys().any(|pool| pool.starts_with(&inside))
            })
            .collect();
        for key in ready {
            self.finish_workspace_deletion(&key);
        }
    }

    fn finish_workspace_deletion(&mut self, key: &str) {
        let physics = &mut self.state.physics;
        let deletion = physics.workspace_deletions.remove(key);
        let inside = below(key);
        let built = |environment: &String| !environment.starts_with(&inside);
        physics.images_built.retain(built);
        physics
            .images_building
            .retain(|environment, _| built(environment));
        let mut folders = Vec::new();
        physics.runs.retain(|_, run| {
            let stays = run.workspace != key;
            if !stays {
                folders.push(run.directory.clone());
            }
            stays
        });
        if let Some(workspace) = self.state.documents.by_key(key) {
            folders.push(account_root(
                &self.settings.directory,
                &Account::of(&workspace.id),
            ));
        }
        self.state.documents.remove_all_in(key);
        for folder in folders {
            // One of the same name is to find none of them.
            if folder.exists()
                && let Err(problem) = std::fs::remove_dir_all(&folder)
            {
                tracing::warn!(folder = %folder.display(), %problem, "a folder of a deleted workspace stays");
            }
        }
        for operation in deletion.unwrap_or_default().operations {
            self.state.operations.succeed(operation);
        }
    }
}
