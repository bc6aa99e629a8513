//! What all kinds have in common: compare what is wanted with what is there, and say what follows.

mod adoption;
mod leaving;
mod operations;
mod replacement;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::job::Lineup;
use super::ownership::{Claim, OWNER};
use super::{AzureKind, Change, Drift, Health, LeavingRule, Standing, Wanted};
use crate::api::{ConditionType, DriftPolicy, Reason};
use crate::azure::{Lane, ResourceId};
use crate::cluster::Place;
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::{Aftermath, Blocked, Finding, Observed, Response, Step, ValidCluster, Wait};

/// What a kind plans from.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    pub cluster: &'a ValidCluster,
    pub observed: &'a Observed,
    /// `None` when the jobs could not be listed.
    pub lineup: Option<&'a Lineup>,
}

/// What a kind needs to leave.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    pub place: &'a Place,
    pub observed: &'a Observed,
}

/// One kind's share of the plan. Ready when there is nothing to do, to wait for and in the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KindPlan {
    pub steps: Vec<Step>,
    pub waits: Vec<Wait>,
    pub blocked: Vec<Blocked>,
    pub aftermaths: Vec<Aftermath>,
    pub findings: Vec<Finding>,
    /// What is as the spec asks for, with the fingerprint of what that is.
    pub as_wanted: Vec<(ResourceId, String)>,
    /// What is about to be deleted to be made again, or is gone by now.
    pub replaced: Vec<(ResourceId, replacement::Gone)>,
}

impl KindPlan {
    pub fn is_ready(&self) -> bool {
        self.steps.is_empty() && self.waits.is_empty() && self.blocked.is_empty()
    }

    fn wait(&mut self, stage: ConditionType, reason: Reason, message: impl Into<String>) {
        self.waits.push(Wait {
            stage,
            reason,
            message: message.into(),
        });
    }

    fn block(&mut self, stage: ConditionType, trouble: Trouble) {
        self.blocked.push(Blocked { stage, trouble });
    }
}

pub(crate) use operations::overdue;
pub use replacement::Gone;
pub(super) use replacement::POOL_PAUSE;

/// Makes of a PUT body what Azure answers to it.
pub type Echo = fn(Value) -> Value;

/// A kind with its types erased: a row of [`super::KINDS`].
#[derive(Clone, Copy)]
pub struct Registration {
    pub name: &'static str,
    pub resource_type: &'static str,
    pub api_version: &'static str,
    pub stage: ConditionType,
    pub after: &'static [&'static str],
    pub leaving: LeavingRule,
    /// Ids to look at when the manifest is valid.
    pub look_at: fn(&Scene<'_>) -> Vec<ResourceId>,
    /// Ids to look at when the cluster leaves.
    pub places: fn(&Place) -> Vec<ResourceId>,
    pub plan: fn(&Scene<'_>, &BTreeSet<&'static str>) -> KindPlan,
    pub leave: fn(&Leaving<'_>) -> KindPlan,
    /// Does this PUT body show a drift against its own echo? Asked by the test that holds all kinds to it.
    pub drift_of_echo: fn(&Scene<'_>, Echo) -> Vec<String>,
}

pub(super) const fn register<K: AzureKind>() -> Registration {
    Registration {
        name: K::NAME,
        resource_type: K::RESOURCE_TYPE,
        api_version: K::API_VERSION,
        stage: K::STAGE,
        after: K::AFTER,
        leaving: K::LEAVING,
        look_at: look_at::<K>,
        places: K::places,
        plan: plan::<K>,
        leave: leaving::leave::<K>,
        drift_of_echo: drift_of_echo::<K>,
    }
}

fn look_at<K: AzureKind>(scene: &Scene<'_>) -> Vec<ResourceId> {
    K::want(scene).into_iter().map(|wanted| wanted.id).collect()
}

fn plan<K: AzureKind>(scene: &Scene<'_>, ready: &BTreeSet<&'static str>) -> KindPlan {
    let mut plan = KindPlan::default();
    let missing: Vec<_> = K::AFTER
        .iter()
        .filter(|kind| !ready.contains(*kind))
        .copied()
        .collect();
    for Wanted { id, standing } in K::want(scene) {
        let one = One {
            scene,
            what: describe::<K>(&id),
            stage: K::stage(&id),
            id,
        };
        let first = plan.blocked.len();
        plan_one::<K>(&one, standing, &missing, &mut plan);
        if let Some(remedy) = K::remedy(scene, &one.id) {
            for blocked in &mut plan.blocked[first..] {
                blocked.trouble = blocked.trouble.clone().with_remedy(&remedy);
            }
            for step in plan
                .steps
                .iter_mut()
                .filter(|step| step.action.is_of(&one.id))
            {
                step.remedy = Some(remedy.clone());
            }
        }
    }
    plan
}

/// One resource, and where it stands.
struct One<'a> {
    scene: &'a Scene<'a>,
    id: ResourceId,
    what: String,
    stage: ConditionType,
}

impl One<'_> {
    /// Azure had it as the spec asks for it now: a difference was made there, by somebody else.
    fn was_as_wanted(&self, body: &impl Serialize) -> bool {
        let held = self.scene.observed.told.as_wanted.get(&self.id);
        held.is_some_and(|held| *held == fingerprint(body))
    }

    fn finding<K: AzureKind>(&self, fields: &[String], response: Response) -> Finding {
        Finding {
            stage: self.stage,
            kind: K::NAME,
            title: self.id.title(),
            fields: fields.to_vec(),
            response,
        }
    }
}

