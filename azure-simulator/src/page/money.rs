//! What nodes have cost.

use maud::{Markup, html};
use serde_json::Value;

use crate::page::figures;

/// Lines of a table that are shown.
const MOST_LINES: usize = 50;

pub(super) struct Money {
    total: Cost,
    pools: Vec<(String, Cost)>,
    states: Vec<(String, Cost)>,
    /// By name and value of a tag.
    tags: Vec<(String, Cost)>,
}

#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    usd: f64,
}

impl Cost {
    fn read(value: &Value) -> Self {
        Self {
            seconds: value["seconds"].as_f64().unwrap_or_default(),
            usd: value["usd"].as_f64().unwrap_or_default(),
        }
    }
}

impl Money {
    /// Reads `GET /meter`.
    pub(super) fn seen(meter: &Value) -> Self {
        let nodes = &meter["nodes"];
        let costs = |value: &Value| -> Vec<(String, Cost)> {
            let costs = value.as_object().into_iter().flatten();
            costs
                .map(|(name, cost)| (name.clone(), Cost::read(cost)))
                .collect()
        };
        let pools = nodes["pools"].as_array().into_iter().flatten();
        let tags = nodes["by_tag"].as_object().into_iter().flatten();
        Self {
            total: Cost::read(&nodes["total"]),
            pools: dearest(
                pools
                    .map(|pool| (pool_name(pool), Cost::read(&pool["total"])))
                    .collect(),
            ),
            states: costs(&nodes["by_state"]),
            tags: dearest(
                tags.flat_map(|(name, values)| {
                    let values = costs(values).into_iter();
                    values.map(move |(value, cost)| (format!("{name}: {value}"), cost))
                })
                .collect(),
            ),
        }
    }

    pub(super) fn shown(&self) -> Markup {
        html! {
            p.total {
                strong { (figures::money(self.total.usd)) }
                " for " (figures::duration(self.total.seconds)) " of node time"
            }
            @if !self.pools.is_empty() {
                (table("Pool", &self.pools))
                (table("State", &self.states))
                details #money-by-tag {
                    summary { "By tag" }
                    (table("Tag", &self.tags))
                }
            }
        }
    }
}

fn pool_name(pool: &Value) -> String {
    let id = pool["compute"].as_str().unwrap_or_default();
    let name = id.rsplit('/').next().unwrap_or_default();
    let price = pool["usd_an_hour"].as_f64().unwrap_or_default();
    format!("{name} ({} USD/h)", figures::number(price))
}

fn dearest(mut costs: Vec<(String, Cost)>) -> Vec<(String, Cost)> {
    costs.sort_by(|(_, one), (_, other)| other.usd.total_cmp(&one.usd));
    costs
}

fn table(what: &str, costs: &[(String, Cost)]) -> Markup {
    html! {
        div.wide {
            table {
                thead {
                    tr { th { (what) } th.number { "Node time" } th.number { "USD" } }
                }
                tbody {
                    @for (name, cost) in costs.iter().take(MOST_LINES) {
                        tr {
                            th scope="row" { (name) }
                            td.number { (figures::duration(cost.seconds)) }
                            td.number { (format!("{:.4}", cost.usd)) }
                        }
                    }
                }
            }
        }
        @if costs.len() > MOST_LINES {
            p.none { "And " (costs.len() - MOST_LINES) " that cost less: " a href="/meter" { "meter" } }
        }
    }
}
