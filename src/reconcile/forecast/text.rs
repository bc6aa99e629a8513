//! A forecast as people read it, and as programs do.

use std::fmt;

use serde_json::{Value, json};

use super::{Change, Cost, Forecast, Side, Verb};
use crate::reconcile::plan::Blocked;
use crate::reconcile::preflight::{Node, Obstacle, nodes_told};

const NOTHING: &str = "Nothing would be done.\n";
const STOPPED: &str = "Nothing would be done until what stands in the way is gone.\n";

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let workspace = &place.workspace;
            write!(
                f,
                "DaskCluster {} in workspace {} of resource group {}",
                place.identity,
                workspace.name(),
                workspace.resource_group().unwrap_or_default()
            )?;
            match &self.location {
                Some(location) => writeln!(f, " ({location})")?,
                None => writeln!(f)?,
            }
        }
        self.write_side(f, "Azure", Side::Azure)?;
        self.write_side(f, "Kubernetes", Side::Kubernetes)?;
        self.write_preflight(f)?;
        self.write_rest(f)?;
        if let Some(cost) = &self.cost {
            writeln!(f, "\nCost")?;
            for node in nodes_told(&cost.node, cost.head.as_ref()) {
                writeln!(f, "  {node}")?;
            }
            for (when, nodes) in cost.when() {
                let amount = cost.of(nodes);
                let nodes = nodes.all();
                match amount {
                    Some(amount) => writeln!(f, "  {when:<22} {nodes:>3} nodes  {amount}")?,
                    None => writeln!(f, "  {when:<22} {nodes:>3} nodes")?,
                }
            }
        }
        writeln!(f)?;
        if self.changes.is_empty() {
            let text = if self.blocked.is_empty() {
                NOTHING
            } else {
                STOPPED
            };
            return f.write_str(text);
        }
        let sum = |side| {
            format!(
                "{} to create, {} to change, {} to delete",
                self.count(side, Verb::Create),
                self.count(side, Verb::Change),
                self.count(side, Verb::Delete)
            )
        };
        writeln!(
            f,
            "Azure: {}. Kubernetes: {}.",
            sum(Side::Azure),
            sum(Side::Kubernetes)
        )
    }
}

impl Forecast {
    fn write_side(&self, f: &mut fmt::Formatter<'_>, title: &str, side: Side) -> fmt::Result {
        let changes: Vec<&Change> = self
            .changes
            .iter()
            .filter(|change| change.side == side)
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{title}")?;
        for Change {
            verb,
            kind,
            name,
            why,
            ..
        } in changes
        {
            writeln!(f, "  {} {kind} {name}: {why}", verb.sign())?;
        }
        Ok(())
    }

    fn write_preflight(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(preflight) = &self.preflight else {
            return Ok(());
        };
        writeln!(f, "\nPreflight")?;
        for finding in &preflight.findings {
            writeln!(f, "  {finding}")?;
        }
        if preflight.findings.is_empty() {
            writeln!(f, "  passed")?;
        }
        Ok(())
    }