fn plan_one<K: AzureKind>(
    one: &One<'_>,
    standing: Standing<K::Want>,
    missing: &[&str],
    plan: &mut KindPlan,
) {
    let (what, stage) = (&one.what, one.stage);
    if let Standing::Later { reason, message } = &standing {
        return plan.wait(stage, *reason, message.clone());
    }
    let have = match one.scene.observed.resource(&one.id) {
        Lookup::NotAsked => {
            let message = format!("{what} has not been looked at yet");
            return plan.wait(stage, Reason::Pending, message);
        }
        Lookup::Unavailable(trouble) => return plan.block(stage, trouble.clone()),
        Lookup::Absent => return plan_absent::<K>(one, standing, missing, plan),
        Lookup::Present(have) => have,
    };
    let claim = one.scene.cluster.owner.claim(&K::tags(have));
    let is_claimed = match (&standing, claim) {
        (Standing::Own(_) | Standing::Keep | Standing::Adopt { .. }, Claim::Ours) => true,
        (Standing::Adopt { .. }, Claim::Nobody | Claim::OwnerTagIsGone) => false,
        (Standing::Own(_) | Standing::Keep | Standing::Adopt { .. }, claim) => {
            return plan.block(stage, refused::<K>(one, claim));
        }
        _ => true,
    };
    let decoded: K::Have = match serde_json::from_value(have.clone()) {
        Ok(decoded) => decoded,
        Err(error) => {
            let message = format!("Azure's answer for {what} cannot be read: {error}");
            return plan.block(stage, Trouble::passing(Reason::AzureError, message));
        }
    };
    match K::health(&decoded) {
        Health::Ready => {
            if let Some((reason, message)) = K::misfit(one.scene, &one.id, &decoded) {
                let message = format!("{what}: {message}");
                return plan.block(stage, Trouble::lasting(reason, message));
            }
            operations::holds::<K>(one, plan);
        }
        Health::Settling(message) => {
            return operations::settling::<K>(one, &standing, message, plan);
        }
        Health::Failed { verdict, message } => {
            if operations::failed::<K>(one, &standing, (have, &decoded), (verdict, &message), plan)
            {
                return;
            }
        }
        Health::Unfit { reason, message } => {
            let trouble = Trouble {
                lasting: matches!(standing, Standing::Use { .. } | Standing::Adopt { .. }),
                ..Trouble::passing(reason, format!("{what}: {message}"))
            };
            return plan.block(stage, trouble);
        }
        Health::Spent(message) => {
            plan.steps.push(Step::delete::<K>(one.id.clone(), &message));
            let message = format!("{what}: {message}; it is deleted and made again");
            return plan.wait(stage, Reason::Provisioning, message);
        }
    }
    match &standing {
        Standing::Adopt { body, .. } if !is_claimed => {
            adoption::plan::<K>(one, body, have, &decoded, plan);
        }
        Standing::Own(body) | Standing::OwnWithoutTags(body) | Standing::Adopt { body, .. } => {
            compare::<K>(one, body, have, &decoded, plan);
        }
        Standing::Shared(body) => {
            if let Drift::Update { fields, .. } | Drift::Replace { fields } =
                K::drift(body, &decoded)
            {
                plan.block(stage, conflict::<K>(one, &fields));
            }
        }
        Standing::Keep | Standing::Use { .. } | Standing::Later { .. } => {}
    }
}

