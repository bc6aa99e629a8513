//! How far scheduler and workers are, and what they wait for.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::Plan;
use crate::api::{ConditionType, Reason};
use crate::azure::ResourceId;
use crate::azure_resources::job::{JobFacts, JobStatus, Lineup, Occupant, lasting_failure};
use crate::azure_resources::{AzureKind as _, ComputeHave, Job, Scene, overdue, told, verdict_of};
use crate::dask::{Silence, State, Target};
use crate::kubernetes_children::{DASHBOARD_PORT, SCHEDULER_PORT};
use crate::lookup::{Lookup, Trouble};
use crate::names::{JobName, Slot};
use crate::reconcile::observed::Observed;
use crate::reconcile::trouble;
use crate::scaling::LettingGo;
use crate::scaling::cost::{self, Affordable};
use crate::scaling::rest::whole_seconds;
use crate::token::Token;

/// What the head published as tags of its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadAddress {
    /// `tcp://10.20.0.8:8786`
    pub scheduler: String,
    /// `http://10.20.0.8:8787`
    pub dashboard: String,
    pub jupyter: Option<String>,
    pub head_node: String,
    pub ip: Ipv4Addr,
    pub scheduler_port: u16,
    pub dashboard_port: u16,
}

impl HeadAddress {
    /// Reads the tags; `None` until both addresses are there and can be read. Others can write tags too, so nothing
    /// but plain addresses is taken.
    fn published(head: &JobFacts) -> Option<Self> {
        let (ip, scheduler_port) = host_and_port(head.tags.get("scheduler")?, "tcp://")?;
        let (dashboard_ip, dashboard_port) = host_and_port(head.tags.get("dashboard")?, "http://")?;
        let dashboard = format!("http://{ip}:{dashboard_port}");
        let jupyter = format!("{dashboard}/jupyter");
        (ip == dashboard_ip).then(|| Self {
            scheduler: format!("tcp://{ip}:{scheduler_port}"),
            jupyter: (head.tags.get("jupyter") == Some(&jupyter)).then_some(jupyter),
            dashboard,
            head_node: ip.to_string(),
            ip,
            scheduler_port,
            dashboard_port,
        })
    }

    /// Where the scheduler of a head is that runs and tells nothing: on the node that Azure says runs the job, at the
    /// ports that the bootstrap takes when they are free. Only the token's answer shows whether it is.
    fn looked_for(scene: &Scene<'_>, head: &JobFacts) -> Option<Self> {
        if !is_late_to_publish(scene, head.started_at) {
            return None;
        }
        let mut nodes = scene.observed.pool_nodes.present()?.iter();
        let node = nodes.find(|node| node.run_id.as_ref() == Some(&head.id))?;
        let ip: Ipv4Addr = node.private_ip_address.as_ref()?.parse().ok()?;
        Some(Self {
            scheduler: format!("tcp://{ip}:{SCHEDULER_PORT}"),
            dashboard: format!("http://{ip}:{DASHBOARD_PORT}"),
            jupyter: None,
            head_node: ip.to_string(),
            ip,
            scheduler_port: SCHEDULER_PORT,
            dashboard_port: DASHBOARD_PORT,
        })
    }

    /// Kubernetes takes it into an EndpointSlice.
    pub fn is_routable(&self) -> bool {
        !self.ip.is_loopback()
            && !self.ip.is_link_local()
            && !self.ip.is_unspecified()
            && !self.ip.is_multicast()
    }
}

/// A head publishes within seconds of its start; after this long it is looked for.
const PUBLISHES_WITHIN_SECONDS: i64 = 60;

fn is_late_to_publish(scene: &Scene<'_>, running_since: Option<jiff::Timestamp>) -> bool {
    running_since.is_some_and(|since| {
        scene.observed.seen_at.duration_since(since).as_secs() >= PUBLISHES_WITHIN_SECONDS
    })
}

/// Azure runs the job again since its address was told, after a preemption that nobody may have seen.
fn starts_again(scene: &Scene<'_>, head: &JobFacts) -> bool {
    let told = scene.observed.told.scheduler.as_ref();
    let told = told.filter(|told| told.head_run == head.id);
    told.and_then(|told| told.started_at)
        .zip(head.started_at)
        .is_some_and(|(told, now)| whole_seconds(told) != whole_seconds(now))
}

