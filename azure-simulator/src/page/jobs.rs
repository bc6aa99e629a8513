//! Jobs: those that have a node, those that wait for one, and those that ended last.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::azure::Transaction;
use crate::kinds;
use crate::page::{figures, link};
use crate::physics::run::{JobStatus, Run};

/// Jobs that are shown.
const MOST_JOBS: usize = 60;

pub(super) struct Jobs {
    jobs: Vec<JobSeen>,
    all: usize,
    /// How many have each status.
    counts: BTreeMap<&'static str, usize>,
    now: Timestamp,
    several_workspaces: bool,
}

struct JobSeen {
    key: String,
    id: String,
    page: String,
    workspace: String,
    status: JobStatus,
    experiment: String,
    compute: String,
    /// Of its first node.
    address: Option<String>,
    more_nodes: usize,
    created: Timestamp,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
}

impl Jobs {
    pub(super) fn seen(transaction: &Transaction<'_>) -> Self {
        let runs = &transaction.state.physics.runs;
        let mut counts = BTreeMap::new();
        for run in runs.values() {
            *counts.entry(run.status.word()).or_default() += 1;
        }
        let mut newest: Vec<(&String, &Run)> = runs.iter().collect();
        newest.sort_unstable_by_key(|(key, run)| (rank(run.status), Reverse((run.created, *key))));
        Self {
            jobs: newest
                .into_iter()
                .take(MOST_JOBS)
                .filter_map(|(key, run)| JobSeen::of(transaction, key, run))
                .collect(),
            all: runs.len(),
            counts,
            now: transaction.now.timestamp,
            several_workspaces: kinds::are_several_workspaces(transaction),
        }
    }

    pub(super) fn shown(&self) -> Markup {
        html! {
            p.counts {
                @if self.jobs.is_empty() { "No job." } @else {
                    (figures::count(self.all, "job")) ": "
                    @for (at, (status, count)) in self.counts.iter().enumerate() {
                        @if at > 0 { ", " }
                        (count) " " (status)
                    }
                    "."
                }
            }
            @if !self.jobs.is_empty() {
                div.wide {
                    table {
                        thead {
                            tr {
                                th { "Job" }
                                th { "Status" }
                                th { "Compute" }
                                th { "Address" }
                                th { "Experiment" }
                                th { "Created" }
                                th.number { "Ran" }
                            }
                        }
                        tbody {
                            @for job in &self.jobs { (job.shown(self)) }
                        }
                    }
                }
            }
            @if self.all > self.jobs.len() {
                p.none {
                    "And " (figures::count(self.all - self.jobs.len(), "job")) " more: "
                    a href="/world" { "world" }
                }
            }
        }
    }
}

impl JobSeen {
    fn of(transaction: &Transaction<'_>, key: &str, run: &Run) -> Option<Self> {
        let document = transaction.state.documents.by_key(key)?;
        let pool = transaction.state.physics.pools.get(&run.pool);
        let node = pool.and_then(|pool| {
            let nodes = &mut pool.nodes.iter();
            nodes.find(|node| Some(&node.id) == run.node())
        });
        let properties = &document.body["properties"];
        Some(Self {
            key: key.to_owned(),
            id: run.id.clone(),
            page: link::run(&document.id),
            workspace: document.id.root_name().to_owned(),
            status: run.status,
            experiment: properties["experimentName"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            compute: run.pool.rsplit('/').next().unwrap_or_default().to_owned(),
            address: node.map(|node| node.address.to_string()),
            more_nodes: run.nodes.len().saturating_sub(1),
            created: run.created,
            started: run.started,
            ended: run.ended.filter(|_| run.status.is_terminal()),
        })
    }

    fn shown(&self, jobs: &Jobs) -> Markup {
        html! {
            tr id={ "job-" (self.key) } {
                td {
                    a href=(self.page) { (self.id) }
                    @if jobs.several_workspaces { small { " in " (self.workspace) } }
                }
                td { (badge(self.status)) }
                td { (self.compute) }
                td {
                    (self.address.as_deref().unwrap_or("–"))
                    @if self.more_nodes > 0 { small { " and " (self.more_nodes) " more" } }
                }
                td { (self.experiment) }
                td title=(figures::date_time(self.created)) { (figures::clock_time(self.created)) }
                td.number {
                    @if let Some(started) = self.started {
                        (figures::between(started, self.ended.unwrap_or(jobs.now)))
                    } @else { "–" }
                }
            }
        }
    }
}

/// Which jobs are shown first.
fn rank(status: JobStatus) -> u8 {
    match status {
        JobStatus::Running
        | JobStatus::NotResponding
        | JobStatus::Finalizing
        | JobStatus::CancelRequested => 0,
        JobStatus::Starting | JobStatus::Preparing | JobStatus::Queued => 1,
        JobStatus::Completed | JobStatus::Failed | JobStatus::Canceled => 2,
    }
}

/// A status in its word and colour.
pub(super) fn badge(status: JobStatus) -> Markup {
    let family = match status {
        JobStatus::Starting | JobStatus::Preparing | JobStatus::Queued => "waits",
        JobStatus::Running => "runs",
        JobStatus::Finalizing | JobStatus::CancelRequested => "ends",
        JobStatus::Completed => "well",
        JobStatus::Failed | JobStatus::NotResponding => "ill",
        JobStatus::Canceled => "off",
    };
    html! { span.badge.(family) { (status.word()) } }
}
