//! What this release understands of DaskClusters that another one may have written. A spec that it does not understand
//! must not keep it from seeing all others, as an error of the whole watch would.

use std::borrow::Cow;
use std::collections::HashSet;

use futures::{Stream, StreamExt as _, future};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::events::{Event as KubernetesEvent, EventType};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::recorder::Recorder;
use crate::api::{DaskCluster, DaskClusterStatus, Reason};
use crate::kubernetes_children::MANAGER;

/// A DaskCluster as it was read.
#[derive(Clone, Debug)]
pub enum Read {
    Understood(Box<DaskCluster>),
    Stranger(Box<Stranger>),
}

/// A DaskCluster whose spec says something that this release does not know.
#[derive(Clone, Debug)]
pub struct Stranger {
    pub metadata: ObjectMeta,
    /// Names the field.
    pub why: String,
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        if let Ok(cluster) = DaskCluster::deserialize(&object) {
            return Ok(Self::Understood(Box::new(cluster)));
        }
        let status = object.as_object_mut().and_then(|it| it.remove("status"));
        match DaskCluster::deserialize(&object) {
            Ok(mut cluster) => {
                cluster.status = status.as_ref().and_then(what_is_understood);
                Ok(Self::Understood(Box::new(cluster)))
            }
            Err(error) => Ok(Self::Stranger(Box::new(Stranger {
                metadata: ObjectMeta::deserialize(&object["metadata"])
                    .map_err(de::Error::custom)?,
                why: why(&object, &error.to_string()),
            }))),
        }
    }
}

/// The fields of a status that mean something to this release.
fn what_is_understood(status: &Value) -> Option<DaskClusterStatus> {
    let fields = status.as_object()?.iter().filter(|(name, value)| {
        let alone = json!({name.as_str(): value});
        DaskClusterStatus::deserialize(alone).is_ok()
    });
    let fields: Map<_, _> = fields
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    DaskClusterStatus::deserialize(Value::Object(fields)).ok()
}

/// The error, with the field of the spec without which there would be another one or none.
fn why(object: &Value, error: &str) -> String {
    let spec = object.get("spec").and_then(Value::as_object);
    let mut names = spec.into_iter().flat_map(Map::keys);
    let culprit = names.find(|name| {
        let mut without = object.clone();
        if let Some(spec) = without.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove(name.as_str());
        }
        DaskCluster::deserialize(without)
            .err()
            .is_none_or(|other| other.to_string() != error)
    });
    match culprit {
        Some(name) => format!("spec.{name}: {error}"),
        None => error.to_owned(),
    }
}

impl Resource for Read {
    type DynamicType = ();
    type Scope = <DaskCluster as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        DaskCluster::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        DaskCluster::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        DaskCluster::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        DaskCluster::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Understood(cluster) => &cluster.metadata,
            Self::Stranger(stranger) => &stranger.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Understood(cluster) => &mut cluster.metadata,
            Self::Stranger(stranger) => &mut stranger.metadata,
        }
    }
}

/// The events of those that are understood; the others go to `strangers`, and stay in `known` as they were last
/// understood.
pub fn understood<E>(
    events: impl Stream<Item = Result<Event<Read>, E>> + Send,
    known: Store<DaskCluster>,
    strangers: mpsc::UnboundedSender<Stranger>,
) -> impl Stream<Item = Result<Event<DaskCluster>, E>> + Send
where
    E: Send,
{
    let last = move |stranger: &Stranger| {
        let name = stranger.metadata.name.as_deref().unwrap_or_default();
        let namespace = stranger.metadata.namespace.as_deref().unwrap_or_default();
        let known = known.get(&ObjectRef::new(name).within(namespace))?;
        Some((*known).clone())
    };
    let tell = move |stranger: Stranger| {
        // The receiver lives as long as the controller.
        let _ = strangers.send(stranger);
    };
    events.filter_map(move |event| {
        let kept = match event {
            Err(error) => Some(Err(error)),
            Ok(Event::Init) => Some(Ok(Event::Init)),
            Ok(Event::InitDone) => Some(Ok(Event::InitDone)),
            Ok(Event::InitApply(Read::Understood(cluster))) => Some(Ok(Event::InitApply(*cluster))),
            Ok(Event::Apply(Read::Understood(cluster))) => Some(Ok(Event::Apply(*cluster))),
            Ok(Event::Delete(Read::Understood(cluster))) => Some(Ok(Event::Delete(*cluster))),
            Ok(Event::InitApply(Read::Stranger(stranger))) => {
                let last = last(&stranger);
                tell(*stranger);
                last.map(|last| Ok(Event::InitApply(last)))
            }
            Ok(Event::Apply(Read::Stranger(stranger))) => {
                tell(*stranger);
                None
            }
            Ok(Event::Delete(Read::Stranger(stranger))) => {
                last(&stranger).map(|last| Ok(Event::Delete(last)))
            }
        };
        future::ready(kept)
    })
}