/// It was told of this start of the head. One that Azure has started again, after a preemption, has the address of before
/// among its tags until it publishes the next.
fn is_told(scene: &Scene<'_>, head: &JobFacts, address: &HeadAddress) -> bool {
    let told = scene.observed.told.scheduler.as_ref();
    told.is_some_and(|told| {
        told.head_run == head.id
            && told.address == address.scheduler
            && told.started_at.map(whole_seconds) == head.started_at.map(whole_seconds)
    })
}

fn host_and_port(url: &str, scheme: &str) -> Option<(Ipv4Addr, u16)> {
    let (host, port) = url
        .strip_prefix(scheme)?
        .trim_end_matches('/')
        .rsplit_once(':')?;
    Some((host.parse().ok()?, port.parse().ok()?))
}

/// How far the head is.
#[derive(Clone, Debug, PartialEq)]
pub enum SchedulerStage {
    /// No head job is there; it is submitted, or waits for its time.
    NoHead,
    /// The job has not begun, or is on its way out.
    Job(JobStatus),
    /// It runs and has published nothing.
    Silent {
        running_since: Option<jiff::Timestamp>,
        /// Where it is looked for, or was before the job was started again; nobody is told of it before it answers.
        looked_for: Option<HeadAddress>,
    },
    /// The address lies where no node of ours is known to be.
    Doubted(HeadAddress),
    /// The address is believed.
    Published(HeadAddress),
}

impl SchedulerStage {
    pub fn of(scene: &Scene<'_>, lineup: &Lineup) -> Self {
        let Some(head) = lineup.head_facts() else {
            return Self::NoHead;
        };
        if !matches!(head.status, JobStatus::Running | JobStatus::NotResponding) {
            return Self::Job(head.status.clone());
        }
        if starts_again(scene, head) {
            // What answered was the start before: it is forgotten, and asked for anew at the next look.
            return Self::Silent {
                running_since: head.started_at,
                looked_for: None,
            };
        }
        let sight = &scene.observed.scheduler;
        let has_answered = |address: &HeadAddress| {
            let target = sight.target.as_ref();
            sight.state.is_some()
                && target.is_some_and(|target| {
                    target.head_run == head.id && target.dashboard == address.dashboard
                })
        };
        let Some(address) = HeadAddress::published(head) else {
            let looked_for = HeadAddress::looked_for(scene, head);
            return match looked_for {
                Some(address) if has_answered(&address) => Self::Published(address),
                looked_for => Self::Silent {
                    running_since: head.started_at,
                    looked_for,
                },
            };
        };
        let in_subnet = scene
            .observed
            .subnet_prefix(scene.cluster)
            .is_some_and(|prefix| prefix.contains(&address.ip));
        let is_node = scene.observed.pool_nodes.present().is_some_and(|nodes| {
            nodes.iter().any(|node| {
                node.private_ip_address.as_deref() == Some(address.head_node.as_str())
                    && node.run_id.as_deref().is_none_or(|run| run == head.id)
            })
        });
        if !in_subnet && !is_node {
            return Self::Doubted(address);
        }
        let answers = has_answered(&address) && sight.silence.is_none();
        if answers || is_told(scene, head, &address) || is_late_to_publish(scene, head.started_at) {
            Self::Published(address)
        } else {
            Self::Silent {
                running_since: head.started_at,
                looked_for: Some(address),
            }
        }
    }

    pub fn believed(&self) -> Option<&HeadAddress> {
        match self {
            Self::Published(address) => Some(address),
            Self::NoHead | Self::Job(_) | Self::Silent { .. } | Self::Doubted(_) => None,
        }
    }

    /// Only the nodes of the pool can say more.
    pub fn needs_nodes(&self, scene: &Scene<'_>) -> bool {
        match self {
            Self::Doubted(_) => true,
            Self::Silent {
                running_since,
                looked_for: None,
            } => is_late_to_publish(scene, *running_since),
            _ => false,
        }
    }

    /// Who is to be asked.
    pub(super) fn target(&self, scene: &Scene<'_>, lineup: &Lineup) -> Option<Target> {
        let address = match self {
            Self::Silent { looked_for, .. } => looked_for.as_ref()?,
            _ => self.believed()?,
        };
        Some(Target {
            head_run: scene.cluster.place.identity.job_id(lineup.head.name()),
            dashboard: address.dashboard.clone(),
            token: scene.head_token(lineup)?,
            watches_load: scene.cluster.autoscaling.is_some(),
        })
    }

