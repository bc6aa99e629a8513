//! Service, EndpointSlice and connection Secret.

use super::stages::{HeadAddress, SchedulerStage};
use super::{Action, Child, Plan, Step};
use crate::api::{ConditionType, Reason};
use crate::azure_resources::Scene;
use crate::azure_resources::job::{Lineup, Occupant};
use crate::kubernetes_children::{
    HeldConnection, connection_secret_name, endpoint_slice, is_owned_by, service,
    service_is_as_wanted, service_name, slice_is_as_wanted,
};
use crate::lookup::{Lookup, Trouble};

const STAGE: ConditionType = ConditionType::SchedulerReady;

/// Says whether the head's token is in place, so that jobs may be submitted.
pub(super) fn plan(
    scene: &Scene<'_>,
    lineup: &Lineup,
    stage: &SchedulerStage,
    plan: &mut Plan,
) -> bool {
    plan_service(scene, plan);
    plan_slice(scene, stage, plan);
    plan_connection(scene, lineup, stage, plan)
}

fn plan_service(scene: &Scene<'_>, plan: &mut Plan) {
    let identity = &scene.cluster.place.identity;
    let wanted = service(identity);
    match &scene.observed.service {
        Lookup::Absent => {
            let action = Action::CreateChild(Child::Service(Box::new(wanted)));
            // A Service of that name that is not ours is seen when ours is refused: before anything that costs money.
            plan.steps.push(Step::new(action, STAGE, "clients find the scheduler by it").gating());
        }
        Lookup::Present(have) if !is_owned_by(&have.metadata, identity) => plan.block(
            STAGE,
            Trouble::lasting(
                Reason::ServiceNotOurs,
                format!("Service {} exists and belongs to somebody else: delete it, or give the DaskCluster another name", service_name(identity)),
            ),
        ),
        Lookup::Present(have) if !service_is_as_wanted(&wanted, have) => {
            let mut wanted = wanted;
            wanted.metadata.uid.clone_from(&have.metadata.uid);
            let action = Action::UpdateChild(Child::Service(Box::new(wanted)));
            plan.steps.push(Step::new(action, STAGE, "its ports or selector were changed"));
        }
        Lookup::Present(_) | Lookup::NotAsked => {}
        Lookup::Unavailable(trouble) => plan.block(STAGE, trouble.clone()),
    }
}

fn plan_slice(scene: &Scene<'_>, stage: &SchedulerStage, plan: &mut Plan) {
    let identity = &scene.cluster.place.identity;
    let wanted = stage
        .believed()
        .filter(|address| address.is_routable())
        .map(|address| endpoint_slice(identity, address.ip, &address.service_ports()));
    let have = match &scene.observed.endpoint_slice {
        Lookup::Absent => None,
        Lookup::Present(have) if is_owned_by(&have.metadata, identity) => Some(have),
        Lookup::Present(_) | Lookup::NotAsked => return,
        Lookup::Unavailable(trouble) => return plan.block(STAGE, trouble.clone()),
    };
    let step = match (wanted, have) {
        (Some(wanted), None) => {
            let action = Action::CreateChild(Child::EndpointSlice(Box::new(wanted)));
            Step::new(action, STAGE, "the scheduler has an address")
        }
        (Some(mut wanted), Some(have)) if !slice_is_as_wanted(&wanted, have) => {
            wanted.metadata.uid.clone_from(&have.metadata.uid);
            let action = Action::UpdateChild(Child::EndpointSlice(Box::new(wanted)));
            Step::new(action, STAGE, "the scheduler has another address")
        }
        (None, Some(_)) => {
            let action = Action::DeleteEndpointSlice {
                name: service_name(identity),
            };
            Step::new(action, STAGE, "the scheduler has no address")
        }
        (Some(_), Some(_)) | (None, None) => return,
    };
    plan.steps.push(step);
}

fn plan_connection(
    scene: &Scene<'_>,
    lineup: &Lineup,
    stage: &SchedulerStage,
    plan: &mut Plan,
) -> bool {
    let identity = &scene.cluster.place.identity;
    let held = match &scene.observed.connection {
        Lookup::Absent => None,
        Lookup::Present(held) if held.ours => Some(held),
        Lookup::Present(_) => {
            plan.block(
                STAGE,
                Trouble::lasting(
                    Reason::SecretNotOurs,
                    format!("Secret {} exists and belongs to somebody else: delete it, or give the DaskCluster another name", connection_secret_name(identity)),
                ),
            );
            return false;
        }
        Lookup::NotAsked => return false,
        Lookup::Unavailable(trouble) => {
            plan.block(STAGE, trouble.clone());
            return false;
        }
    };
    let head = identity.job_id(lineup.head.name());
    let Some(token) = scene.head_token(lineup) else {
        plan.block(
            STAGE,
            Trouble::lasting(
                Reason::TokenLost,
                format!("Secret {} no longer holds the token of job {head}, and its scheduler takes no other: cancel the job in Azure ML, and a new head is started", connection_secret_name(identity)),
            ),
        );
        return true;
    };
    let address = stage.believed();
    let wanted = HeldConnection {
        ours: true,
        uid: held.and_then(|held| held.uid.clone()),
        head_run: Some(head),
        token: Some(token),
        address: address.map(|address| address.scheduler.clone()),
        dashboard: address.map(|address| address.dashboard.clone()),
    };
    let why = match (&lineup.head, address) {
        (Occupant::Vacant { .. }, _) => "the head is submitted with the hash of a new token",
        (Occupant::Alive(_), None) => "the head has no address",
        (Occupant::Alive(_), Some(_)) => "the head has published its address",
    };
    let step = match held {
        None => Action::CreateChild(Child::ConnectionSecret(wanted)),
        Some(held) if !same_connection(&wanted, held) => {
            Action::UpdateChild(Child::ConnectionSecret(wanted))
        }
        Some(_) => return true,
    };
    plan.steps.push(Step::new(step, STAGE, why).gating());
    true
}

/// Empty and missing keys mean the same.
fn same_connection(wanted: &HeldConnection, held: &HeldConnection) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    wanted.head_run == held.head_run
        && wanted.token == held.token
        && text(&wanted.address) == text(&held.address)
        && text(&wanted.dashboard) == text(&held.dashboard)
}

impl HeadAddress {
    /// The ports behind the Service's ports of the same names.
    fn service_ports(&self) -> [(&'static str, u16); 2] {
        [
            ("tcp-comm", self.scheduler_port),
            ("http-dashboard", self.dashboard_port),
        ]
    }
}
