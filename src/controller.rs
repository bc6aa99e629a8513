//! Watches, the way from an event to a reconcile, and what happens when one fails.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, future, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action, Config as ControllerConfig};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, Predicate as _, WatchStreamExt as _, predicates, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::access::{AccessPool, AccessSettings, TokenRequests};
use crate::alarms::Alarms;
use crate::api::DaskCluster;
use crate::azure::{Budgets, HttpClientError, TokenSources, http_client};
use crate::backlog::{Backlog, Turn};
use crate::clock::Clock;
use crate::dask::{DaskClient, Poller};
use crate::http_server::{self, Readiness};
use crate::inventory::Inventory;
use crate::kubernetes::{
    Caches, IN_USE_LABEL, NAMESPACE_CREDENTIALS, Read, Recorder, Sight, Stranger,
    credentials_secret, tell_strangers, understood,
};
use crate::kubernetes_children::{MANAGER, SECRET_TYPE};
use crate::leadership::{Candidate, Ended, Lead, Standing, only_while_leading};
use crate::metrics::Metrics;
use crate::names::ClusterIdentity;
use crate::reconcile::{Context, Defaults, Error, identity, reconcile, warm};
use crate::settings::Settings;
use crate::sweep::sweep;
use crate::watch_backoff::WatchBackoff;