    /// What the scheduler answered last, if it still answers and is the present one.
    pub fn answering<'a>(&self, scene: &Scene<'a>) -> Option<&'a State> {
        let sight = &scene.observed.scheduler;
        let is_present = sight.target.as_ref().is_some_and(|target| {
            self.believed()
                .is_some_and(|address| address.dashboard == target.dashboard)
        });
        sight
            .state
            .as_ref()
            .filter(|_| is_present && sight.silence.is_none())
    }
}

impl Scene<'_> {
    /// The token that the head's scheduler knows, or will: the held one when it belongs to this head, a fresh one for
    /// a head that is not submitted yet. `None` when it is lost.
    pub fn head_token(&self, lineup: &Lineup) -> Option<Token> {
        let head = self.cluster.place.identity.job_id(lineup.head.name());
        let held = self
            .observed
            .connection
            .present()
            .filter(|held| held.ours && held.head_run.as_ref() == Some(&head))
            .and_then(|held| held.token.clone());
        let followed = || {
            let target = self.observed.scheduler.target.as_ref()?;
            (target.head_run == head).then(|| target.token.clone())
        };
        held.or_else(followed).or_else(|| match lineup.head {
            Occupant::Vacant { .. } => Some(self.observed.fresh_token.clone()),
            Occupant::Alive(_) => None,
        })
    }
}

/// The waits and troubles of scheduler and workers.
pub(super) fn plan_stages(
    scene: &Scene<'_>,
    lineup: &Lineup,
    stage: &SchedulerStage,
    going: &LettingGo,
    plan: &mut Plan,
) {
    if !lineup.aim.head {
        return plan_end(scene, lineup, plan);
    }
    plan_scheduler(scene, lineup, stage, plan);
    plan_workers(scene, lineup, stage, going, plan);
}

/// No job is to be left. Those that are not cancelled yet are in the plan.
fn plan_end(scene: &Scene<'_>, lineup: &Lineup, plan: &mut Plan) {
    for name in &lineup.leaving {
        let id = scene.cluster.place.job(*name);
        let stage = Job::stage(&id);
        match hung_cancel(scene, *name) {
            Some(trouble) => plan.block(stage, trouble),
            None => {
                let status = &lineup.jobs[name].status;
                let message = format!("job {} is {status}", id.name());
                plan.wait(stage, Reason::Suspended, message);
            }
        }
    }
}

const SCHEDULER: ConditionType = ConditionType::SchedulerReady;
const WORKERS: ConditionType = ConditionType::WorkersReady;

fn plan_scheduler(scene: &Scene<'_>, lineup: &Lineup, stage: &SchedulerStage, plan: &mut Plan) {
    let head = scene.cluster.place.identity.job_id(lineup.head.name());
    let timeout = i64::from(scene.cluster.scheduler.start_timeout_seconds);
    match stage {
        SchedulerStage::NoHead => {
            if let Some(trouble) = lasting_failure(scene, &lineup.head) {
                plan.block(SCHEDULER, trouble);
            }
        }
        SchedulerStage::Job(status) if status.has_not_started() => {
            let (reason, message) = waiting_job(scene, Slot::Head, &head, status);
            match lineup.head_facts() {
                Some(facts) if waits_too_long(scene, facts) => {
                    let reason = match reason {
                        Reason::Starting | Reason::WaitingForNodes => Reason::HeadStartTimeout,
                        of_the_pool => of_the_pool,
                    };
                    let message = format!(
                        "{message}, for more than scheduler.startTimeoutSeconds ({timeout} s): it goes on as soon as the job starts; if that is not to be expected, look at the job in the studio and at the pool"
                    );
                    plan.block(SCHEDULER, Trouble::lasting(reason, message));
                }
                _ => plan.wait(SCHEDULER, reason, message),
            }
        }
        SchedulerStage::Job(status) => {
            let message = format!("job {head} is {status}; a new head follows when it has ended");
            let reason = if lineup.head.name().incarnation <= lineup.aim.heads_forgiven {
                Reason::Starting
            } else {
                Reason::HeadFailed
            };
            match hung_cancel(scene, lineup.head.name()) {
                None => plan.wait(SCHEDULER, reason, message),
                Some(trouble) => plan.block(SCHEDULER, trouble),
            }
        }
        SchedulerStage::Silent {
            running_since,
            looked_for,
        } => {
            let late = running_since.is_some_and(|since| {
                scene.observed.seen_at.duration_since(since).as_secs() > timeout
            });
            if late {
                let message = format!(
                    "job {head} has run for more than startTimeoutSeconds ({timeout} s) and has published no address: read its log (user_logs/std_log_process_00.txt) in the studio; once you cancel the job a new head is started"
                );
                plan.block(
                    SCHEDULER,
                    Trouble::lasting(Reason::HeadStartTimeout, message),
                );
            } else {
                plan.wait(
                    SCHEDULER,
                    Reason::Starting,
                    match looked_for {
                        None => format!(
                            "job {head} runs; its scheduler has not published its address yet"
                        ),
                        Some(_) => format!("job {head} runs; its scheduler does not answer yet"),
                    },
                );
            }
        }
        SchedulerStage::Doubted(address) => match &scene.observed.pool_nodes {
            Lookup::Present(_) => {
                let message = format!(
                    "job {head} published {}, which is neither in the subnet nor a node of the pool: nobody connects to it",
                    address.scheduler
                );
                plan.block(
                    SCHEDULER,
                    Trouble::passing(Reason::SchedulerUntrusted, message),
                );
            }
            Lookup::Unavailable(trouble) => plan.block(SCHEDULER, trouble.clone()),
            Lookup::Absent | Lookup::NotAsked => plan.wait(
                SCHEDULER,
                Reason::Starting,
                "the nodes of the pool have not been listed yet",
            ),
        },
        SchedulerStage::Published(address) => plan_published(scene, address, plan),
    }
}

