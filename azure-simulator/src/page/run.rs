//! The page of a run: what its job is, and what it tracked, said and left behind.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::azure::{Azure, Transaction};
use crate::documents::Document;
use crate::kinds;
use crate::page::metrics::Metrics;
use crate::page::run_files::RunFiles;
use crate::page::{figures, jobs, layout, link};
use crate::physics::run::{JobStatus, Run};
use crate::processes::ranks;
use crate::resource_id::ResourceId;

/// Which workspace's run, as the studio's links tell it.
#[derive(Deserialize)]
pub(super) struct Home {
    pub(super) wsid: Option<String>,
}

/// `GET /runs/{run}`.
pub(super) async fn answer(
    State(azure): State<Arc<Azure>>,
    Path(run): Path<String>,
    Query(home): Query<Home>,
) -> Response {
    let now = azure.clock.now().timestamp;
    let seen = azure.transact(|transaction| {
        let document = link::find(transaction, &run, home.wsid.as_deref())?;
        let run = transaction.state.physics.runs.get(&document.id.key())?;
        Some(Seen::of(transaction, document, run))
    });
    let Some(seen) = seen else {
        return layout::not_found(&format!("The run {run}"), now);
    };
    let files = RunFiles::read(&seen.job, seen.directory.clone()).await;
    layout::page(&run, now, &seen.shown(&files))
}

struct Seen {
    job: ResourceId,
    status: JobStatus,
    now: Timestamp,
    created: Timestamp,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    /// Counts how often it was queued again.
    attempt: u32,
    display_name: Option<String>,
    description: Option<String>,
    experiment: String,
    command: String,
    compute: String,
    environment: String,
    nodes: Vec<NodeSeen>,
    /// Name and what stands for it.
    inputs: Vec<(String, String)>,
    error: Option<String>,
    tags: Vec<(String, String)>,
    parameters: Vec<(String, String)>,
    metrics: Metrics,
    directory: PathBuf,
}

/// A node of a run.
struct NodeSeen {
    id: String,
    address: Option<String>,
    /// Ranks of the processes on it.
    processes: Vec<usize>,
}

impl NodeSeen {
    fn shown(&self) -> Markup {
        let address = self.address.as_deref().unwrap_or("–");
        let ranks: Vec<String> = self.processes.iter().map(usize::to_string).collect();
        html! {
            (address)
            @match ranks.as_slice() {
                [] => {}
                [only] => { ", process " (only) }
                several => { ", processes " (several.join(", ")) }
            }
            br; small { (self.id) }
        }
    }
}

