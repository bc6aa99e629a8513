//! `runs/search`: filters of the form `tags.x = 'y' and attributes.status = 'RUNNING'`.

use serde_json::{Value, json};

use crate::azure::Transaction;
use crate::data_plane::error::DataPlaneError;
use crate::data_plane::{Tracked, experiments, mlflow};
use crate::documents::Order;
use crate::resource_id::ResourceId;

const MOST_RESULTS: u64 = 50_000;

/// One comparison of a filter.
#[derive(Debug, PartialEq, Eq)]
struct Clause {
    entity: Entity,
    key: String,
    equal: bool,
    value: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Entity {
    Tag,
    Parameter,
    Attribute,
}

pub(crate) fn search(
    transaction: &Transaction<'_>,
    workspace: &ResourceId,
    arguments: &Value,
) -> Result<Value, DataPlaneError> {
    let clauses = parse(arguments["filter"].as_str().unwrap_or_default())?;
    if arguments["order_by"]
        .as_array()
        .is_some_and(|order| !order.is_empty())
    {
        return Err(DataPlaneError::refused("Ordering of a run search"));
    }
    let experiments: Vec<&str> = arguments["experiment_ids"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let most = arguments["max_results"]
        .as_u64()
        .unwrap_or(1000)
        .min(MOST_RESULTS);
    let after = match arguments["page_token"].as_str() {
        None | Some("") => None,
        Some(token) => Some(token.parse().map_err(|_| {
            DataPlaneError::bad_request(format!("The page token '{token}' is invalid."))
        })?),
    };
    let archived_wanted = match arguments["run_view_type"].as_str() {
        None | Some("ACTIVE_ONLY") => Some(false),
        Some("DELETED_ONLY") => Some(true),
        Some(_) => None,
    };
    let mut runs = Vec::new();
    let mut last = None;
    let mut more = false;
    let jobs = workspace.child("jobs", None);
    for document in transaction
        .state
        .documents
        .members(&jobs, Order::NewestFirst, after)
    {
        let Some(run) = transaction.state.physics.runs.get(&document.id.key()) else {
            continue;
        };
        let tracked = Tracked::of(transaction, document, run);
        let archived = tracked.properties()["isArchived"] == true;
        let experiment = experiments::id_of(workspace, tracked.experiment());
        if archived_wanted.is_some_and(|wanted| wanted != archived)
            || !experiments.contains(&experiment.as_str())
            || !clauses.iter().all(|clause| clause.holds(&tracked))
        {
            continue;
        }
        if runs.len() as u64 == most {
            more = true;
            break;
        }
        last = Some(document.number);
        runs.push(mlflow::shown(&tracked, workspace));
    }
    let mut found = json!({"runs": runs});
    if let Some(last) = last.filter(|_| more) {
        found["next_page_token"] = json!(last.to_string());
    }
    Ok(found)
}

impl Clause {
    fn holds(&self, tracked: &Tracked<'_>) -> bool {
        let actual = match self.entity {
            Entity::Tag => tracked.properties()["tags"][&self.key].as_str(),
            Entity::Parameter => tracked.run.parameters.get(&self.key).map(String::as_str),
            Entity::Attribute if self.key == "status" => Some(tracked.run.status.mlflow_word()),
            Entity::Attribute => Some(tracked.run.id.as_str()),
        };
        match actual {
            Some(actual) => (actual == self.value) == self.equal,
            None => false,
        }
    }
}

fn parse(filter: &str) -> Result<Vec<Clause>, DataPlaneError> {
    let mut clauses = Vec::new();
    let mut rest = filter.trim();
    while !rest.is_empty() {
        let (clause, after) = clause(rest)
            .ok_or_else(|| DataPlaneError::refused(format!("The run filter '{filter}'")))?;
        clauses.push(clause);
        rest = after.trim_start();
        if !rest.is_empty() {
            let and = rest
                .get(..4)
                .filter(|word| word.eq_ignore_ascii_case("and "));
            rest = and
                .and_then(|_| rest.get(4..))
                .ok_or_else(|| DataPlaneError::refused(format!("The run filter '{filter}'")))?
                .trim_start();
        }
    }
    Ok(clauses)
}

/// The first comparison of a text, and what follows it.
fn clause(text: &str) -> Option<(Clause, &str)> {
    let (entity, rest) = text.split_once('.')?;
    let entity = match entity.trim() {
        "tags" | "tag" => Entity::Tag,
        "params" | "param" | "parameters" => Entity::Parameter,
        "attributes" | "attribute" => Entity::Attribute,
        _ => return None,
    };
    let at = rest.find('=')?;
    let equal = !rest[..at].ends_with('!');
    let key = rest[..at]
        .trim_end_matches('!')
        .trim()
        .trim_matches(['`', '"']);
    if matches!(entity, Entity::Attribute) && !["status", "run_id"].contains(&key) {
        return None;
    }
    let quoted = rest[at + 1..].trim_start();
    let quote = quoted.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    let end = quoted[1..].find(quote)? + 1;
    Some((
        Clause {
            entity,
            key: key.to_owned(),
            equal,
            value: quoted[1..end].to_owned(),
        },
        &quoted[end + 1..],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_comparisons_joined_by_and() {
        let clauses = parse("tags.`a.b` = 'x and y' AND attributes.status != \"RUNNING\"").unwrap();
        assert_eq!(clauses.len(), 2);
        assert_eq!(
            (clauses[0].key.as_str(), clauses[0].value.as_str()),
            ("a.b", "x and y")
        );
        assert!(!clauses[1].equal);
        assert!(parse("metrics.m > 1").is_err());
    }
}
