//! The last requests and their answers, and what is left in ARM's token buckets.

use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::arm::headers::Counted;
use crate::arm::throttling;
use crate::exchange_log::ExchangeLog;

/// Requests that are looked at.
const MOST_REQUESTS: usize = 100;
/// Lines that are shown; requests in a row that differ in nothing but their time share one.
const MOST_LINES: usize = 25;

/// A principal's buckets by the names that the meter has for them.
const BUCKETS: [(&str, Counted); 3] = [
    ("reads", Counted::Read),
    ("writes", Counted::Write),
    ("deletes", Counted::Delete),
];

pub(super) struct Requests {
    /// The newest first, and how many of its like came right before it.
    last: Vec<(Exchange, usize)>,
    buckets: Vec<Bucket>,
    data_plane: u64,
    tokens: u64,
    unchanged_writes: u64,
    refused: u64,
}

/// As much of an exchange as a line tells.
#[derive(Deserialize)]
struct Exchange {
    number: u64,
    time: String,
    request: Asked,
    response: Option<Answered>,
    fault: Option<u64>,
    refused: Option<String>,
    #[serde(default)]
    lost: bool,
}

#[derive(Deserialize, PartialEq)]
struct Asked {
    method: String,
    path: String,
}

#[derive(Deserialize)]
struct Answered {
    status: u16,
}

struct Bucket {
    name: &'static str,
    size: u64,
    left: u64,
    low: u64,
    taken: u64,
    throttled: u64,
}

impl Requests {
    pub(super) fn seen(exchanges: &ExchangeLog, meter: &Value) -> Self {
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        Self {
            last: in_lines(
                exchanges
                    .last(MOST_REQUESTS)
                    .iter()
                    .filter_map(|line| serde_json::from_str(line).ok()),
            ),
            buckets: BUCKETS
                .into_iter()
                .map(|(name, counted)| {
                    let size = throttling::of_principal(counted).0 as u64;
                    Bucket {
                        name,
                        size,
                        left: meter["bucket_left"][name].as_u64().unwrap_or(size),
                        low: meter["bucket_low_water"][name].as_u64().unwrap_or(size),
                        taken: count(&meter["requests"][name]),
                        throttled: count(&meter["throttled"][name]),
                    }
                })
                .collect(),
            data_plane: count(&meter["data_plane_requests"]),
            tokens: count(&meter["token_requests"]),
            unchanged_writes: count(&meter["unchanged_writes"]),
            refused: count(&meter["refused"]),
        }
    }

    pub(super) fn shown(&self) -> Markup {
        html! {
            @if self.last.is_empty() {
                p.none { "No request." }
            } @else {
                div.wide {
                    table {
                        thead {
                            tr {
                                th { "Time" }
                                th { "Method" }
                                th { "Path" }
                                th { "Answer" }
                            }
                        }
                        tbody {
                            @for (exchange, before) in &self.last { (exchange.shown(*before)) }
                        }
                    }
                }
                p.none { "All of them, with headers and bodies: " a href="/exchanges" { "exchanges" } }
            }
        }
    }

    pub(super) fn buckets_shown(&self) -> Markup {
        html! {
            div.wide {
                table {
                    thead {
                        tr {
                            th { "ARM" }
                            th { "Left" }
                            th.number { "Lowest" }
                            th.number { "Requests" }
                            th.number { "Throttled" }
                        }
                    }
                    tbody {
                        @for bucket in &self.buckets {
                            tr {
                                th scope="row" { (bucket.name) }
                                td {
                                    meter min="0" max=(bucket.size) low=(bucket.size / 4)
                                        optimum=(bucket.size) value=(bucket.left)
                                        aria-label={ (bucket.name) " left" } {}
                                    " " (bucket.left) " of " (bucket.size)
                                }
                                td.number { (bucket.low) }
                                td.number { (bucket.taken) }
                                td.number.problem[bucket.throttled > 0] { (bucket.throttled) }
                            }
                        }
                    }
                }
            }
            p.none {
                "What was left of a principal's tokens at the last request of each kind. Beside them "
                (self.data_plane) " requests of the data plane and " (self.tokens) " for tokens; "
                (self.unchanged_writes) " writes changed nothing, " (self.refused)
                " requests were refused because they are not simulated."
            }
        }
    }
}