impl Seen {
    fn of(transaction: &Transaction<'_>, document: &Document, run: &Run) -> Self {
        let body = kinds::shown::job(transaction, document);
        let properties = &body["properties"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let given = |value: &Value| {
            value
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let last = |id: &Value| text(id).rsplit('/').next().unwrap_or_default().to_owned();
        let pool = transaction.state.physics.pools.get(&run.pool);
        let ranks: Vec<usize> = ranks::nodes(properties, run.nodes.len()).collect();
        let nodes = run.nodes.iter().enumerate().map(|(place, id)| NodeSeen {
            id: id.clone(),
            address: pool
                .and_then(|pool| pool.nodes.iter().find(|node| node.id == *id))
                .map(|node| node.address.to_string()),
            processes: (0..ranks.len())
                .filter(|rank| ranks[*rank] == place)
                .collect(),
        });
        let error = run.error.as_ref().map(|error| &error["error"]);
        Self {
            job: document.id.clone(),
            status: run.status,
            now: transaction.now.timestamp,
            created: run.created,
            started: run.started,
            ended: run.ended.filter(|_| run.status.is_terminal()),
            attempt: run.attempt,
            display_name: given(&properties["displayName"]),
            description: given(&properties["description"]),
            experiment: text(&properties["experimentName"]),
            command: text(&properties["command"]),
            compute: last(&properties["computeId"]),
            environment: environment(&text(&properties["environmentId"])),
            nodes: nodes.collect(),
            inputs: named(&properties["inputs"], |input| {
                let value = [&input["uri"], &input["value"]];
                value
                    .into_iter()
                    .find_map(Value::as_str)
                    .map_or_else(|| input.to_string(), str::to_owned)
            }),
            error: error
                .map(|error| format!("{}: {}", text(&error["code"]), text(&error["message"]))),
            tags: named(&properties["tags"], text),
            parameters: run.parameters.clone().into_iter().collect(),
            metrics: Metrics::of(run),
            directory: run.directory.clone(),
        }
    }

    fn shown(&self, files: &RunFiles) -> Markup {
        html! {
            p.path-up { a href="/" { "Everything" } " / " (self.job.root_name()) " / " (self.experiment) }
            h1 { (self.job.name()) " " (jobs::badge(self.status)) }
            @if let Some(name) = &self.display_name {
                p.lead { (name) }
            }
            @if let Some(description) = &self.description {
                p { (description) }
            }
            @if let Some(error) = &self.error {
                section #error.warning aria-labelledby="error-heading" {
                    h2 #error-heading { "Error" }
                    pre { (error) }
                }
            }
            div.columns {
                div.column {
                    (layout::section("metrics", "Metrics", &self.metrics.shown()))
                    (layout::section("images", "Images", &files.images_shown()))
                    (layout::section("logs", "Logs", &files.logs_shown()))
                }
                div.column {
                    (layout::section("job", "Job", &self.job_shown()))
                    (layout::section("tags", "Tags", &pairs(&self.tags, "No tag.")))
                    (layout::section("parameters", "Parameters", &pairs(&self.parameters, "No parameter.")))
                    (layout::section("files", "Files", &files.shown()))
                }
            }
        }
    }

    fn job_shown(&self) -> Markup {
        let at = |time: Timestamp| html! { (figures::date_time(time)) " UTC" };
        let mut facts = vec![
            ("Compute", html! { (self.compute) }),
            ("Environment", html! { (self.environment) }),
            ("Created", at(self.created)),
        ];
        if let Some(started) = self.started {
            let ran = figures::between(started, self.ended.unwrap_or(self.now));
            facts.push(("Started", at(started)));
            facts.push(("Ran", html! { (ran) }));
        }
        if let Some(ended) = self.ended {
            facts.push(("Ended", at(ended)));
        }
        for node in &self.nodes {
            facts.push(("Node", node.shown()));
        }
        if self.attempt > 0 {
            facts.push((
                "Queued again",
                html! { (figures::count(self.attempt as usize, "time")) },
            ));
        }
        for (name, value) in &self.inputs {
            facts.push(("Input", html! { (name) ": " (value) }));
        }
        html! {
            (layout::facts(&facts))
            details #command {
                summary { "Command" }
                pre { (self.command) }
            }
        }
    }
}

/// `name:version` of an environment's id.
fn environment(id: &str) -> String {
    let mut parts = id.rsplit('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(version), Some(_), Some(name)) => format!("{name}:{version}"),
        _ => id.to_owned(),
    }
}

fn named(object: &Value, text: impl Fn(&Value) -> String) -> Vec<(String, String)> {
    let fields = object.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

/// Names and values; what is an address of the web can be followed.
fn pairs(pairs: &[(String, String)], none: &str) -> Markup {
    html! {
        @if pairs.is_empty() {
            p.none { (none) }
        } @else {
            div.wide {
                table {
                    tbody {
                        @for (name, value) in pairs {
                            tr { th scope="row" { (name) } td.value { (value_shown(value)) } }
                        }
                    }
                }
            }
        }
    }
}

fn value_shown(value: &str) -> Markup {
    let web = ["http://", "https://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    html! {
        @if web {
            a href=(value) rel="noreferrer noopener" { (value) }
        } @else { (value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_web_can_be_followed() {
        let shown = value_shown("javascript:alert(1)").into_string();
        assert_eq!(shown, "javascript:alert(1)");
        let shown = value_shown("http://127.0.0.1:8787/\"><script>").into_string();
        assert!(shown.starts_with("<a href=\"http://127.0.0.1:8787/&quot;&gt;&lt;script&gt;\""));
    }

    #[test]
    fn an_environment_is_known_by_name_and_version() {
        let id = "/subscriptions/s/x/workspaces/w/environments/dask/versions/3";
        assert_eq!(environment(id), "dask:3");
        assert_eq!(environment("none"), "none");
    }
}
