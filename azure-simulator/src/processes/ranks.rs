//! The processes of a distributed job: on which node each is, and what it is told of the others
//! (contract section 9).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::processes::NODE_ADDRESS;

/// Not recorded on Azure.
const TORCH_MASTER_PORT: u16 = 6105;
/// Port of `AZ_BATCH_MASTER_NODE` as documented.
const BATCH_MASTER_PORT: u16 = 6000;

const TENSORFLOW: &str = "TensorFlow";
/// Port of the first task on a node, as in TensorFlow's own examples; those beside it have the next ones.
const TENSORFLOW_PORT: u16 = 2222;

/// One process of a job; its rank is its place among them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    /// The place of its node among the job's nodes.
    pub(crate) node: usize,
    pub(crate) environment: BTreeMap<String, String>,
}

/// The processes of a job on nodes with these `addresses`. Without a distribution it is one, on the
/// first node.
pub(crate) fn of(properties: &Value, addresses: &[Ipv4Addr]) -> Vec<Rank> {
    let distribution = &properties["distribution"];
    let places = places(properties, addresses.len());
    let cluster = cluster(distribution, &places, addresses);
    let mut ranks = Vec::new();
    for place in &places {
        let mut environment = BTreeMap::new();
        let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
        if let Some(address) = addresses.get(place.node) {
            set(NODE_ADDRESS, address.to_string());
        }
        for name in ["AZUREML_NODE_COUNT", "NODE_COUNT"] {
            set(name, addresses.len().to_string());
        }
        if addresses.len() > 1 {
            for (name, value) in of_several_nodes(addresses, place.node) {
                set(name, value);
            }
        }
        for (name, value) in place.told_by(distribution, addresses, &cluster) {
            set(name, value);
        }
        ranks.push(Rank {
            node: place.node,
            environment,
        });
    }
    ranks
}

/// The places of the nodes of each rank, among so many of them.
pub(crate) fn nodes(properties: &Value, nodes: usize) -> impl Iterator<Item = usize> + use<> {
    places(properties, nodes)
        .into_iter()
        .map(|place| place.node)
}

/// Where a process is among the others.
struct Place {
    rank: usize,
    of_all: usize,
    local: usize,
    per_node: usize,
    node: usize,
}

/// The places of a job's processes on so many nodes, by rank.
fn places(properties: &Value, nodes: usize) -> Vec<Place> {
    let distribution = &properties["distribution"];
    let place = |rank, of_all, local, per_node, node| Place {
        rank,
        of_all,
        local,
        per_node,
        node,
    };
    if distribution["distributionType"] == TENSORFLOW {
        // One after the other, and from the first node again where there are more of them than nodes.
        let of_all = workers(distribution) + count(distribution, "parameterServerCount", 0);
        let nodes = nodes.max(1);
        return (0..of_all)
            .map(|rank| {
                place(
                    rank,
                    of_all,
                    rank / nodes,
                    of_all.div_ceil(nodes),
                    rank % nodes,
                )
            })
            .collect();
    }
    let per_node = count(distribution, "processCountPerInstance", 1);
    let used = match distribution["distributionType"].as_str() {
        Some(_) => nodes,
        None => nodes.min(1),
    };
    let of_all = used * per_node;
    (0..of_all)
        .map(|rank| place(rank, of_all, rank % per_node, per_node, rank / per_node))
        .collect()
}

fn count(distribution: &Value, field: &str, otherwise: usize) -> usize {
    let count = distribution[field].as_u64();
    count.map_or(otherwise, |count| {
        usize::try_from(count).unwrap_or(otherwise)
    })
}

fn workers(distribution: &Value) -> usize {
    count(distribution, "workerCount", 1)
}

/// What `TF_CONFIG` calls the cluster: where each worker and each parameter server is.
fn cluster(distribution: &Value, places: &[Place], addresses: &[Ipv4Addr]) -> Value {
    let mut tasks: Vec<String> = places
        .iter()
        .filter_map(|place| {
            let address = addresses.get(place.node)?;
            Some(format!(
                "{address}:{}",
                usize::from(TENSORFLOW_PORT) + place.local
            ))
        })
        .collect();
    let servers = tasks.split_off(workers(distribution).min(tasks.len()));
    let mut cluster = json!({"worker": tasks});
    if !servers.is_empty() {
        cluster["ps"] = json!(servers);
    }
    cluster
}

impl Place {
    /// What the distribution sets.
    fn told_by(
        &self,
        distribution: &Value,
        addresses: &[Ipv4Addr],
        cluster: &Value,
    ) -> Vec<(&'static str, String)> {
        let head = addresses.first().map(ToString::to_string);
        let head = head.unwrap_or_default();
        match distribution["distributionType"].as_str() {
            Some("PyTorch") => vec![
                ("MASTER_ADDR", head),
                ("MASTER_PORT", TORCH_MASTER_PORT.to_string()),
                ("WORLD_SIZE", self.of_all.to_string()),
                ("NODE_RANK", self.node.to_string()),
                ("RANK", self.rank.to_string()),
                ("LOCAL_RANK", self.local.to_string()),
            ],
            Some("Mpi") => {
                let alone = addresses.len() == 1;
                let head = if alone { "localhost".to_owned() } else { head };
                vec![
                    ("AZ_BATCHAI_MPI_MASTER_NODE", head),
                    ("OMPI_COMM_WORLD_RANK", self.rank.to_string()),
                    ("OMPI_COMM_WORLD_SIZE", self.of_all.to_string()),
                    ("OMPI_COMM_WORLD_LOCAL_RANK", self.local.to_string()),
                    ("OMPI_COMM_WORLD_LOCAL_SIZE", self.per_node.to_string()),
                ]
            }
            Some(TENSORFLOW) => {
                let workers = workers(distribution);
                let task = match self.rank.checked_sub(workers) {
                    None => json!({"type": "worker", "index": self.rank}),
                    Some(index) => json!({"type": "ps", "index": index}),
                };
                let config = json!({"cluster": cluster, "task": task, "environment": "cloud"});
                vec![("TF_CONFIG", config.to_string())]
            }
            _ => Vec::new(),
        }
    }
}