/// Says of each cluster that this release does not understand why, once a generation.
pub async fn tell_strangers(recorder: &Recorder, mut strangers: mpsc::UnboundedReceiver<Stranger>) {
    let mut told = HashSet::new();
    while let Some(stranger) = strangers.recv().await {
        let Stranger { metadata, why } = stranger;
        let uid = metadata.uid.clone().unwrap_or_default();
        if !told.insert((uid, metadata.generation)) {
            continue;
        }
        let note = format!(
            "{} {} does not understand this: {why}. Correct it, or run the release of the operator that knows it; until then the cluster is left as it is",
            MANAGER,
            env!("CARGO_PKG_VERSION"),
        );
        let regarding = ObjectReference {
            api_version: Some(DaskCluster::api_version(&()).into_owned()),
            kind: Some(DaskCluster::kind(&()).into_owned()),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            ..ObjectReference::default()
        };
        tracing::warn!(
            namespace = metadata.namespace,
            name = metadata.name,
            "{note}"
        );
        let event = KubernetesEvent {
            type_: EventType::Warning,
            reason: Reason::InvalidSpec.as_str().to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &regarding).await {
            tracing::warn!(%error, "an event could not be published");
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use kube::runtime::watcher;

    use super::*;

    fn cluster(name: &str) -> Value {
        json!({
            "apiVersion": "azureml.dask.dev/v1alpha1",
            "kind": "DaskCluster",
            "metadata": {"name": name, "namespace": "weather", "uid": "1"},
            "spec": {
                "workspace": {"subscriptionId": "0", "resourceGroup": "rg", "name": "ws"},
                "compute": {"vmSize": "STANDARD_DS3_V2", "maxNodes": 3},
                "driftPolicy": "Report",
            },
            "status": {"phase": "Running", "observedGeneration": 3, "replicas": 2},
        })
    }

    fn read(object: Value) -> Read {
        serde_json::from_value(object).unwrap()
    }

    fn with(pointer: &str, value: &str) -> Value {
        let mut object = cluster("noaa");
        *object.pointer_mut(pointer).unwrap() = json!(value);
        object
    }

    #[test]
    fn what_another_release_wrote_is_understood_as_far_as_it_can_be() {
        let Read::Understood(all) = read(cluster("noaa")) else {
            panic!("it is understood");
        };
        assert!(all.status.unwrap().phase.is_some());
        // An operator that was rolled back finds a phase of the newer one.
        let Read::Understood(older) = read(with("/status/phase", "Hibernating")) else {
            panic!("its spec is understood");
        };
        let status = older.status.unwrap();
        assert_eq!(
            (status.phase, status.observed_generation, status.replicas),
            (None, Some(3), Some(2))
        );
        let mut more = cluster("noaa");
        more["spec"]["invented"] = json!({"later": true});
        more["status"]["invented"] = json!("later");
        assert!(
            matches!(read(more), Read::Understood(_)),
            "a field more is no trouble"
        );
        let Read::Stranger(stranger) = read(with("/spec/driftPolicy", "Ask")) else {
            panic!("its spec is not understood");
        };
        assert!(
            stranger.why.starts_with("spec.driftPolicy: ") && stranger.why.contains("Ask"),
            "{}",
            stranger.why
        );
        assert_eq!(stranger.metadata.name.as_deref(), Some("noaa"));
    }

    #[tokio::test]
    async fn a_stranger_is_told_and_stays_as_it_was_last_understood() {
        let (store, mut writer) = reflector::store();
        let Read::Understood(known) = read(cluster("noaa")) else {
            panic!("it is understood");
        };
        writer.apply_watcher_event(&watcher::Event::Apply(*known));
        let stranger = || read(with("/spec/driftPolicy", "Ask"));
        let events = [
            Event::Init,
            Event::InitApply(stranger()),
            Event::InitApply(read(cluster("other"))),
            Event::InitDone,
            Event::Apply(stranger()),
            Event::Delete(stranger()),
        ];
        let (strangers, mut told) = mpsc::unbounded_channel();
        let events = futures::stream::iter(events.map(Ok::<_, ()>));
        let events: Vec<_> = understood(events, store, strangers).collect().await;
        let kinds: Vec<_> = events
            .into_iter()
            .map(|event| match event.unwrap() {
                Event::Init => "init".to_owned(),
                Event::InitDone => "done".to_owned(),
                Event::InitApply(it) => format!("there is {}", it.metadata.name.unwrap()),
                Event::Apply(it) => format!("changed {}", it.metadata.name.unwrap()),
                Event::Delete(it) => format!("gone {}", it.metadata.name.unwrap()),
            })
            .collect();
        assert_eq!(
            kinds,
            [
                "init",
                "there is noaa",
                "there is other",
                "done",
                "gone noaa"
            ]
        );
        assert!(told.recv().await.is_some() && told.recv().await.is_some());
        assert!(told.recv().await.is_none(), "who goes is told no more");
    }
}
