//! What all kinds have in common: compare what is wanted with what is there, and say what follows.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::Value;

use super::job::Lineup;
use super::ownership::{owner_uid, tags_of};
use super::{AzureKind, Change, Drift, Health, LeavingRule, Standing, Wanted};
use crate::api::{ConditionType, DeletionPolicy, Reason};
use crate::azure::{ResourceId, Verdict};
use crate::cluster::Place;
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::{Aftermath, Blocked, Course, Observed, Step, ValidCluster, Wait, trouble};

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

/// One kind's share of the plan. Ready when it is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KindPlan {
    pub steps: Vec<Step>,
    pub waits: Vec<Wait>,
    pub blocked: Vec<Blocked>,
    pub aftermaths: Vec<Aftermath>,
}

impl KindPlan {
    pub fn is_ready(&self) -> bool {
        self.steps.is_empty() && self.waits.is_empty() && self.blocked.is_empty()
    }

    /// Forgets that it had failed before.
    fn note_that_it_holds<K: AzureKind>(&mut self, scene: &Scene<'_>, id: &ResourceId) {
        let step = Step::put::<K>(id.clone(), Value::Null, "").key();
        let setback = scene.observed.setbacks.get(&step);
        if setback.is_some_and(|setback| setback.course != Course::Refused) {
            self.aftermaths.push(Aftermath::Holds { step });
        }
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
        leave: leave::<K>,
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
    for wanted in K::want(scene) {
        plan_one::<K>(scene, wanted, &missing, &mut plan);
    }
    plan
}

fn plan_one<K: AzureKind>(
    scene: &Scene<'_>,
    wanted: Wanted<K::Want>,
    missing: &[&str],
    plan: &mut KindPlan,
) {
    let Wanted { id, standing } = wanted;
    let what = describe::<K>(&id);
    let stage = K::stage(&id);
    if let Standing::Later { reason, message } = &standing {
        return plan.wait(stage, *reason, message.clone());
    }
    let have = match scene.observed.resource(&id) {
        Lookup::NotAsked => {
            return plan.wait(
                stage,
                Reason::Pending,
                format!("{what} has not been looked at yet"),
            );
        }
        Lookup::Unavailable(trouble) => return plan.block(stage, trouble.clone()),
        Lookup::Present(have) => have,
        Lookup::Absent => {
            return match standing {
                Standing::Use { absent } => plan.block(
                    stage,
                    Trouble::lasting(
                        absent.reason,
                        format!("{what} does not exist: {}", absent.way_out),
                    ),
                ),
                Standing::Own(_) | Standing::OwnThroughParent(_) | Standing::Shared(_)
                    if !missing.is_empty() =>
                {
                    plan.wait(
                        stage,
                        Reason::Pending,
                        format!("{what} waits for {}", missing.join(", ")),
                    );
                }
                Standing::Own(body) | Standing::OwnThroughParent(body) | Standing::Shared(body) => {
                    match serde_json::to_value(&body) {
                        Ok(body) => plan.steps.push(Step::put::<K>(id, body, "it is not there")),
                        Err(error) => plan.block(
                            stage,
                            Trouble::lasting(
                                Reason::InvalidSpec,
                                format!("{what} cannot be written: {error}"),
                            ),
                        ),
                    }
                }
                // It was there when the line-up was made from the same look.
                Standing::Keep | Standing::Later { .. } => {}
            };
        }
    };
    if matches!(standing, Standing::Own(_) | Standing::Keep)
        && owner_uid(&K::tags(have)) != Some(&scene.cluster.owner.uid)
    {
        let owner = owner_uid(&K::tags(have)).map_or_else(String::new, |uid| {
            format!(" (it belongs to the DaskCluster with UID {uid})")
        });
        return plan.block(
            stage,
            Trouble::lasting(
                Reason::NotOurs,
                format!("{what} exists and was not made for this cluster{owner}: choose another name, or use it as it is with creationPolicy UseExisting"),
            ),
        );
    }
    let decoded: K::Have = match serde_json::from_value(have.clone()) {
        Ok(decoded) => decoded,
        Err(error) => {
            return plan.block(
                stage,
                Trouble::passing(
                    Reason::AzureError,
                    format!("Azure's answer for {what} cannot be read: {error}"),
                ),
            );
        }
    };
    match K::health(&decoded) {
        Health::Ready => plan.note_that_it_holds::<K>(scene, &id),
        Health::Settling(message) => {
            return match overdue(scene.observed, &id, K::SETTLES_WITHIN) {
                None => plan.wait(stage, Reason::Provisioning, message),
                Some(facts) => {
                    let way_out = match standing {
                        Standing::Use { .. } => "its owner has to mend it",
                        _ => "delete it: it is made again, from the manifest",
                    };
                    let message = format!("{what}: {message} {facts}; {way_out}");
                    plan.block(stage, Trouble::passing(Reason::OperationStuck, message));
                }
            };
        }
        Health::Failed { verdict, message } => {
            let failed = Failed::told(scene.observed, &id, verdict, format!("{what}: {message}"));
            // Another size is no matter of another try.
            if !must_be_replaced::<K>(&standing, &decoded) {
                return plan_failed::<K>(scene, id, &standing, &decoded, &failed, plan);
            }
        }
        Health::Unfit { reason, message } => {
            let trouble = Trouble {
                lasting: matches!(standing, Standing::Use { .. }),
                ..Trouble::passing(reason, format!("{what}: {message}"))
            };
            return plan.block(stage, trouble);
        }
    }
    let (Standing::Own(body) | Standing::OwnThroughParent(body) | Standing::Shared(body)) =
        &standing
    else {
        return;
    };
    match K::drift(body, &decoded) {
        Drift::None => {}
        Drift::Update { fields, change } => {
            let why = format!("{} differs", fields.join(", "));
            plan.steps.push(match change {
                Change::Put(body) => Step::put::<K>(id, body, &why),
                Change::Patch(body) => Step::patch::<K>(id, body, &why),
            });
        }
        Drift::Replace { fields } => {
            plan.block(
                stage,
                Trouble::lasting(
                    K::CONFLICT.reason,
                    format!(
                        "{what} has another {} than the manifest asks for, and Azure cannot change that in place: {}",
                        fields.join(", "),
                        K::CONFLICT.way_out
                    ),
                ),
            );
        }
    }
}

fn must_be_replaced<K: AzureKind>(standing: &Standing<K::Want>, have: &K::Have) -> bool {
    match standing {
        Standing::Own(want) | Standing::OwnThroughParent(want) | Standing::Shared(want) => {
            matches!(K::drift(want, have), Drift::Replace { .. })
        }
        Standing::Keep | Standing::Use { .. } | Standing::Later { .. } => false,
    }
}

/// One whose last write Azure did not carry through.
struct Failed {
    verdict: Verdict,
    told: String,
}

impl Failed {
    /// What the resource itself says of it, or else its operation.
    fn told(observed: &Observed, id: &ResourceId, verdict: Verdict, told: String) -> Self {
        let operation = observed.operations.get(id);
        match operation.and_then(|operation| operation.error.as_ref()) {
            Some(error) if !told.contains(&error.code) => Self {
                verdict: error.verdict(),
                told: format!("{told}: {error}"),
            },
            _ => Self { verdict, told },
        }
    }
}

/// What is ours is written again, later after every failure: Azure keeps the name, and a PUT of the same is how it is
/// mended. What is somebody else's is told.
fn plan_failed<K: AzureKind>(
    scene: &Scene<'_>,
    id: ResourceId,
    standing: &Standing<K::Want>,
    have: &K::Have,
    failed: &Failed,
    plan: &mut KindPlan,
) {
    let stage = K::stage(&id);
    let trouble = trouble::of_verdict(failed.verdict, &failed.told);
    let again = match standing {
        Standing::Own(want) | Standing::OwnThroughParent(want) | Standing::Shared(want) => {
            K::again(want, have)
        }
        Standing::Keep | Standing::Use { .. } | Standing::Later { .. } => None,
    };
    let Some(body) = again else {
        return plan.block(stage, trouble.not_lasting());
    };
    let step = Step::put::<K>(id, body, "Azure did not carry the last write through");
    match scene.observed.setbacks.get(&step.key()) {
        Some(setback) if setback.course != Course::TriedAgain => plan.steps.push(step),
        _ => {
            plan.aftermaths.push(Aftermath::Fell {
                step: step.key(),
                trouble: trouble.clone(),
                retry: failed.verdict.class.retry(None),
            });
            plan.block(stage, trouble);
        }
    }
}

/// The facts of an operation that has not ended in time; `None` while it may still take.
pub(crate) fn overdue(
    observed: &Observed,
    id: &ResourceId,
    deadline: SignedDuration,
) -> Option<String> {
    let (since, age) = observed.age(id)?;
    let operation = observed.operations.get(id);
    let operation = operation.map_or_else(String::new, |operation| {
        format!(", operation {}", operation.id)
    });
    (age > deadline).then(|| {
        format!(
            "since {} or longer, which never takes more than {} minutes{operation}",
            since.strftime("%Y-%m-%d %H:%M:%S UTC"),
            deadline.as_mins()
        )
    })
}

fn leave<K: AzureKind>(leaving: &Leaving<'_>) -> KindPlan {
    let mut plan = KindPlan::default();
    let retained = leaving.place.deletion_policy == DeletionPolicy::Retain;
    for id in K::places(leaving.place) {
        let owned_id = match K::LEAVING {
            LeavingRule::DeleteWithParent => id.parent(),
            LeavingRule::Delete => Some(id.clone()),
            LeavingRule::Stay | LeavingRule::End => None,
        };
        let Some(owned_id) = owned_id else { continue };
        let what = describe::<K>(&id);
        let stage = ConditionType::Ready;
        let have = match leaving.observed.resource(&id) {
            Lookup::Absent => continue,
            Lookup::NotAsked => {
                plan.wait(
                    stage,
                    Reason::Deleting,
                    format!("{what} has not been looked at yet"),
                );
                continue;
            }
            Lookup::Unavailable(trouble) => {
                plan.block(stage, trouble.clone().not_lasting());
                continue;
            }
            Lookup::Present(have) => have,
        };
        let ours = match leaving.observed.resource(&owned_id) {
            Lookup::Present(owner) => {
                owner_uid(&tags_of(owner)) == Some(leaving.place.identity.uid.as_str())
            }
            Lookup::Absent => false,
            Lookup::NotAsked | Lookup::Unavailable(_) => {
                plan.wait(
                    stage,
                    Reason::Deleting,
                    format!("who owns {what} is not known yet"),
                );
                continue;
            }
        };
        if !ours || retained && retained_already(have) {
            continue;
        }
        if retained {
            if let Some(step) = retain::<K>(&id, have) {
                plan.steps.push(step);
            }
            continue;
        }
        let state = have
            .pointer("/properties/provisioningState")
            .and_then(Value::as_str);
        if state == Some("Deleting") {
            match overdue(leaving.observed, &id, K::GOES_WITHIN) {
                None => plan.wait(stage, Reason::Deleting, format!("{what} is Deleting")),
                Some(facts) => {
                    let message = format!("{what} is Deleting {facts}; ask Azure's support");
                    plan.block(stage, Trouble::passing(Reason::OperationStuck, message));
                }
            }
        } else {
            plan.steps
                .push(Step::delete::<K>(id, "the DaskCluster is being deleted"));
        }
    }
    plan
}

fn retained_already(have: &Value) -> bool {
    let tags = tags_of(have);
    tags.keys()
        .any(|name| name.eq_ignore_ascii_case(super::ownership::RETAINED))
}

/// The whole body again with the tag that says it was left on purpose; `None` where the kind has no tags.
fn retain<K: AzureKind>(id: &ResourceId, have: &Value) -> Option<Step> {
    if K::LEAVING != LeavingRule::Delete {
        return None;
    }
    let mut body = have.clone();
    let fields = body.as_object_mut()?;
    for read_only in ["id", "name", "type", "etag", "systemData"] {
        fields.remove(read_only);
    }
    let mut tags = tags_of(have);
    tags.insert(super::ownership::RETAINED.into(), "true".into());
    fields.insert("tags".into(), serde_json::to_value(tags).ok()?);
    let assigned = have.pointer("/identity/userAssignedIdentities");
    if let Some(ids) = assigned.and_then(Value::as_object) {
        let nothing = |id: &String| (id.clone(), Value::Object(Default::default()));
        fields["identity"]["userAssignedIdentities"] = ids.keys().map(nothing).collect();
    }
    if let Some(identity) = fields.get_mut("identity").and_then(Value::as_object_mut) {
        identity.retain(|name, _| ["type", "userAssignedIdentities"].contains(&name.as_str()));
    }
    K::writable(fields.get_mut("properties")?);
    Some(Step::put::<K>(
        id.clone(),
        body,
        "deletionPolicy is Retain: it stays, and says so",
    ))
}

fn describe<K: AzureKind>(id: &ResourceId) -> String {
    format!("{} {}", K::NAME, id.title())
}

fn drift_of_echo<K: AzureKind>(scene: &Scene<'_>, echo: Echo) -> Vec<String> {
    let mut drifts = Vec::new();
    for wanted in K::want(scene) {
        let (Standing::Own(body) | Standing::OwnThroughParent(body) | Standing::Shared(body)) =
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
