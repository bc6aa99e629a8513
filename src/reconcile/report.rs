//! Step 6: tell. Writes the status if it changed, publishes the events, and says when to look again.

use std::time::Duration;

use kube::runtime::events::{Event as KubernetesEvent, EventType};
use kube::{Resource as _, ResourceExt as _};

use super::Context;
use super::conclude::{Conclusion, Event, Next, reached, write_not_before};
use super::error::Error;
use super::memory::ClusterMemory;
use super::status::scaled;
use crate::api::{DaskCluster, DaskClusterStatus};
use crate::kubernetes::ClusterWriter;

/// # Errors
/// When the status could not be written.
pub(super) async fn report(
    context: &Context,
    cluster: &DaskCluster,
    writer: &ClusterWriter<'_>,
    conclusion: Conclusion,
    memory: &mut ClusterMemory,
) -> Result<Option<Duration>, Error> {
    publish(context, cluster, &conclusion.occurrences).await;
    let mut wait = match conclusion.next {
        Next::After(wait) => wait,
        Next::AtRest => context.resync,
        Next::Never => {
            publish(context, cluster, &conclusion.events).await;
            return Ok(None);
        }
    };
    if let Some(at) = conclusion.look_again {
        let until = at.duration_since(context.clock.now());
        wait = wait.min(Duration::try_from(until).unwrap_or_default());
    }
    let before = cluster.status.clone().unwrap_or_default();
    let now = context.clock.now();
    match write_not_before(&before, &conclusion.status, memory.last_status_write, now) {
        None => {}
        Some(at) if at <= now => {
            write(context, writer, &conclusion.status, memory).await?;
            count(context, &before, &conclusion.status);
            publish(context, cluster, &conclusion.events).await;
        }
        Some(at) => wait = wait.min(Duration::try_from(at.duration_since(now)).unwrap_or_default()),
    }
    Ok(Some(wait))
}

/// # Errors
/// When the API server did not take the status.
pub(super) async fn write(
    context: &Context,
    writer: &ClusterWriter<'_>,
    status: &DaskClusterStatus,
    memory: &mut ClusterMemory,
) -> Result<(), Error> {
    writer
        .set_status(status)
        .await
        .map_err(|source| Error::Report {
            source: Box::new(source),
        })?;
    context.metrics.count_status_write();
    memory.last_status_write = Some(context.clock.now());
    Ok(())
}

/// Counts what this status is the first to tell.
fn count(context: &Context, before: &DaskClusterStatus, status: &DaskClusterStatus) {
    for reached in reached(before, status) {
        context.metrics.count_stage(&reached);
    }
    if let Some((had, has)) = scaled(before, status) {
        context.metrics.count_scaling(had, has);
    }
}

/// An event that is lost is lost: the status says the same.
async fn publish(context: &Context, cluster: &DaskCluster, events: &[Event]) {
    let regarding = cluster.object_ref(&());
    for event in events {
        let told = KubernetesEvent {
            type_: if event.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: event.reason.as_str().to_owned(),
            note: Some(as_long_as_kubernetes_takes(&event.note).to_owned()),
            action: event.action.to_owned(),
            secondary: None,
        };
        if let Err(error) = context.recorder.publish(&told, &regarding).await {
            tracing::warn!(%error, cluster = cluster.name_any(), "an event could not be published");
        }
    }
}

/// The longest note that Kubernetes takes, in bytes.
const MAX_NOTE: usize = 1024;

/// As much of an event's note as Kubernetes takes.
pub(crate) fn as_long_as_kubernetes_takes(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_NOTE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_as_long_as_kubernetes_takes_and_ends_in_a_whole_character() {
        assert_eq!(
            as_long_as_kubernetes_takes("Ready is True"),
            "Ready is True"
        );
        assert_eq!(as_long_as_kubernetes_takes(&"x".repeat(2000)).len(), 1024);
        assert_eq!(
            as_long_as_kubernetes_takes(&"日".repeat(1000)),
            "日".repeat(341)
        );
    }
}
