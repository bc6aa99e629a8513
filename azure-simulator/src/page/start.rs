//! The page of everything.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use crate::azure::Azure;
use crate::clock::Pace;
use crate::control;
use crate::page::jobs::Jobs;
use crate::page::money::Money;
use crate::page::networks::Networks;
use crate::page::pools::Pools;
use crate::page::requests::Requests;
use crate::page::{figures, layout};
use crate::world;

/// `GET /`.
pub(super) async fn answer(State(azure): State<Arc<Azure>>) -> Response {
    let seen = Seen::of(&azure);
    layout::page(&seen.location, seen.now.timestamp, &seen.shown())
}

struct Seen {
    now: crate::clock::Moment,
    location: String,
    subscription: String,
    pace: Pace,
    pretend: bool,
    faults: Vec<Value>,
    pools: Pools,
    jobs: Jobs,
    networks: Networks,
    requests: Requests,
    money: Money,
}

impl Seen {
    fn of(azure: &Azure) -> Self {
        let world = &azure.settings.world;
        let meter = control::metered(azure);
        let (now, pools, jobs, networks) = azure.transact(|transaction| {
            (
                transaction.now,
                Pools::seen(transaction),
                Jobs::seen(transaction),
                Networks::seen(transaction),
            )
        });
        Self {
            now,
            location: world.location.clone(),
            subscription: world.subscription_id.clone(),
            pace: azure.clock.pace(),
            pretend: world.jobs == world::Jobs::Pretend,
            faults: azure.faults.shown().as_array().cloned().unwrap_or_default(),
            pools,
            jobs,
            networks,
            requests: Requests::seen(&azure.exchanges, &meter),
            money: Money::seen(&meter),
        }
    }

    fn shown(&self) -> Markup {
        html! {
            h1 { "Azure in " (self.location) ", simulated" }
            p.lead {
                "Subscription " (self.subscription) ". " (self.time())
                @if self.pretend {
                    " " strong { "Jobs only pretend to run." }
                }
            }
            (self.faults())
            div.columns {
                div.column {
                    (layout::section("pools", "Pools", &self.pools.shown()))
                    (layout::section("jobs", "Jobs", &self.jobs.shown()))
                    (layout::section("requests", "Last requests", &self.requests.shown()))
                }
                div.column {
                    (layout::section("buckets", "Token buckets", &self.requests.buckets_shown()))
                    (layout::section("money", "Money", &self.money.shown()))
                    (layout::section("networks", "Networks", &self.networks.shown()))
                }
            }
        }
    }

    fn time(&self) -> Markup {
        let elapsed = figures::duration(self.now.elapsed.as_secs_f64());
        html! {
            @match self.pace {
                Pace::Scaled(scale) => {
                    "Time runs " (figures::number(scale)) " times as fast as in Azure; "
                    (elapsed) " of it have passed."
                }
                Pace::Instant => "What takes time in Azure takes none here.",
                Pace::Manual => {
                    "Time stands still until it is advanced; " (elapsed) " have passed."
                }
            }
        }
    }

    fn faults(&self) -> Markup {
        html! {
            @if !self.faults.is_empty() {
                section #faults.warning aria-labelledby="faults-heading" {
                    h2 #faults-heading { (figures::count(self.faults.len(), "fault")) " set" }
                    ul {
                        @for fault in &self.faults {
                            li {
                                "Number " (fault["number"]) " has struck "
                                (fault["struck"]) " of " (fault["matched"]) " matches: "
                                code { (fault["fault"]) }
                            }
                        }
                    }
                }
            }
        }
    }
}