fn plan_published(scene: &Scene<'_>, address: &HeadAddress, plan: &mut Plan) {
    let sight = &scene.observed.scheduler;
    let Some(silence) = &sight.silence else {
        // This process has not asked it yet: an operator that was started anew knows no worse than before.
        if sight.state.is_none() {
            plan.unseen.extend([SCHEDULER, WORKERS]);
        }
        return;
    };
    let trouble = match silence.category {
        "Untrusted" => Trouble::passing(
            Reason::SchedulerUntrusted,
            format!(
                "{}: what listens there is not this cluster's scheduler",
                silence.message
            ),
        ),
        _ if sight.state.is_some() => fallen_silent(silence),
        _ => Trouble::passing(
            Reason::SchedulerUnreachable,
            format!(
                "{}; open TCP ports {} and {} from the operator's network to {} (peering, routes, network security groups)",
                silence.message, address.scheduler_port, address.dashboard_port, address.ip
            ),
        ),
    };
    plan.block(SCHEDULER, trouble);
}

/// What a scheduler has come to that answered before.
pub(super) fn fallen_silent(silence: &Silence) -> Trouble {
    Trouble::passing(
        Reason::SchedulerLost,
        format!("the scheduler has fallen silent: {}", silence.message),
    )
}

fn plan_workers(
    scene: &Scene<'_>,
    lineup: &Lineup,
    stage: &SchedulerStage,
    going: &LettingGo,
    plan: &mut Plan,
) {
    let desired = lineup.dask_workers(scene.cluster);
    // What keeps workers from coming says more than who waits for them.
    let waiting = going.waiting.as_ref();
    let is_unseen = plan.unseen.contains(&WORKERS);
    let said = waiting.filter(|waiting| waiting.reason != Reason::Updating && !is_unseen);
    if let Some(waiting) = said {
        plan.wait(WORKERS, waiting.reason, waiting.message.clone());
        return;
    }
    let failing = lineup
        .workers
        .iter()
        .find_map(|worker| lasting_failure(scene, worker));
    if let Some(trouble) = failing {
        plan.block(WORKERS, trouble);
        return;
    }
    let mut leaving = lineup.leaving.iter().filter(|name| name.slot != Slot::Head);
    if let Some(trouble) = leaving.find_map(|name| hung_cancel(scene, *name)) {
        plan.block(WORKERS, trouble);
        return;
    }
    if is_unseen {
        return;
    }
    if let Some(wanted) = lineup.aim.too_dear
        && cost::most_workers(scene.cluster, scene.observed) == Affordable::Unknown
    {
        let why = match &scene.observed.vm_sizes {
            Lookup::Unavailable(trouble) => &trouble.message,
            _ => "its size could not be read",
        };
        let message = format!(
            "{wanted} workers are wanted, and none is added while nobody knows what a node costs, as budget.maxPerHour is to be kept: {why}"
        );
        plan.wait(WORKERS, Reason::Pending, message);
        return;
    }
    if stage.believed().is_some() && scene.observed.scheduler.silence.is_some() {
        let message = format!(
            "the scheduler does not answer, so nobody knows how many of the {desired} workers are registered"
        );
        plan.wait(WORKERS, Reason::Pending, message);
        return;
    }
    let registered = stage
        .answering(scene)
        .map_or(0, |state| registered_workers(state, lineup));
    if let Some(waiting) = waiting {
        plan.wait(WORKERS, waiting.reason, waiting.message.clone());
        return;
    }
    if registered >= desired {
        return;
    }
    let told = format!("{registered} of {desired} workers have registered");
    let occupants = lineup
        .workers
        .iter()
        .filter(|worker| matches!(worker, Occupant::Vacant { failures: 1.., .. }))
        .count();
    let queued = lineup
        .workers
        .iter()
        .filter_map(|worker| lineup.jobs.get(&worker.name()))
        .find(|job| job.status.has_not_started());
    let (reason, message) = match queued {
        Some(job) => {
            let (reason, why) = waiting_job(scene, Slot::Worker(0), &job.id, &job.status);
            (reason, format!("{told}; {why}"))
        }
        None if occupants > 0 => (
            Reason::WorkersFailing,
            format!("{told}; {occupants} worker jobs failed and are started again"),
        ),
        None => (Reason::WorkersStarting, told),
    };
    plan.wait(WORKERS, reason, message);
}