/// What Azure Batch tells on each of several nodes.
fn of_several_nodes(addresses: &[Ipv4Addr], node: usize) -> Vec<(&'static str, String)> {
    let listed = |separator: &str| {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        texts.join(separator)
    };
    let head = addresses.first().map(ToString::to_string);
    vec![
        ("AZ_BATCH_NODE_LIST", listed(";")),
        ("AZ_BATCH_HOST_LIST", listed(",")),
        (
            "AZ_BATCH_MASTER_NODE",
            format!("{}:{BATCH_MASTER_PORT}", head.unwrap_or_default()),
        ),
        ("AZ_BATCH_IS_CURRENT_NODE_MASTER", (node == 0).to_string()),
        ("AZ_BATCHAI_TASK_INDEX", node.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 4), Ipv4Addr::new(10, 0, 0, 5)];

    fn ranks(kind: &str, per_node: u64, addresses: &[Ipv4Addr]) -> Vec<Rank> {
        let distribution = json!({"distributionType": kind, "processCountPerInstance": per_node});
        of(&json!({"distribution": distribution}), addresses)
    }

    #[test]
    fn ranks_are_counted_through_nodes_and_the_first_node_is_the_head() {
        let ranks = ranks("PyTorch", 2, &TWO);
        let told: Vec<[&str; 5]> = ranks
            .iter()
            .map(|rank| {
                [
                    "RANK",
                    "LOCAL_RANK",
                    "NODE_RANK",
                    "WORLD_SIZE",
                    "MASTER_ADDR",
                ]
                .map(|name| rank.environment[name].as_str())
            })
            .collect();
        let expected = [
            ["0", "0", "0", "4", "10.0.0.4"],
            ["1", "1", "0", "4", "10.0.0.4"],
            ["2", "0", "1", "4", "10.0.0.4"],
            ["3", "1", "1", "4", "10.0.0.4"],
        ];
        assert_eq!(told, expected);
        let nodes: Vec<usize> = ranks.iter().map(|rank| rank.node).collect();
        assert_eq!(nodes, [0, 0, 1, 1]);
    }

    #[test]
    fn several_nodes_are_told_of_each_other_and_one_is_not() {
        let both = ranks("Mpi", 1, &TWO);
        let second = &both[1].environment;
        assert_eq!(second["AZ_BATCH_NODE_LIST"], "10.0.0.4;10.0.0.5");
        assert_eq!(second["AZ_BATCH_MASTER_NODE"], "10.0.0.4:6000");
        assert_eq!(second["AZ_BATCH_IS_CURRENT_NODE_MASTER"], "false");
        assert_eq!(second["AZ_BATCHAI_MPI_MASTER_NODE"], "10.0.0.4");
        assert_eq!(second["AZUREML_NODE_COUNT"], "2");
        let alone = ranks("Mpi", 1, &TWO[..1]);
        let own = &alone[0].environment;
        assert_eq!(own["AZ_BATCHAI_MPI_MASTER_NODE"], "localhost");
        assert!(!own.contains_key("AZ_BATCH_NODE_LIST"));
    }

    #[test]
    fn tasks_of_tensorflow_know_their_cluster_and_their_place_in_it() {
        let distribution =
            json!({"distributionType": "TensorFlow", "workerCount": 2, "parameterServerCount": 1});
        let ranks = of(&json!({"distribution": distribution}), &TWO);
        let nodes: Vec<usize> = ranks.iter().map(|rank| rank.node).collect();
        assert_eq!(nodes, [0, 1, 0]);
        let told: Vec<Value> = ranks
            .iter()
            .map(|rank| serde_json::from_str(&rank.environment["TF_CONFIG"]).unwrap())
            .collect();
        let cluster =
            json!({"worker": ["10.0.0.4:2222", "10.0.0.5:2222"], "ps": ["10.0.0.4:2223"]});
        for (told, (kind, index)) in told.iter().zip([("worker", 0), ("worker", 1), ("ps", 0)]) {
            assert_eq!(told["cluster"], cluster);
            assert_eq!(told["task"], json!({"type": kind, "index": index}));
        }
    }

    #[test]
    fn without_a_distribution_the_command_runs_on_the_first_node_alone() {
        let ranks = of(&json!({"distribution": null}), &TWO);
        assert_eq!(ranks.len(), 1);
        assert_eq!(ranks[0].environment["NODE_COUNT"], "2");
    }
}
