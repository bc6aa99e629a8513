//! Pools, and their nodes in the colour of what they do.

use std::time::Duration;

use maud::{Markup, html};
use serde_json::Value;

use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds;
use crate::page::{figures, link};
use crate::physics::pool::{Node, NodeState, Pool};

/// Pools that are shown.
const MOST_POOLS: usize = 200;
/// A pool of more nodes than this shows each as one letter.
const MOST_IN_WORDS: usize = 24;

/// States and the letters that stand for them, in the order of a node's life.
const STATES: [(NodeState, &str); 6] = [
    (NodeState::Preparing, "P"),
    (NodeState::Idle, "I"),
    (NodeState::Running, "R"),
    (NodeState::Leaving, "L"),
    (NodeState::Preempted, "X"),
    (NodeState::Unusable, "U"),
];

pub(super) struct Pools {
    pools: Vec<PoolSeen>,
    more: usize,
    several_workspaces: bool,
}

struct PoolSeen {
    key: String,
    name: String,
    workspace: String,
    vm_size: String,
    vm_priority: String,
    provisioning: String,
    allocation: &'static str,
    least: usize,
    most: usize,
    waiting: usize,
    problems: Vec<String>,
    nodes: Vec<NodeSeen>,
}

struct NodeSeen {
    id: String,
    address: String,
    state: NodeState,
    /// Of simulated time.
    since: Duration,
    /// Id and page of the job that it has.
    job: Option<(String, String)>,
    /// When it is to be preempted, from now.
    eviction: Option<Duration>,
}

impl Pools {
    pub(super) fn seen(transaction: &Transaction<'_>) -> Self {
        let documents = &transaction.state.documents;
        let found = documents.of_type("Microsoft.MachineLearningServices/workspaces/computes");
        let shown = found.iter().take(MOST_POOLS);
        Self {
            pools: shown
                .map(|compute| PoolSeen::of(transaction, compute))
                .collect(),
            more: found.len().saturating_sub(MOST_POOLS),
            several_workspaces: kinds::are_several_workspaces(transaction),
        }
    }

    pub(super) fn shown(&self) -> Markup {
        let in_letters = self.pools.iter().any(PoolSeen::in_letters);
        html! {
            @if self.pools.is_empty() {
                p.none { "No pool." }
            }
            @if in_letters {
                p.legend {
                    @for (state, letter) in STATES {
                        span.node.letter.(state.word()) { (letter) } " " (state.word()) " "
                    }
                }
            }
            @for pool in &self.pools {
                (pool.shown(self.several_workspaces))
            }
            @if self.more > 0 {
                p.none { "And " (figures::count(self.more, "pool")) " more: " a href="/world" { "world" } }
            }
        }
    }
}

