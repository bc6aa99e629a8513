//! Looks now and then for what carries our tags and has no living owner: a DaskCluster whose finalizer was forced
//! away, or an operator that died between a write and everything else, leaves such behind. Also archives the jobs of
//! workers that have ended, so that lists stay short.

mod findings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use kube::api::{Api, ListParams};
use kube::runtime::events::{Event, EventType};
use serde_json::Value;

pub use self::findings::OrphanPolicy;
use self::findings::{Carrier, Findings, Orphan, Pool, What, findings};
use crate::access::AzureAccess;
use crate::api::{DaskCluster, Priority, Reason};
use crate::azure::{ArmClient, Class, Errand, Error, Lane, Listing, ResourceId};
use crate::azure_resources::job::JobFacts;
use crate::azure_resources::ownership::{self, tags_of};
use crate::azure_resources::{AzureKind as _, ComputeCluster, ComputeHave, Job, VirtualNetwork};
use crate::reconcile::{Context, Price, Workspace, as_long_as_kubernetes_takes};

/// Jobs that one sweep archives in one workspace: the rest has time.
const ARCHIVED_AT_ONCE: usize = 100;
/// DaskClusters a page.
const PAGE: u32 = 500;

/// How a sweep goes.
#[derive(Clone, Copy, Debug)]
pub struct SweepSettings {
    pub interval: Duration,
    pub orphans: OrphanPolicy,
    /// How long an orphan is only told, whatever the policy.
    pub grace: Duration,
}

/// Since when each orphan is known.
type Known = BTreeMap<ResourceId, Timestamp>;
/// What each orphan costs in an hour.
type Costs = BTreeMap<ResourceId, Price>;

/// Sweeps every workspace that a cluster has been on lately, for ever.
pub(crate) async fn sweep(context: Arc<Context>, settings: SweepSettings) {
    let mut known = Known::new();
    loop {
        context.clock.sleep(settings.interval).await;
        let mut orphans = Vec::new();
        let mut told = Known::new();
        for (access, workspace) in context.inventory.workspaces() {
            let on_lane = |lane| {
                access.client.on_errand(Errand {
                    lane,
                    cluster: None,
                })
            };
            let sweep = Sweep {
                context: &context,
                access: &access,
                eyes: on_lane(Lane::Drift),
                hands: on_lane(Lane::Delete),
                workspace: &workspace,
            };
            match sweep.look(&known, settings).await {
                Ok(findings) => {
                    let costs = sweep.costs(&findings).await;
                    sweep.tell(&findings, &known, &costs).await;
                    sweep.clean_up(&findings).await;
                    for Orphan { carrier, since } in findings.orphans {
                        let hourly = costs.get(&carrier.id).map(|cost| cost.amount);
                        orphans.push((kind(&carrier), hourly));
                        told.insert(carrier.id, since);
                    }
                }
                Err(error) => {
                    let waits = error
                        .downcast_ref::<Error>()
                        .is_some_and(|error| error.class() == Class::OutOfBudget);
                    if waits {
                        tracing::info!(%error, %workspace, "a workspace is swept the next time");
                    } else {
                        tracing::warn!(error = &*error, %workspace, "a workspace could not be swept");
                    }
                    // What is known of it is still known.
                    told.extend(known.clone());
                }
            }
        }
        context.metrics.tell_orphans(&orphans);
        known = told;
    }
}

/// One workspace at one sweep.
struct Sweep<'a> {
    context: &'a Context,
    access: &'a AzureAccess,
    eyes: ArmClient,
    hands: ArmClient,
    workspace: &'a ResourceId,
}

type Unseen = Box<dyn std::error::Error + Send + Sync>;

