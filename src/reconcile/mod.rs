//! One reconcile, one step a file, in reading order: validate, observe, plan, act, conclude, report.
//!
//! Pure are validate, told, operations, plan, conclude and status; `tests/purity.rs` holds them to it.

mod act;
mod conclude;
mod error;
#[cfg(test)]
pub(crate) mod fixtures;
mod forecast;
mod memory;
mod observe;
mod observed;
mod operations;
mod plan;
mod preflight;
mod preview;
mod region;
mod report;
mod setbacks;
mod status;
mod told;
pub mod trouble;
mod validate;

pub use act::Acted;
pub use conclude::{Conclusion, LetGo, Next, StageReached, StartStage};
pub use error::Error;
pub use forecast::{Forecast, carry_out, forecast};
pub use memory::ClusterMemory;
pub use observe::identity;
pub(crate) use observe::warm;
pub use observed::{
    Credentials, JobFailure, Observed, OperationFacts, SecretReference, WorkerSubmission, Workspace,
};
pub use operations::{EndedOperation, OperationResult, OperationVerb};
pub use plan::{
    Action as PlannedAction, Aftermath, Blocked, Child, Finding, Follow, Plan, Response,
    SchedulerStage, Step, Wait, plan,
};
pub(crate) use plan::{CONNECTION, pool_refusal};
pub use preflight::{Check, Node, Obstacle, Preflight};
pub use preview::{Children, Preview};
pub use region::{Price, Usage, VmSize};
pub(crate) use report::as_long_as_kubernetes_takes;
pub use setbacks::{Course, Setback, Setbacks, USAGES_LAST};
pub use told::{Told, ToldScheduler};
pub use validate::{
    Defaults, EnvironmentDefinition, SpecError, SpecErrors, ValidCluster, ValidDataset,
    ValidHeadCompute, Wanted, validate,
};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tracing::{Instrument as _, Span};

use crate::access::AccessPool;
use crate::api::{Annotations, DaskCluster, DeletionPolicy, Reason, ReconcilePolicy};
use crate::clock::Clock;
use crate::cluster::Place;
use crate::dask::Poller;
use crate::inventory::Inventory;
use crate::kubernetes::{ClusterWriter, Recorder, Sight};
use crate::metrics::Metrics;
use crate::names::ClusterIdentity;

/// All that a reconcile needs besides the object.
pub struct Context {
    pub clock: Clock,
    /// Writes only while this operator leads.
    pub client: Client,
    pub sight: Sight,
    pub access: AccessPool,
    pub inventory: Inventory,
    pub poller: Poller,
    pub recorder: Recorder,
    pub metrics: Metrics,
    pub defaults: Defaults,
    pub worker_submission: WorkerSubmission,
    /// How long a settled cluster goes unlooked at.
    pub resync: Duration,
    pub memories: Memories,
}

impl Context {
    /// Lets go of what is held for clusters that are gone without a word, as one is whose finalizer somebody took off.
    pub fn forget(&self, of: impl Fn(&ClusterIdentity) -> bool) {
        self.poller.forget(&of);
        self.inventory.forget(&of);
        self.memories.lock().retain(|cluster, _| !of(cluster));
    }
}

/// The memory of every cluster.
#[derive(Default)]
pub struct Memories(Mutex<HashMap<ClusterIdentity, ClusterMemory>>);

impl Memories {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterIdentity, ClusterMemory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The steps that wait for somebody, whose durations are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedStep {
    Observe,
    Act,
    Report,
}

impl TimedStep {
    pub const ALL: [Self; 3] = [Self::Observe, Self::Act, Self::Report];

    /// A label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Act => "act",
            Self::Report => "report",
        }
    }
}

impl Context {
    /// Counts how long `step` takes.
    async fn timed<T>(&self, step: TimedStep, taken: impl Future<Output = T>) -> T {
        let started = self.clock.elapsed();
        let outcome = taken.await;
        let took = self.clock.elapsed().saturating_sub(started);
        self.metrics.count_step(step, took);
        outcome
    }
}

/// A reconcile that came to its end.
struct Reconciled {
    /// When to look again; `None` once the cluster is gone.
    next: Option<Duration>,
    /// What `Ready` says then.
    reason: Reason,
}

/// Makes one cluster true, as far as it goes now. Says when to look again; `None` once it is gone.
///
/// # Errors
/// When the status could not be written; everything else becomes a condition.
pub async fn reconcile(
    cluster: Arc<DaskCluster>,
    context: Arc<Context>,
) -> Result<Option<Duration>, Error> {
    let started = context.clock.elapsed();
    let cluster = context.sight.cluster(cluster);
    let identity = identity(&cluster);
    let mut memory = context
        .memories
        .lock()
        .remove(&identity)
        .unwrap_or_else(|| ClusterMemory::new(context.clock.now()));
    let span = span(&cluster, &identity);
    let pipeline = Box::pin(pipeline(&context, &cluster, &mut memory));
    let result = pipeline.instrument(span).await;
    let is_gone = matches!(result, Ok(Reconciled { next: None, .. }));
    if !is_gone {
        context.memories.lock().insert(identity, memory);
    }
    let took = context.clock.elapsed().saturating_sub(started);
    let outcome = result.as_ref().map(|reconciled| reconciled.reason);
    context.metrics.count_reconcile(outcome, took);
    result.map(|reconciled| reconciled.next)
}

