//! The whole of this Azure: its settings, its state behind one lock, and its time.
//!
//! Every change happens in a [`Transaction`]: it sees one moment, changes the state, schedules
//! what Azure would do later and asks for effects outside (processes). What is due at that moment
//! happens before the lock is given up, so that a world without delays has settled when an answer
//! leaves.

use std::path::PathBuf;
use std::sync::Mutex;

use tokio::sync::{Notify, mpsc};

use crate::arm::operation::Operations;
use crate::clock::{Clock, Moment};
use crate::documents::Documents;
use crate::due::DueQueue;
use crate::entra::Tokens;
use crate::exchange_log::ExchangeLog;
use crate::faults::Faults;
use crate::lock;
use crate::meter::Meter;
use crate::physics::node_addresses::NodeAddresses;
use crate::physics::{Event, Physics};
use crate::processes::Order;
use crate::storage::blobs::BlobMetadata;
use crate::storage::sas::SigningKey;
use crate::world::World;

/// What does not change while the simulator runs.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) world: World,
    /// Host and port of the TLS listener.
    pub(crate) authority: String,
    /// Where everything is written.
    pub(crate) directory: PathBuf,
    /// What the keys of storage accounts come from.
    pub(crate) signing_key: SigningKey,
    /// The `PATH` of jobs whose environment is not mapped to a folder.
    pub(crate) path: String,
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
    pub(crate) faults: Faults,
    pub(crate) meter: Meter,
    pub(crate) blob_metadata: BlobMetadata,
    state: Mutex<State>,
    orders: mpsc::UnboundedSender<Order>,
    due_changed: Notify,
}

pub(crate) struct State {
    pub(crate) documents: Documents,
    pub(crate) operations: Operations,
    pub(crate) physics: Physics,
    pub(crate) due: DueQueue<Event>,
}

pub(crate) struct Transaction<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) state: &'a mut State,
    pub(crate) now: Moment,
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
            exchanges: ExchangeLog::default(),
            faults: Faults::default(),
            meter: Meter::default(),
            blob_metadata: BlobMetadata::default(),
            state: Mutex::new(State {
                documents: Documents::default(),
                operations: Operations::default(),
                physics: Physics::new(addresses),
                due: DueQueue::default(),
            }),
            settings,
            orders,
            due_changed: Notify::new(),
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
            orders: Vec::new(),
        };
        let next_before = transaction.state.due.next();
        transaction.settle();
        let result = change(&mut transaction);
        transaction.settle();
        // Sent under the lock, so that orders about one job keep their order.
        for order in transaction.orders {
            // The receiver is gone only when the simulator is being dropped.
            let _ = self.orders.send(order);
        }
        if state.due.next() != next_before {
            self.due_changed.notify_one();
        }
        result
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

    fn settle(&mut self) {
        while let Some(event) = self.state.due.pop(&self.now) {
            self.happen(event);
        }
    }
}
