//! Events of `events.k8s.io`. kube's own recorder counts events of one reason and action as one and drops what the later
//! ones say; here only those that say the same are one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as KubernetesEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Client};
use serde_json::json;

use crate::clock::Clock;

/// An event that comes again later than that after the last time is another one, as with client-go.
const SERIES_LASTS: SignedDuration = SignedDuration::from_mins(6);

/// Tells events as this reporter.
pub struct Recorder {
    client: Client,
    clock: Clock,
    reporter: &'static str,
    told: Mutex<Series>,
}

impl Recorder {
    pub fn new(client: Client, clock: Clock, reporter: &'static str) -> Self {
        Self {
            client,
            clock,
            reporter,
            told: Mutex::default(),
        }
    }

    /// # Errors
    /// When Kubernetes does not take it. It is not told again by itself.
    pub async fn publish(
        &self,
        event: &Event,
        regarding: &ObjectReference,
    ) -> Result<(), kube::Error> {
        let now = self.clock.now();
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let events: Api<KubernetesEvent> = Api::namespaced(self.client.clone(), namespace);
        let key = key(event, regarding);
        let again = self.lock().again(&key, now);
        if let Some((name, count)) = again {
            let series = json!({"series": {"count": count, "lastObservedTime": MicroTime(now)}});
            let patched = events
                .patch(&name, &PatchParams::default(), &Patch::Merge(&series))
                .await;
            match patched {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                other => return other.map(drop),
            }
        }
        let told = self.first(event, regarding, now);
        let told = events.create(&PostParams::default(), &told).await?;
        self.lock()
            .began(key, told.metadata.name.unwrap_or_default(), now);
        Ok(())
    }

    fn first(&self, event: &Event, regarding: &ObjectReference, now: Timestamp) -> KubernetesEvent {
        let about = regarding.name.as_deref().unwrap_or(self.reporter);
        let mut told = KubernetesEvent {
            action: Some(event.action.clone()),
            reason: Some(event.reason.clone()),
            note: event.note.clone(),
            type_: Some(type_of(event).to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding.clone()),
            related: event.secondary.clone(),
            reporting_controller: Some(self.reporter.to_owned()),
            reporting_instance: Some(self.reporter.to_owned()),
            ..KubernetesEvent::default()
        };
        told.metadata.namespace.clone_from(&regarding.namespace);
        told.metadata.generate_name = Some(format!("{about}-"));
        told
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Series> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Object, type, reason, action and note.
type Key = [String; 5];

fn key(event: &Event, regarding: &ObjectReference) -> Key {
    [
        regarding.uid.clone().unwrap_or_default(),
        type_of(event).to_owned(),
        event.reason.clone(),
        event.action.clone(),
        event.note.clone().unwrap_or_default(),
    ]
}

fn type_of(event: &Event) -> &'static str {
    match event.type_ {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    }
}

/// What was told lately.
#[derive(Default)]
struct Series(HashMap<Key, Told>);

struct Told {
    name: String,
    count: i32,
    at: Timestamp,
}

impl Series {
    /// The name of the event that says the same, and how often that has been told now.
    fn again(&mut self, key: &Key, now: Timestamp) -> Option<(String, i32)> {
        self.0
            .retain(|_, told| now.duration_since(told.at) < SERIES_LASTS);
        let told = self.0.get_mut(key)?;
        told.count = told.count.saturating_add(1);
        told.at = now;
        Some((told.name.clone(), told.count))
    }

    fn began(&mut self, key: Key, name: String, at: Timestamp) {
        let told = Told { name, count: 1, at };
        self.0.insert(key, told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixtures::seconds_after_noon as at;

    fn key_of(note: &str) -> Key {
        let event = Event {
            type_: EventType::Normal,
            reason: "Ready".into(),
            note: Some(note.to_owned()),
            action: "Provision".into(),
            secondary: None,
        };
        key(&event, &ObjectReference::default())
    }

    #[test]
    fn only_what_says_the_same_within_six_minutes_is_counted_as_one() {
        let mut series = Series::default();
        let network = key_of("NetworkReady is True");
        assert_eq!(series.again(&network, at(0)), None);
        series.began(network.clone(), "noaa.1".into(), at(0));
        assert_eq!(series.again(&key_of("ComputeReady is True"), at(1)), None);
        assert_eq!(series.again(&network, at(300)), Some(("noaa.1".into(), 2)));
        assert_eq!(series.again(&network, at(659)), Some(("noaa.1".into(), 3)));
        assert_eq!(series.again(&network, at(659 + 360)), None);
        assert!(series.0.is_empty(), "nothing is kept of it");
    }
}