impl Sweep<'_> {
    /// Everything is read, or nothing follows. Owners come last: one whose resources were seen has been there.
    async fn look(&self, known: &Known, settings: SweepSettings) -> Result<Findings, Unseen> {
        let instance = &self.context.defaults.instance;
        let mut carriers = self.networks().await?;
        carriers.extend(self.pools().await?);
        carriers.extend(self.jobs().await?);
        carriers.retain(|carrier| carrier.is_of(instance));
        let living = self.living().await?;
        let now = self.context.clock.now();
        Ok(findings(&carriers, &living, known, settings, now))
    }

    async fn networks(&self) -> Result<Vec<Carrier>, Unseen> {
        let group = self.workspace.resource_group().unwrap_or_default();
        let networks = ResourceId::subscription(self.workspace.subscription_id())?
            .in_resource_group(group)?
            .resources("Microsoft.Network", "virtualNetworks")?;
        let listing = self
            .eyes
            .list(&networks, VirtualNetwork::API_VERSION, &[])
            .await?;
        Ok(carriers(listing, tags_of, |_| Some(What::Network)))
    }

    async fn pools(&self) -> Result<Vec<Carrier>, Unseen> {
        let listing = self
            .list("computes", ComputeCluster::API_VERSION, &[])
            .await?;
        Ok(carriers(listing, tags_of, pool))
    }

    async fn jobs(&self) -> Result<Vec<Carrier>, Unseen> {
        let query = [("tag", ownership::OWNER)];
        let listing = self.list("jobs", Job::API_VERSION, &query).await?;
        Ok(carriers(listing, Job::tags, |body| {
            JobFacts::read(body).map(|facts| What::Job(Box::new(facts)))
        }))
    }

    async fn list(
        &self,
        kind: &str,
        api_version: &str,
        query: &[(&str, &str)],
    ) -> Result<Listing, Unseen> {
        let collection = self.workspace.collection(kind)?;
        Ok(self.eyes.list(&collection, api_version, query).await?)
    }

    /// The API server itself is asked: a cache may be behind.
    async fn living(&self) -> Result<BTreeSet<String>, Unseen> {
        let clusters: Api<DaskCluster> = Api::all(self.context.client.clone());
        let mut living = BTreeSet::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let listed = clusters.list_metadata(&page).await?;
            living.extend(
                listed
                    .items
                    .iter()
                    .filter_map(|cluster| cluster.metadata.uid.clone()),
            );
            match listed.metadata.continue_ {
                Some(next) if !next.is_empty() => page = page.continue_token(&next),
                _ => return Ok(living),
            }
        }
    }

    /// What the pools among the orphans cost in an hour, as far as Azure tells.
    async fn costs(&self, findings: &Findings) -> Costs {
        let mut costs = Costs::new();
        for Orphan { carrier, .. } in &findings.orphans {
            let What::Pool(pool) = &carrier.what else {
                continue;
            };
            let sizes = self
                .context
                .inventory
                .regions()
                .vm_sizes(self.access, self.workspace, &pool.location)
                .await;
            let sizes = sizes.present().map(|sizes| &**sizes).unwrap_or_default();
            let size = sizes
                .iter()
                .find(|size| size.name.eq_ignore_ascii_case(&pool.vm_size));
            if let Some(price) = size.and_then(|size| size.hourly_price(pool.priority)) {
                let amount = price.amount * f64::from(pool.nodes);
                costs.insert(carrier.id.clone(), Price { amount, ..price });
            }
        }
        costs
    }

    /// Each orphan is told once: in the log by itself, in an event together with the others of its
    /// cluster.
    async fn tell(&self, findings: &Findings, known: &Known, costs: &Costs) {
        let mut of_cluster: BTreeMap<Option<&str>, Vec<(&Carrier, String)>> = BTreeMap::new();
        let news = findings
            .orphans
            .iter()
            .filter(|orphan| !known.contains_key(&orphan.carrier.id));
        for Orphan { carrier, .. } in news {
            let title = match costs.get(&carrier.id) {
                Some(cost) => format!(
                    "{}, {:.2} {} an hour",
                    title(carrier),
                    cost.amount,
                    cost.currency
                ),
                None => title(carrier),
            };
            tracing::warn!(id = %carrier.id, owner = carrier.owner(), "{title} has no owner any more");
            let left = of_cluster.entry(carrier.owner()).or_default();
            left.push((carrier, title));
        }
        for left in of_cluster.values() {
            let titles: Vec<_> = left.iter().map(|(_, title)| title.as_str()).collect();
            let note = left_behind(&titles);
            self.publish(left[0].0, Reason::Orphaned, note).await;
        }
        if let Some(held_back) = &findings.held_back {
            tracing::error!(workspace = %self.workspace, "{held_back}");
        }
    }

    async fn clean_up(&self, findings: &Findings) {
        let mut removed: BTreeMap<Option<&str>, Vec<&Carrier>> = BTreeMap::new();
        for carrier in &findings.remove {
            let answer = match &carrier.what {
                What::Network => continue,
                What::Pool(_) => {
                    let query = ComputeCluster::DELETE_QUERY;
                    self.hands
                        .delete(&carrier.id, ComputeCluster::API_VERSION, query)
                        .await
                }
                What::Job(_) => {
                    self.hands
                        .post(&carrier.id, "cancel", Job::API_VERSION, None)
                        .await
                }
            };
            match answer {
                Ok(_) => {
                    tracing::warn!(id = %carrier.id, owner = carrier.owner(), "removed {}, which had no owner", title(carrier));
                    removed.entry(carrier.owner()).or_default().push(carrier);
                }
                Err(error) => {
                    tracing::warn!(%error, id = %carrier.id, "an orphan could not be removed");
                }
            }
        }
        for carriers in removed.values() {
            let titles: Vec<_> = carriers.iter().map(|carrier| title(carrier)).collect();
            let note = format!("removed, as nobody owns it: {}", titles.join(", "));
            self.publish(carriers[0], Reason::OrphanRemoved, note).await;
        }
        if let Err(error) = self.archive(&findings.archive).await {
            tracing::warn!(%error, workspace = %self.workspace, "jobs that have ended could not be archived");
        }
    }

    async fn archive(&self, jobs: &[(String, String)]) -> Result<(), Error> {
        if jobs.is_empty() {
            return Ok(());
        }
        let workspace = self
            .eyes
            .get(self.workspace, ComputeCluster::API_VERSION)
            .await?;
        let discovery = workspace
            .body
            .and_then(|body| Workspace::read(&body)?.discovery_url);
        let Some(discovery) = discovery else {
            return Ok(());
        };
        let plane = self.eyes.data_plane(self.workspace, &discovery).await?;
        for (experiment, job) in jobs.iter().take(ARCHIVED_AT_ONCE) {
            plane.hide_run(experiment, job).await?;
        }
        tracing::info!(
            jobs = jobs.len().min(ARCHIVED_AT_ONCE),
            workspace = %self.workspace,
            "archived worker jobs that have ended"
        );
        Ok(())
    }

    /// Where the namespace is gone too, the log alone tells it.
    async fn publish(&self, carrier: &Carrier, reason: Reason, note: String) {
        let Some((namespace, name)) = carrier.cluster() else {
            return;
        };
        let regarding = ObjectReference {
            api_version: Some(DaskCluster::api_version(&()).into_owned()),
            kind: Some(DaskCluster::kind(&()).into_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: carrier.owner().map(str::to_owned),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.as_str().to_owned(),
            note: Some(as_long_as_kubernetes_takes(&note).to_owned()),
            action: "Sweep".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.context.recorder.publish(&event, &regarding).await {
            tracing::debug!(%error, "an orphan's event could not be published");
        }
    }
}

fn carriers(
    listing: Listing,
    tags: impl Fn(&Value) -> ownership::Tags,
    what: impl Fn(&Value) -> Option<What>,
) -> Vec<Carrier> {
    let bodies = listing.items.iter();
    bodies
        .filter_map(|body| {
            Some(Carrier {
                id: body.get("id")?.as_str()?.parse().ok()?,
                tags: tags(body),
                what: what(body)?,
            })
        })
        .collect()
}

fn pool(body: &Value) -> Option<What> {
    let have: ComputeHave = serde_json::from_value(body.clone()).ok()?;
    let inner = have.properties.properties?;
    let location = body.get("location").and_then(Value::as_str);
    Some(What::Pool(Pool {
        location: location.unwrap_or_default().to_owned(),
        vm_size: inner.vm_size.unwrap_or_default(),
        priority: match inner.vm_priority.as_deref() {
            Some("LowPriority") => Priority::LowPriority,
            _ => Priority::Dedicated,
        },
        nodes: inner.current_node_count.unwrap_or_default(),
        being_deleted: have.properties.provisioning_state.as_deref() == Some("Deleting"),
    }))
}

fn kind(carrier: &Carrier) -> &'static str {
    match carrier.what {
        What::Network => VirtualNetwork::NAME,
        What::Pool(_) => ComputeCluster::NAME,
        What::Job(_) => Job::NAME,
    }
}

/// `ComputeCluster ds13-pool (2 nodes of STANDARD_DS13_V2)`
fn title(carrier: &Carrier) -> String {
    let title = format!("{} {}", kind(carrier), carrier.id.title());
    match &carrier.what {
        What::Network => title,
        What::Pool(pool) => format!("{title} ({} nodes of {})", pool.nodes, pool.vm_size),
        What::Job(facts) => format!("{title} ({})", facts.status),
    }
}

fn left_behind(titles: &[&str]) -> String {
    format!(
        "this DaskCluster does not exist any more, and has left in Azure: {}; remove what nobody needs, or tag it {}=true to keep it",
        titles.join("; "),
        ownership::RETAINED,
    )
}