/// What keeps the operator from running at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the metrics could not be set up")]
    Metrics(#[from] prometheus::Error),
    #[error("no HTTPS client for Azure could be made")]
    AzureHttp(#[from] HttpClientError),
    #[error("no HTTP client for schedulers could be made")]
    DaskHttp(#[from] reqwest::Error),
    #[error("the metrics server could not be started")]
    Listen(#[source] std::io::Error),
    #[error("another operator may be at work")]
    Leadership(#[source] Ended),
    #[error("the API server could not be asked for {what}")]
    Kubernetes {
        what: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
}

/// How long what is under way at the end may take: less than the 30 s after which Kubernetes kills a pod, with time to
/// let the lease go.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs until `stop` is done, then finishes what is under way and lets the lease go.
///
/// # Errors
/// When it cannot start, and when it has lost the lead.
pub async fn run(
    settings: Settings,
    client: Client,
    clock: Clock,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> Result<(), RunError> {
    let metrics = Metrics::new()?;
    let readiness = Readiness::default();
    let (candidate, lead) = match settings.lease.clone() {
        Some(lease) => {
            let (candidate, lead) = Candidate::new(lease, clock.clone());
            (Some(candidate), lead)
        }
        None => (None, Lead::always(clock.clone())),
    };
    metrics.show_lead(lead.clone())?;
    let (address, server) = http_server::serve(
        settings.metrics_listen,
        metrics.clone(),
        readiness.clone(),
        lead.clone(),
    )
    .await
    .map_err(RunError::Listen)?;
    tracing::info!(%address, "serving /metrics, /livez and /readyz");
    if let Some(file) = &settings.metrics_address_file {
        tell(file, &address.to_string())
            .await
            .map_err(RunError::Listen)?;
    }
    let office = Office { candidate, lead };
    let operator = operate(settings, client, clock, metrics, readiness, office, stop);
    tokio::select! {
        served = server => served.map_err(RunError::Listen),
        result = Box::pin(operator) => result,
    }
}

/// Whether this operator works, and how it comes to.
struct Office {
    /// `None` where it is alone.
    candidate: Option<Candidate>,
    lead: Lead,
}

async fn operate(
    settings: Settings,
    client: Client,
    clock: Clock,
    metrics: Metrics,
    readiness: Readiness,
    Office { candidate, lead }: Office,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> Result<(), RunError> {
    let client = metrics.counted(client);
    let instance = instance(&client, &settings.instance).await?;
    let backlog = Backlog::new(clock.clone());
    metrics.show_backlog(&backlog)?;
    let budgets = Budgets::new(clock.clone(), Arc::new(metrics.clone()));
    metrics.show_budgets(budgets.clone())?;
    let http = http_client(&settings.azure_http)?;
    let service_accounts = Arc::new(TokenRequests(client.clone()));
    let access = AccessSettings {
        endpoint: settings.endpoint,
        tokens: TokenSources::new(http.clone(), settings.metadata_host, service_accounts)?,
        http,
        own: settings.own_identity,
        lends_own: settings.lends_own_identity,
        observer: Arc::new(metrics.clone()),
        budgets,
        lead: lead.clone(),
    };
    let (wake, woken) = mpsc::unbounded_channel();
    let alarms = Arc::new(Alarms::new(clock.clone(), wake.clone()));
    let caches = Caches::default();
    let (strange, strangers) = mpsc::unbounded_channel();
    let (clusters, cluster_events) = watch_clusters(&client, &caches, strange);
    if settings.cluster_metrics {
        metrics.show_clusters(clusters.clone(), clock.clone(), lead.clone())?;
    }
    let ours =
        watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}"));
    let connections = watcher::Config::default().fields(&format!("type={SECRET_TYPE}"));
    let in_use = watcher::Config::default().labels(&format!("{IN_USE_LABEL}=true"));
    let of_namespaces =
        watcher::Config::default().fields(&format!("metadata.name={NAMESPACE_CREDENTIALS}"));
    let (namespaces, namespace_events) =
        watch::<PartialObjectMeta<Namespace>>(&client, watcher::Config::default(), &caches);
    let (services, service_events) = watch::<Service>(&client, ours.clone(), &caches);
    let (slices, slice_events) = watch::<EndpointSlice>(&client, ours, &caches);
    let (connections, connection_events) = watch::<Secret>(&client, connections, &caches);
    let (in_use, in_use_events) = watch::<PartialObjectMeta<Secret>>(&client, in_use, &caches);
    let (namespace_credentials, namespace_credentials_events) =
        watch::<PartialObjectMeta<Secret>>(&client, of_namespaces, &caches);
    let sight = Sight {
        clusters: clusters.clone(),
        namespaces,
        services,
        slices,
        connections,
        in_use,
        namespace_credentials,
        recent: Default::default(),
    };
    let writes = only_while_leading(&client, &lead);
    let context = Arc::new(Context {
        access: AccessPool::new(access, clock.clone(), client.clone()),
        inventory: Inventory::new(clock.clone(), wake.clone()),
        poller: Poller::new(
            DaskClient::new(lead.clone())?,
            clock.clone(),
            wake,
            Arc::new(metrics.clone()),
            settings.scheduler_poll,
        ),
        recorder: Recorder::new(writes.clone(), clock.clone(), MANAGER),
        metrics: metrics.clone(),
        defaults: Defaults {
            instance,
            environment: settings.environment,
        },
        worker_submission: settings.worker_submission,
        resync: settings.resync,
        memories: Default::default(),
        clock: clock.clone(),
        client: writes,
        sight,
    });
    let filled = filled(client.clone(), caches.clone(), readiness);
    let sweeping = {
        let (context, lead) = (Arc::clone(&context), lead.clone());
        async move {
            lead.taken().await;
            sweep(context, settings.sweep).await;
        }
    };
    let mut standing = candidate
        .map(|candidate| candidate.stand(&client, caches.clone(), metrics.leader_transitions()));
    let stop = stop.shared();
    let drained_too_late = {
        let (stop, clock) = (stop.clone(), clock.clone());
        async move {
            stop.await;
            tracing::info!("finishing what is under way");
            clock.sleep(DRAIN).await;
        }
    };
    let stopping = stop.clone();
    let taken = {
        let lead = lead.clone();
        async move { lead.taken().await }
    };
    let looks = Arc::downgrade(&context);
    metrics.show_inventory_age(move || looks.upgrade()?.inventory.age())?;
    let cluster_events = noted(cluster_events, &backlog);
    let woken = stream_of(woken, backlog.clone());
    let teller = Arc::clone(&context);
    let telling = async move { tell_strangers(&teller.recorder, strangers).await };
    let by_namespace = clusters.clone();
    let by_secret = clusters.clone();
    let after_error = Arc::clone(&alarms);
    let (held, set, waiting) = (Arc::clone(&context), Arc::clone(&alarms), backlog.clone());
    let controller = Controller::for_stream(cluster_events, clusters)
        .with_config(ControllerConfig::default().concurrency(settings.concurrent_reconciles))
        .owns_stream(service_events)
        .owns_stream(slice_events)
        .owns_stream(connection_events)
        .watches_stream(namespace_events, move |namespace| {
            let going = namespace.metadata.deletion_timestamp.is_some();
            of_namespace(&by_namespace, &namespace.name_any(), |_| going)
        })
        .watches_stream(
            stream::select(in_use_events, namespace_credentials_events),
            move |secret| {
                let name = secret.name_any();
                of_namespace(
                    &by_secret,
                    &secret.namespace().unwrap_or_default(),
                    |cluster| credentials_secret(cluster) == name,
                )
            },
        )
        .reconcile_on(woken)
        // Standbys have looked at none of them.
        .reconcile_all_on(taken.into_stream())
        .graceful_shutdown_on(stop)
        .run(
            move |cluster, context| {
                let (caches, alarms) = (caches.clone(), Arc::clone(&alarms));
                let (lead, stop) = (lead.clone(), stopping.clone());
                let mut turn = backlog.turn(&ObjectRef::from_obj(&*cluster));
                async move {
                    tokio::select! {
                        () = caches.filled() => {}
                        // Caches that never fill are nothing to wait for at the end.
                        () = stop => return Ok(Action::await_change()),
                    }
                    turn.begin();
                    if lead.is_current() {
                        timed(cluster, context, alarms, turn).await
                    } else {
                        warm(&cluster, &context).await;
                        Ok(Action::await_change())
                    }
                }
            },
            move |cluster, error, _| on_error(&cluster, error, &after_error),
            context,
        )
        .for_each(move |result| {
            match result {
                Ok(_) => {}
                // Its alarm, its scheduler or a child woke a cluster that is there no longer.
                Err(controller::Error::ObjectNotFound(gone)) => {
                    let is_gone = |cluster: &ClusterIdentity| {
                        cluster.name == gone.name
                            && Some(&cluster.namespace) == gone.namespace.as_ref()
                    };
                    held.forget(is_gone);
                    set.forget(is_gone);
                    waiting.forget(|namespace, name| {
                        name == gone.name && Some(namespace) == gone.namespace.as_deref()
                    });
                }
                Err(error) => tracing::debug!(%error, "a reconcile did not end well"),
            }
            future::ready(())
        });
    tokio::select! {
        () = controller => {}
        () = drained_too_late => {
            tracing::warn!("what is under way takes too long: whoever leads next goes on with it");
        }
        // Its end is no reason to end.
        () = filled.then(|()| future::pending()) => {}
        () = sweeping => {}
        () = telling => {}
        ended = ended(&mut standing) => {
            tracing::error!(%ended, "ending, as another operator may be at work");
            return Err(RunError::Leadership(ended));
        }
    }
    if let Some(standing) = standing {
        standing.resign().await;
    }
    Ok(())
}

/// Waits until the lead is lost.
async fn ended(standing: &mut Option<Standing>) -> Ended {
    match standing {
        Some(standing) => standing.ended().await,
        None => future::pending().await,
    }
}

/// UID of `kube-system` with the release's namespace and name: no other operator has it.
pub(crate) async fn instance(client: &Client, release: &str) -> Result<String, RunError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let system = namespaces
        .get("kube-system")
        .await
        .map_err(|source| RunError::Kubernetes {
            what: "the namespace kube-system",
            source: Box::new(source),
        })?;
    Ok(format!("{}/{release}", system.uid().unwrap_or_default()))
}

type Events<K> = std::pin::Pin<Box<dyn Stream<Item = Result<K, watcher::Error>> + Send>>;

/// Changes of spec, annotations, finalizers and deletion wake a reconcile; our own status writes do not.
fn watch_clusters(
    client: &Client,
    caches: &Caches,
    strangers: mpsc::UnboundedSender<Stranger>,
) -> (Store<DaskCluster>, Events<DaskCluster>) {
    let (store, writer) = reflector::store();
    let read = watcher(Api::<Read>::all(client.clone()), watcher::Config::default());
    let events = understood(
        read.backoff(WatchBackoff::default()),
        store.clone(),
        strangers,
    );
    let events = kept(events, writer, caches);
    let events = events.applied_objects().predicate_filter(
        predicates::generation
            .combine(predicates::annotations)
            .combine(predicates::finalizers),
        Default::default(),
    );
    (store, events.boxed())
}

fn watch<K: Watched>(
    client: &Client,
    config: watcher::Config,
    caches: &Caches,
) -> (Store<K>, Events<K>) {
    let (store, events) = reflected(client, config, caches);
    (store, events.touched_objects().boxed())
}

/// Writes a file that whoever waits for it finds whole.
async fn tell(file: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = file.with_extension("unfinished");
    tokio::fs::write(&unfinished, text).await?;
    tokio::fs::rename(&unfinished, file).await
}

/// What can be watched in all namespaces.
trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

fn reflected<K: Watched>(
    client: &Client,
    config: watcher::Config,
    caches: &Caches,
) -> (
    Store<K>,
    impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + use<K>,
) {
    let (store, writer) = reflector::store();
    let events = watcher(Api::<K>::all(client.clone()), config).backoff(WatchBackoff::default());
    (store, kept(events, writer, caches))
}

/// Fills the cache that `writer` writes.
fn kept<K, S>(
    events: S,
    writer: reflector::store::Writer<K>,
    caches: &Caches,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + use<K, S>
where
    K: Watched,
    S: Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
{
    events
        .reflect(writer)
        .inspect_ok(caches.another())
        .inspect_err(|error| tracing::warn!(%error, kind = %K::kind(&()), "a watch broke"))
        // The controller would hold all its watches back for the error of one, longer with each.
        .filter(|event| future::ready(event.is_ok()))
}

fn of_namespace(
    clusters: &Store<DaskCluster>,
    namespace: &str,
    keep: impl Fn(&DaskCluster) -> bool,
) -> Vec<ObjectRef<DaskCluster>> {
    let held = clusters.state();
    held.iter()
        .filter(|cluster| cluster.namespace().as_deref() == Some(namespace) && keep(cluster))
        .map(|cluster| ObjectRef::from_obj(&**cluster))
        .collect()
}

fn stream_of(
    mut woken: mpsc::UnboundedReceiver<ClusterIdentity>,
    backlog: Backlog,
) -> impl Stream<Item = ObjectRef<DaskCluster>> + Send {
    futures::stream::poll_fn(move |waker| woken.poll_recv(waker))
        .map(|cluster| ObjectRef::new(&cluster.name).within(&cluster.namespace))
        .inspect(move |cluster| backlog.wait(cluster))
}

fn noted(events: Events<DaskCluster>, backlog: &Backlog) -> Events<DaskCluster> {
    let backlog = backlog.clone();
    let noted = events.inspect_ok(move |cluster| backlog.wait(&ObjectRef::from_obj(cluster)));
    noted.boxed()
}

/// Ready once every cache is filled; while the CRD is missing that never comes, so it is said.
async fn filled(client: Client, caches: Caches, readiness: Readiness) {
    let clusters: Api<DaskCluster> = Api::all(client);
    if let Err(error) = clusters.list(&ListParams::default().limit(1)).await {
        tracing::error!(%error, "DaskClusters cannot be listed: is the CRD installed (kubectl apply --server-side -f crds/), and may the operator list them?");
    }
    caches.filled().await;
    readiness.set();
    tracing::info!("the caches are filled");
}

async fn timed(
    cluster: Arc<DaskCluster>,
    context: Arc<Context>,
    alarms: Arc<Alarms>,
    // Dropped at the end: then the cluster is not looked at any more.
    _turn: Turn,
) -> Result<Action, Error> {
    let identity = identity(&cluster);
    // It is looked at now.
    alarms.clear(&identity);
    if let Some(wait) = reconcile(cluster, context).await? {
        alarms.set(identity, wait);
    }
    Ok(Action::await_change())
}

/// Before the next look at a cluster whose status could not be written.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// The one place where an error's whole chain is logged.
fn on_error(cluster: &DaskCluster, error: &Error, alarms: &Alarms) -> Action {
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        chain.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    tracing::warn!(cluster = %ObjectRef::from_obj(cluster), error = chain, "reconcile failed");
    alarms.set(identity(cluster), AFTER_ERROR);
    Action::await_change()
}
