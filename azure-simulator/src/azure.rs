//! The whole of this Azure: its settings, its state behind one lock, and its time.
//!
//! Every change happens in a [`Transaction`]: it sees one moment, changes the state, schedules
//! what Azure would do later and asks for effects outside (processes). What is due at that moment
//! happens before the lock is given up, so that a world without delays has settled when an answer
//! leaves.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::arm::operation::Operations;
use crate::arm::throttling::Buckets;
use crate::clock::{Clock, Moment};
use crate::documents::Documents;
use crate::due::DueQueue;
use crate::entra::Tokens;
use crate::exchange_log::ExchangeLog;
use crate::faults::Faults;
use crate::faults::action::Consequence;
use crate::given_out::GivenOut;
use crate::lock;
use crate::meter::Meter;
use crate::physics::node_addresses::NodeAddresses;
use crate::physics::run::Process;
use crate::physics::{Event, Physics};
use crate::pretend::Pretend;
use crate::processes::Order;
use crate::storage::blobs::{self, BlobMetadata};
use crate::storage::blocks::Blocks;
use crate::storage::sas::SigningKey;
use crate::texts::Texts;
use crate::world::World;

/// What does not change while the simulator runs.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) world: World,
    /// Host and port of the TLS listener.
    pub(crate) authority: String,
    /// `http://127.0.0.1:PORT`: the control port, which has the pages.
    pub(crate) control_url: String,
    /// Where everything is written.
    pub(crate) directory: PathBuf,
    /// What the keys of storage accounts come from.
    pub(crate) signing_key: SigningKey,
    /// The `PATH` of jobs whose environment is not mapped to a folder.
    pub(crate) path: String,
    /// Folder that every exchange is left in.
    pub(crate) exchanges: Option<PathBuf>,
}

impl Settings {
    /// `https://127.0.0.1:PORT`.
    pub(crate) fn base_url(&self) -> String {
        format!("https://{}", self.authority)
    }
}

pub(crate) struct Azure {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) tokens: Tokens,
    pub(crate) exchanges: ExchangeLog,
    pub(crate) given_out: GivenOut,
    pub(crate) faults: Faults,
    pub(crate) meter: Meter,
    pub(crate) buckets: Buckets,
    pub(crate) blob_metadata: BlobMetadata,
    pub(crate) blocks: Blocks,
    state: Mutex<State>,
    orders: mpsc::UnboundedSender<Order>,
    due_changed: Notify,
    /// Told when nothing that was ordered is awaited any more.
    settled: Notify,
    /// Held by who advances the time: one at a time.
    advancing: tokio::sync::Mutex<()>,
}

pub(crate) struct State {
    pub(crate) documents: Documents,
    pub(crate) operations: Operations,
    pub(crate) physics: Physics,
    pub(crate) due: DueQueue<Event>,
    /// Long texts of documents.
    pub(crate) texts: Texts,
    /// Stand-ins for Dask, where jobs only pretend.
    pub(crate) pretend: Pretend,
}

pub(crate) struct Transaction<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) state: &'a mut State,
    pub(crate) now: Moment,
    /// What a fault makes of the request that this is about.
    pub(crate) consequence: Option<Consequence>,
    orders: Vec<Order>,
}

impl Azure {
    pub(crate) fn new(
        settings: Settings,
        addresses: NodeAddresses,
        orders: mpsc::UnboundedSender<Order>,
    ) -> Self {
        let azure = Self {
            clock: Clock::new(settings.world.time_scale),
            tokens: Tokens::default(),
            exchanges: ExchangeLog::new(settings.exchanges.as_deref()),
            given_out: GivenOut::new(settings.world.tells_secrets),
            faults: Faults::default(),
            meter: Meter::default(),
            buckets: Buckets::default(),
            blob_metadata: BlobMetadata::default(),
            blocks: Blocks::new(&settings.directory.join(blobs::ROOT)),
            state: Mutex::new(State {
                documents: Documents::default(),
                operations: Operations::default(),
                physics: Physics::new(&settings.world, addresses),
                due: DueQueue::default(),
                texts: Texts::default(),
                pretend: Pretend::default(),
            }),
            settings,
            orders,
            due_changed: Notify::new(),
            settled: Notify::new(),
            advancing: tokio::sync::Mutex::default(),
        };
        azure.transact(crate::kinds::create_what_exists);
        azure
    }