/// What the user is told of a job of a living cluster whose cancel hangs: its slot, or the head's, stays taken.
fn hung_cancel(scene: &Scene<'_>, name: JobName) -> Option<Trouble> {
    let id = scene.cluster.place.job(name);
    let facts = overdue(scene.observed, &id, Job::GOES_WITHIN)?;
    let message = format!(
        "job {} is CancelRequested {facts}, and its place stays taken until it has ended; if its node hangs, delete the pool: it is made again",
        id.name()
    );
    Some(Trouble::passing(Reason::CancelStuck, message))
}

/// Workers of this cluster's jobs that are there to stay, the head's own among them.
pub(crate) fn registered_workers(state: &State, lineup: &Lineup) -> u32 {
    let jobs: BTreeSet<&str> = lineup
        .jobs
        .iter()
        .filter(|(name, facts)| name.slot == Slot::Head || !facts.status.is_terminal())
        .map(|(_, facts)| facts.id.as_str())
        .collect();
    let count = state
        .workers
        .iter()
        .filter(|worker| worker.is_registered() && jobs.contains(worker.job_id()))
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The head has been submitted for longer than it may take, and never ran. One that was preempted waits for a node for as
/// long as that takes.
fn waits_too_long(scene: &Scene<'_>, head: &JobFacts) -> bool {
    let timeout = i64::from(scene.cluster.scheduler.start_timeout_seconds);
    let waited = |since| scene.observed.seen_at.duration_since(since).as_secs();
    head.started_at.is_none()
        && !head.has_published()
        && head.created_at.is_some_and(|since| waited(since) > timeout)
}

/// Why a job that has not started has not: the pool's own words where it has any.
fn waiting_job(scene: &Scene<'_>, slot: Slot, job: &str, status: &JobStatus) -> (Reason, String) {
    if *status == JobStatus::Preparing {
        return (
            Reason::Starting,
            format!(
                "job {job} is Preparing: Azure ML builds the environment's image, which takes 10 to 20 minutes the first time"
            ),
        );
    }
    let pool = scene.cluster.place.pool_of(slot);
    let Some(trouble) = pool_refusal(scene.observed, pool) else {
        return (Reason::WaitingForNodes, format!("job {job} is {status}"));
    };
    (
        trouble.reason,
        format!(
            "job {job} is {status}; the pool gets no more nodes: {}",
            trouble.message
        ),
    )
}

/// Why a pool gets no more nodes, in its own words.
pub(crate) fn pool_refusal(observed: &Observed, pool: &ResourceId) -> Option<Trouble> {
    let body = *observed.resource(pool).present()?;
    let pool: ComputeHave = serde_json::from_value(body.clone()).ok()?;
    let errors = pool.properties.properties?.errors();
    let trouble = || trouble::of_verdict(verdict_of(&errors), &told(&errors));
    (!errors.is_empty()).then(trouble)
}