fn plan_absent<K: AzureKind>(
    one: &One<'_>,
    standing: Standing<K::Want>,
    missing: &[&str],
    plan: &mut KindPlan,
) {
    let (what, stage) = (&one.what, one.stage);
    let body = match standing {
        Standing::Use { absent } | Standing::Adopt { absent, .. } => {
            let message = format!("{what} does not exist: {}", absent.way_out);
            return plan.block(stage, Trouble::lasting(absent.reason, message));
        }
        // It was there when the line-up was made from the same look.
        Standing::Keep | Standing::Later { .. } => return,
        Standing::Own(body) | Standing::OwnWithoutTags(body) | Standing::Shared(body) => body,
    };
    if !missing.is_empty() {
        let message = format!("{what} waits for {}", missing.join(", "));
        return plan.wait(stage, Reason::Pending, message);
    }
    if !replacement::may_be_made_again::<K>(one, plan) {
        return;
    }
    let told = &one.scene.observed.told;
    let why = if told.replaced.contains_key(&one.id) {
        "it was deleted to be made again"
    } else if told.as_wanted.contains_key(&one.id) {
        plan.findings
            .push(one.finding::<K>(&[], Response::MadeAgain));
        "somebody deleted it in Azure"
    } else {
        "it is not there"
    };
    match serde_json::to_value(&body) {
        Ok(body) => plan.steps.push(Step::put::<K>(one.id.clone(), body, why)),
        Err(error) => {
            let message = format!("{what} cannot be written: {error}");
            plan.block(stage, Trouble::lasting(Reason::InvalidSpec, message));
        }
    }
}

/// What is ours, and what the spec asks of it.
fn compare<K: AzureKind>(
    one: &One<'_>,
    body: &K::Want,
    have: &Value,
    decoded: &K::Have,
    plan: &mut KindPlan,
) {
    match K::drift(body, decoded) {
        Drift::None => plan.as_wanted.push((one.id.clone(), fingerprint(body))),
        Drift::Update { fields, change } => {
            let differs = fields.join(", ");
            let (lane, why) = if !one.was_as_wanted(body) {
                (Lane::UserChange, format!("{differs} differs"))
            } else if one.scene.cluster.drift_policy == DriftPolicy::Report {
                return plan
                    .findings
                    .push(one.finding::<K>(&fields, Response::Reported));
            } else {
                plan.findings
                    .push(one.finding::<K>(&fields, Response::SetBack));
                (Lane::Drift, format!("somebody changed {differs} in Azure"))
            };
            let id = one.id.clone();
            let step = match change {
                Change::Put(body) => Step::put::<K>(id, body, &why).if_unchanged(have),
                Change::Patch(body) => Step::patch::<K>(id, body, &why),
            };
            plan.steps.push(step.on_lane(lane));
        }
        Drift::Replace { fields } => {
            if one.was_as_wanted(body) {
                plan.findings
                    .push(one.finding::<K>(&fields, Response::NotInPlace));
            }
            replacement::plan::<K>(one, have, &fields, plan);
        }
    }
}