    /// What waits, and what stands in the way that the preflight does not tell already.
    fn write_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings = self.preflight.iter().flat_map(|found| &found.findings);
        let told: Vec<&str> = findings
            .map(|finding| finding.trouble.message.as_str())
            .collect();
        let blocked: Vec<&Blocked> = self
            .blocked
            .iter()
            .filter(|blocked| !told.contains(&blocked.trouble.message.as_str()))
            .collect();
        if !blocked.is_empty() {
            writeln!(f, "\nIn the way")?;
        }
        for Blocked { stage, trouble } in blocked {
            writeln!(f, "  {stage} {}: {}", trouble.reason, trouble.message)?;
        }
        if !self.waits.is_empty() {
            writeln!(f, "\nWaits")?;
        }
        for wait in &self.waits {
            writeln!(f, "  {} {}: {}", wait.stage, wait.reason, wait.message)?;
        }
        Ok(())
    }

    /// For programs: the names here are stable.
    pub fn to_json(&self) -> Value {
        let finding = |finding: &Obstacle| {
            json!({
                "check": finding.check.as_str(),
                "stops": finding.stops,
                "condition": finding.stage.as_str(),
                "reason": finding.trouble.reason.as_str(),
                "message": finding.trouble.message,
            })
        };
        let told = |stage: &str, reason: &str, message: &str| json!({"condition": stage, "reason": reason, "message": message});
        let blocked = self.blocked.iter().map(|blocked| {
            let trouble = &blocked.trouble;
            told(
                blocked.stage.as_str(),
                trouble.reason.as_str(),
                &trouble.message,
            )
        });
        let waits = self
            .waits
            .iter()
            .map(|wait| told(wait.stage.as_str(), wait.reason.as_str(), &wait.message));
        let preflight = self.preflight.as_ref().map(|preflight| {
            json!({
                "passed": preflight.has_passed(),
                "findings": preflight.findings.iter().map(finding).collect::<Vec<_>>(),
            })
        });
        let cost = self.cost.as_ref().map(Cost::to_json);
        let place = self.place.as_ref();
        json!({
            "namespace": place.map(|place| &place.identity.namespace),
            "name": place.map(|place| &place.identity.name),
            "uid": place.map(|place| &place.identity.uid),
            "workspace": place.map(|place| place.workspace.to_string()),
            "location": self.location,
            "changes": self.changes,
            "waits": waits.collect::<Vec<_>>(),
            "blocked": blocked.collect::<Vec<_>>(),
            "preflight": preflight,
            "cost": cost,
        })
    }
}

impl Cost {
    fn when(&self) -> [(&'static str, Nodes); 3] {
        [
            ("when nothing runs", self.nodes(self.least_nodes, false)),
            (
                "as it is asked for now",
                self.nodes(self.nodes_now, self.head_now),
            ),
            ("at most", self.nodes(self.most_nodes, true)),
        ]
    }

    fn nodes(&self, of_pool: u32, with_head: bool) -> Nodes {
        let has_one = self.head.is_some();
        Nodes {
            of_pool,
            of_head: u32::from(with_head && has_one),
        }
    }

    fn amount(&self, nodes: Nodes) -> Option<f64> {
        let of = |node: &Node, nodes: u32| Some(node.price.as_ref()?.amount * f64::from(nodes));
        let of_head = match &self.head {
            None => 0.0,
            Some(head) => of(head, nodes.of_head)?,
        };
        let amount = of(&self.node, nodes.of_pool)? + of_head;
        Some((amount * 1000.0).round() / 1000.0)
    }

    /// In an hour.
    fn of(&self, nodes: Nodes) -> Option<String> {
        let currency = &self.node.price.as_ref()?.currency;
        Some(format!("{:>9.3} {currency} an hour", self.amount(nodes)?))
    }

    fn to_json(&self) -> Value {
        let [min, now, max] = self
            .when()
            .map(|(_, nodes)| json!({"nodes": nodes.all(), "perHour": self.amount(nodes)}));
        let mut told = json!({
            "vmSize": self.node.vm_size,
            "priority": format!("{:?}", self.node.priority),
            "currency": self.node.price.as_ref().map(|price| &price.currency),
            "nodePerHour": self.node.price.as_ref().map(|price| price.amount),
            "min": min,
            "now": now,
            "max": max,
        });
        if let Some(head) = &self.head {
            told["head"] = json!({
                "vmSize": head.vm_size,
                "priority": format!("{:?}", head.priority),
                "nodePerHour": head.price.as_ref().map(|price| price.amount),
            });
        }
        told
    }
}

/// Nodes of both pools.
#[derive(Clone, Copy)]
struct Nodes {
    of_pool: u32,
    of_head: u32,
}

impl Nodes {
    fn all(self) -> u32 {
        self.of_pool + self.of_head
    }
}

impl Verb {
    fn sign(self) -> char {
        match self {
            Self::Create => '+',
            Self::Change => '~',
            Self::Delete => '-',
        }
    }
}