    /// Changes or reads the state in one piece.
    pub(crate) fn transact<R>(&self, change: impl FnOnce(&mut Transaction<'_>) -> R) -> R {
        let mut state = lock(&self.state);
        let mut transaction = Transaction {
            settings: &self.settings,
            state: &mut state,
            now: self.clock.now(),
            consequence: None,
            orders: Vec::new(),
        };
        let next_before = transaction.state.due.next();
        transaction.settle();
        let result = change(&mut transaction);
        transaction.settle();
        // Sent under the lock, so that orders about one job keep their order.
        for order in transaction.orders {
            let awaited = order.awaited().map(str::to_owned);
            // The receiver is gone when the simulator is being dropped, or its supervisor was killed.
            if self.orders.send(order).is_ok()
                && let Some(run) = awaited
            {
                state.physics.await_report(run);
            }
        }
        if state.due.next() != next_before {
            self.due_changed.notify_one();
        }
        if state.physics.is_settled() {
            self.settled.notify_waiters();
        }
        result
    }

    /// Lets so much of Azure's time pass at once: everything due happens, each thing at its own
    /// time and after the processes that it starts or kills have started or ended.
    pub(crate) async fn advance(&self, by: Duration) {
        let _one_at_a_time = self.advancing.lock().await;
        self.settled().await;
        let end = self.clock.now().elapsed.saturating_add(by);
        loop {
            let next = self.transact(|transaction| transaction.state.due.next());
            let to = next.map_or(end, |next| next.min(end));
            let now = self.clock.now().elapsed;
            self.clock.advance(to.saturating_sub(now));
            self.transact(|_| ());
            self.settled().await;
            if to >= end {
                return;
            }
        }
    }

    /// The world is as it was at the start, but for its pace and the tokens that were issued. What
    /// clients do meanwhile is gone with the rest.
    pub(crate) async fn reset(&self) {
        let _one_at_a_time = self.advancing.lock().await;
        loop {
            self.transact(|transaction| transaction.end_all_processes());
            self.settled().await;
            if self.transact(|transaction| transaction.begin_anew()) {
                break;
            }
        }
        self.faults.clear();
        self.exchanges.clear();
        self.meter.reset();
        self.blob_metadata.clear();
        self.blocks.clear();
    }

    /// Waits until what was ordered from processes has been reported.
    pub(crate) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.transact(|transaction| transaction.state.physics.is_settled()) {
                return;
            }
            settled.await;
        }
    }

    /// Lets happen what is due, when it is due, for ever.
    pub(crate) async fn run_time(&self) {
        loop {
            let next = self.transact(|transaction| transaction.state.due.next());
            match next {
                None => self.due_changed.notified().await,
                Some(due) => tokio::select! {
                    () = self.clock.reached(due) => {}
                    () = self.due_changed.notified() => {}
                },
            }
        }
    }
}

impl Transaction<'_> {
    /// Lets `event` happen `seconds` of Azure from now.
    pub(crate) fn schedule(&mut self, seconds: f64, event: Event) {
        let due = self.now.after(seconds);
        self.state.due.push(due, event);
    }

    /// Asks for something outside the state.
    pub(crate) fn order(&mut self, order: Order) {
        self.orders.push(order);
    }

    /// Empties the world and puts in place what exists at the start. `false`: a process of the
    /// old world is still there.
    fn begin_anew(&mut self) -> bool {
        let physics = &mut self.state.physics;
        if physics
            .runs
            .values()
            .any(|run| run.process != Process::None)
        {
            return false;
        }
        physics.begin_anew(&self.settings.world);
        self.state.documents = Documents::default();
        self.state.texts = Texts::default();
        self.state.operations = Operations::default();
        self.state.due = DueQueue::default();
        self.state.pretend = Pretend::default();
        crate::kinds::create_what_exists(self);
        true
    }

    fn settle(&mut self) {
        let now = self.now;
        while let Some((due, event)) = self.state.due.pop(&now) {
            // What follows from it is counted from its own time, however late it is looked at.
            self.now.elapsed = due.min(now.elapsed);
            self.happen(event);
        }
        self.now = now;
    }
}