fn conflict<K: AzureKind>(one: &One<'_>, fields: &[String]) -> Trouble {
    let message = format!(
        "{} has another {} than the manifest asks for, and Azure cannot change that in place: {}",
        one.what,
        fields.join(", "),
        K::CONFLICT.way_out
    );
    Trouble::lasting(K::CONFLICT.reason, message)
}

/// It is somebody else's, or cannot be proven to be ours.
fn refused<K: AzureKind>(one: &One<'_>, claim: Claim) -> Trouble {
    let what = &one.what;
    let owner = &one.scene.cluster.owner;
    let ways_out = if K::LEAVING == LeavingRule::Delete {
        "choose another name, use it as it is with creationPolicy UseExisting, or have it taken over with creationPolicy Adopt"
    } else {
        "choose another name for the DaskCluster"
    };
    match claim {
        Claim::Another {
            uid,
            cluster,
            foreign_instance,
        } => {
            let whose = cluster.map_or_else(
                || format!("the DaskCluster with UID {uid}"),
                |cluster| format!("the DaskCluster {cluster}"),
            );
            let whose = foreign_instance.map_or_else(
                || whose.clone(),
                |instance| format!("{whose} of the operator instance {instance}"),
            );
            let message = format!(
                "{what} belongs to {whose}: choose another name, or delete that DaskCluster first"
            );
            Trouble::lasting(Reason::AlreadyOwned, message)
        }
        Claim::OwnerTagIsGone if K::LEAVING == LeavingRule::Delete => {
            let message = owner_tag_is_to_be_given_back(what, &one.id, &owner.uid);
            let message = format!("{message}, or use creationPolicy Adopt");
            Trouble::lasting(Reason::NotOurs, message)
        }
        Claim::Nobody | Claim::OwnerTagIsGone | Claim::Ours => {
            let message = format!("{what} exists and was not made for this cluster: {ways_out}");
            Trouble::lasting(Reason::NotOurs, message)
        }
    }
}

fn owner_tag_is_to_be_given_back(what: &str, id: &ResourceId, uid: &str) -> String {
    format!(
        "{what} has lost the tag {OWNER}, so nothing proves that it was made for this cluster: give it back (az tag update --operation merge --resource-id {id} --tags {OWNER}={uid})"
    )
}

/// Names what a spec asks of a resource: the same for the same body, whoever asks and whenever.
fn fingerprint(body: &impl Serialize) -> String {
    // A map of JSON is sorted by its keys.
    let text = serde_json::to_value(body).map_or_else(|_| String::new(), |body| body.to_string());
    short_hash(&text, 8)
}

fn short_hash(text: &str, bytes: usize) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn describe<K: AzureKind>(id: &ResourceId) -> String {
    format!("{} {}", K::NAME, id.title())
}

fn drift_of_echo<K: AzureKind>(scene: &Scene<'_>, echo: Echo) -> Vec<String> {
    let mut drifts = Vec::new();
    for wanted in K::want(scene) {
        let (Standing::Own(body) | Standing::OwnWithoutTags(body) | Standing::Shared(body)) =
            wanted.standing
        else {
            continue;
        };
        let echoed = serde_json::to_value(&body)
            .map(echo)
            .and_then(serde_json::from_value::<K::Have>);
        match echoed {
            Ok(have) => {
                if let Drift::Update { fields, .. } | Drift::Replace { fields } =
                    K::drift(&body, &have)
                {
                    drifts.extend(fields);
                }
            }
            Err(error) => drifts.push(format!("{}: {error}", K::NAME)),
        }
    }
    drifts
}