/// Like ones in a row become one.
fn in_lines(exchanges: impl Iterator<Item = Exchange>) -> Vec<(Exchange, usize)> {
    let mut lines: Vec<(Exchange, usize)> = Vec::new();
    for exchange in exchanges {
        if let Some((line, before)) = lines.last_mut()
            && line.is_like(&exchange)
        {
            *before += 1;
        } else if lines.len() < MOST_LINES {
            lines.push((exchange, 0));
        } else {
            break;
        }
    }
    lines
}

impl Exchange {
    fn is_like(&self, other: &Self) -> bool {
        let told = |one: &Self| {
            let status = one.response.as_ref().map(|answer| answer.status);
            (status, one.fault, one.lost, one.refused.is_some())
        };
        self.request == other.request && told(self) == told(other)
    }

    fn shown(&self, before: usize) -> Markup {
        html! {
            tr id={ "exchange-" (self.number) } {
                td title=(self.time) { (self.clock_time()) }
                td { (self.request.method) }
                td.path title=(self.request.path) {
                    (short(&self.request.path))
                    @if before > 0 { small { " and " (before) " before it" } }
                }
                td {
                    @match &self.response {
                        Some(response) => span.badge.(family(response.status)) { (response.status) },
                        None => span.badge.ill { "none" },
                    }
                    @if self.lost { " lost on the way" }
                    @if let Some(fault) = self.fault { " fault " (fault) }
                    @if let Some(what) = &self.refused { " not simulated: " (what) }
                }
            }
        }
    }

    /// What stands between `T` and the fraction of a second.
    fn clock_time(&self) -> &str {
        let time = self.time.split_once('T').map_or("", |(_, time)| time);
        time.split_once('.').map_or(time, |(whole, _)| whole)
    }
}

/// A path without what is the same in all of them: what stands before the provider's name, or the
/// workspace.
fn short(path: &str) -> String {
    let Some((before, rest)) = path.split_once("/providers/Microsoft.") else {
        return path.to_owned();
    };
    let plane = match before.split_once("/subscriptions/") {
        Some((plane, _)) => plane,
        None => before,
    };
    match rest.strip_prefix("MachineLearningServices/workspaces/") {
        Some(workspace) => format!("{plane}…/{workspace}"),
        None => format!("{plane}…/{rest}"),
    }
}

fn family(status: u16) -> &'static str {
    match status {
        0..400 => "well",
        404 => "waits",
        _ => "ill",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_requests_in_a_row_share_a_line() {
        let exchange = |number, path: &str, status| Exchange {
            number,
            time: String::new(),
            request: Asked {
                method: "GET".to_owned(),
                path: path.to_owned(),
            },
            response: Some(Answered { status }),
            fault: None,
            refused: None,
            lost: false,
        };
        let seen = [
            exchange(5, "/a", 200),
            exchange(4, "/a", 200),
            exchange(3, "/a", 429),
            exchange(2, "/b", 200),
            exchange(1, "/a", 200),
        ];
        let lines: Vec<(u64, usize)> = in_lines(seen.into_iter())
            .iter()
            .map(|(line, before)| (line.number, *before))
            .collect();
        assert_eq!(lines, [(5, 1), (3, 0), (2, 0), (1, 0)]);
    }

    #[test]
    fn a_short_path_keeps_its_plane_and_what_it_is_about() {
        let scope = "/subscriptions/s/resourceGroups/g/providers";
        let ml = format!("{scope}/Microsoft.MachineLearningServices/workspaces/w");
        for (path, text) in [
            (format!("{ml}/jobs/j1"), "…/w/jobs/j1"),
            (
                format!("/history/v1.0{ml}/runs/j1"),
                "/history/v1.0…/w/runs/j1",
            ),
            (
                format!("{scope}/Microsoft.Network/virtualNetworks/v"),
                "…/Network/virtualNetworks/v",
            ),
            (
                "/subscriptions/s/resourcegroups".to_owned(),
                "/subscriptions/s/resourcegroups",
            ),
        ] {
            assert_eq!(short(&path), text);
        }
    }
}