/// Of one reconcile. Whatever is logged within it names the cluster, at every level.
fn span(cluster: &DaskCluster, identity: &ClusterIdentity) -> Span {
    tracing::error_span!(
        "reconcile",
        namespace = identity.namespace,
        name = identity.name,
        generation = cluster.metadata.generation,
        plan = tracing::field::Empty,
    )
}

/// The longest plan that every line of its reconcile carries, in bytes. The whole of it is told once, at `debug`.
const LONGEST_PLAN_IN_A_LINE: usize = 512;

fn note_plan(plan: &Plan) {
    let text = plan.to_string();
    let text = text.trim_end().replace('\n', "; ");
    let end = text.floor_char_boundary(LONGEST_PLAN_IN_A_LINE);
    Span::current().record("plan", &text[..end]);
}

async fn pipeline(
    context: &Context,
    cluster: &DaskCluster,
    memory: &mut ClusterMemory,
) -> Result<Reconciled, Error> {
    let identity = identity(cluster);
    let generation = cluster.metadata.generation.unwrap_or_default();
    memory.see_generation(generation);
    let writer = ClusterWriter {
        client: &context.client,
        sight: &context.sight,
        access: &context.access,
        cluster: &identity,
    };
    let before = cluster.status.clone().unwrap_or_default();
    let annotations = Annotations::read(cluster.metadata.annotations.as_ref());
    memory.see_request(
        annotations.requested_at.as_deref(),
        before.last_handled_reconcile_at.as_deref(),
    );
    let wanted = wanted(cluster, &context.defaults);
    if let Some(status) = conclude::acknowledge(&before, generation, context.clock.now()) {
        report::write(context, &writer, &status, memory).await?;
        return Ok(Reconciled {
            next: Some(Duration::ZERO),
            reason: Reason::Pending,
        });
    }
    let looking = observe::observe(context, cluster, &wanted, memory);
    let look = context.timed(TimedStep::Observe, looking).await;
    let seen_at = look.observed.seen_at;
    for ended in memory.ended_operations(&look.observed.resources, seen_at) {
        context.metrics.count_operation(&ended);
    }
    let plan = plan(&wanted, &look.observed);
    note_plan(&plan);
    tracing::debug!(whole = %plan, "planned");
    memory.see_preflight(plan.preflight.as_ref());
    let planned_changes = annotations
        .dry_run
        .then(|| forecast(&wanted, &look.observed).to_string());
    if let Some(decision) = plan.aim().and_then(|aim| aim.decision.as_ref()) {
        memory.recommendations.see(decision, seen_at);
    }
    if let Some(decided) = conclude::decided(&before, &wanted, &plan, context.clock.now()) {
        return Box::pin(told(context, cluster, &writer, decided, memory)).await;
    }
    let plan_is_new = memory.see_plan(plan.to_string(), context.clock.now());
    let new_findings = memory.see_findings(&plan.findings);
    for finding in &new_findings {
        context.metrics.count_finding(finding);
    }
    let hands = act::Hands {
        cluster: &identity,
        kubernetes: &writer,
        azure: look.azure.as_ref(),
        poller: &context.poller,
        clock: &context.clock,
    };
    let acting = act::act(&plan, &hands);
    let mut acted = context.timed(TimedStep::Act, acting).await;
    let now = context.clock.now();
    let begun = std::mem::take(&mut acted.begun);
    memory.see_operations(begun, &look.observed.resources, now);
    let reasons = memory
        .setbacks
        .learn(&plan.aftermaths, &mut acted, now, rand::random::<f64>);
    context.metrics.count_setbacks(&reasons);
    let conclusion = conclude::conclude(&conclude::Outcome {
        generation,
        wanted: &wanted,
        observed: &look.observed,
        plan: &plan,
        acted: &acted,
        before: &before,
        now,
        changed_at: memory.changed_at,
        new_findings: &new_findings,
        plan_is_new,
        planned_changes,
        resync: context.resync,
    });
    memory.see_next(conclusion.next);
    if conclusion.next == Next::Never {
        context.forget(|cluster| *cluster == identity);
    }
    context.metrics.count_let_go(conclusion.let_go);
    Box::pin(told(context, cluster, &writer, conclusion, memory)).await
}

async fn told(
    context: &Context,
    cluster: &DaskCluster,
    writer: &ClusterWriter<'_>,
    conclusion: Conclusion,
    memory: &mut ClusterMemory,
) -> Result<Reconciled, Error> {
    let reason = conclusion.ready_reason();
    let telling = report::report(context, cluster, writer, conclusion, memory);
    let next = context.timed(TimedStep::Report, telling).await?;
    Ok(Reconciled { next, reason })
}

/// What the manifest asks for: a cluster that is being deleted asks for nothing, valid or not.
fn wanted(cluster: &DaskCluster, defaults: &Defaults) -> Wanted {
    if cluster.metadata.deletion_timestamp.is_some() {
        return match Place::of(cluster) {
            Ok(mut place) => {
                let annotations = Annotations::read(cluster.metadata.annotations.as_ref());
                if annotations.policy == ReconcilePolicy::DetachOnDelete {
                    place.deletion_policy = DeletionPolicy::Retain;
                }
                Wanted::Nothing(Box::new(place))
            }
            Err(error) => Wanted::Unknown(SpecErrors(vec![SpecError {
                path: "spec".into(),
                message: error.to_string(),
            }])),
        };
    }
    match validate(cluster, defaults) {
        Ok(valid) => Wanted::Cluster(Box::new(valid)),
        Err(errors) => Wanted::Unknown(errors),
    }
}