impl PoolSeen {
    fn of(transaction: &Transaction<'_>, compute: &Document) -> Self {
        let outer = &compute.body["properties"];
        let inner = &outer["properties"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = compute.id.key();
        let pool = transaction.state.physics.pools.get(&key);
        let dedicated = inner["vmPriority"].is_null();
        Self {
            name: compute.id.name().to_owned(),
            workspace: compute.id.root_name().to_owned(),
            vm_size: text(&inner["vmSize"]),
            vm_priority: if dedicated {
                "Dedicated".to_owned()
            } else {
                text(&inner["vmPriority"])
            },
            provisioning: text(&outer["provisioningState"]),
            allocation: pool.map_or("no nodes yet", Pool::allocation),
            least: pool.map_or(0, |pool| pool.least),
            most: pool.map_or(0, |pool| pool.most),
            waiting: pool.map_or(0, |pool| pool.queue.len() + pool.held.len()),
            problems: pool
                .map(Pool::problems)
                .into_iter()
                .flatten()
                .map(|problem| format!("{}: {}", problem.code, problem.message))
                .collect(),
            nodes: pool
                .into_iter()
                .flat_map(|pool| &pool.nodes)
                .map(|node| NodeSeen::of(transaction, node))
                .collect(),
            key,
        }
    }

    fn in_letters(&self) -> bool {
        self.nodes.len() > MOST_IN_WORDS
    }

    fn shown(&self, with_workspace: bool) -> Markup {
        html! {
            article.pool id={ "pool-" (self.key) } {
                h3 {
                    (self.name)
                    @if with_workspace { small { " in " (self.workspace) } }
                }
                p.about {
                    (self.vm_size) " · " (self.vm_priority) " · "
                    (self.least) " to " (figures::count(self.most, "node")) " · "
                    (self.provisioning) " · " (self.allocation)
                }
                p.counts { (self.counts()) }
                @for problem in &self.problems {
                    p.problem { (problem) }
                }
                @if !self.nodes.is_empty() {
                    ul.nodes.letters[self.in_letters()] aria-label={ "Nodes of " (self.name) } {
                        @for node in &self.nodes {
                            @if self.in_letters() { (node.letter()) } @else { (node.words()) }
                        }
                    }
                }
            }
        }
    }

    /// `3 nodes: 2 running, 1 idle. 1 job waits.`
    fn counts(&self) -> String {
        let mut text = figures::count(self.nodes.len(), "node");
        let states: Vec<String> = STATES
            .iter()
            .map(|(state, _)| (state, self.nodes.iter().filter(|node| node.state == *state)))
            .map(|(state, nodes)| (state.word(), nodes.count()))
            .filter(|(_, count)| *count > 0)
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        if !states.is_empty() {
            text.push_str(": ");
            text.push_str(&states.join(", "));
        }
        text.push('.');
        match self.waiting {
            0 => {}
            1 => text.push_str(" 1 job waits."),
            more => text.push_str(&format!(" {more} jobs wait.")),
        }
        text
    }
}

impl NodeSeen {
    fn of(transaction: &Transaction<'_>, node: &Node) -> Self {
        let (state, now) = (&transaction.state, transaction.now.elapsed);
        let job = node
            .run
            .as_deref()
            .and_then(|key| state.documents.by_key(key));
        Self {
            id: node.id.clone(),
            address: node.address.to_string(),
            state: node.state,
            since: now.saturating_sub(node.since),
            job: job.map(|job| (job.id.name().to_owned(), link::run(&job.id))),
            eviction: node.eviction.map(|at| at.saturating_sub(now)),
        }
    }

    fn letter(&self) -> Markup {
        let letter = STATES.iter().find(|(state, _)| *state == self.state);
        let letter = letter.map_or("?", |(_, letter)| letter);
        html! {
            li.node.letter.(self.state.word()).evicted[self.eviction.is_some()]
                id=(self.id) title=(self.told())
            {
                @if let Some((_, page)) = &self.job {
                    a href=(page) aria-label=(self.told()) { (letter) }
                } @else {
                    span aria-hidden="true" { (letter) }
                    span.unseen { (self.told()) }
                }
            }
        }
    }

    fn words(&self) -> Markup {
        html! {
            li.node.(self.state.word()).evicted[self.eviction.is_some()]
                id=(self.id) title=(self.id)
            {
                b { (self.state.word()) }
                small { (self.address) " · " (figures::duration(self.since.as_secs_f64())) }
                @if let Some((job, page)) = &self.job {
                    a href=(page) { (job) }
                }
                @if let Some(eviction) = self.eviction {
                    em { "preempted in " (figures::duration(eviction.as_secs_f64())) }
                }
            }
        }
    }

    /// All of it, in a sentence.
    fn told(&self) -> String {
        let mut text = format!(
            "{} for {} at {}, node {}",
            self.state.word(),
            figures::duration(self.since.as_secs_f64()),
            self.address,
            self.id
        );
        if let Some((job, _)) = &self.job {
            text.push_str(", job ");
            text.push_str(job);
        }
        if let Some(eviction) = self.eviction {
            let left = figures::duration(eviction.as_secs_f64());
            text.push_str(&format!(", preempted in {left}"));
        }
        text
    }
}
