//! Names that follow from a cluster's UID, so that a lost answer or a killed process is healed by the
//! next look (architecture section 4, rule 1). Nothing here is remembered anywhere else.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::azure::ResourceId;

/// Who a cluster is in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterIdentity {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl ClusterIdentity {
    /// Sixteen hexadecimal digits of the UID: short enough for a compute's name, long enough to be its own.
    fn short_uid(&self) -> String {
        self.uid
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(16)
            .collect::<String>()
            .to_lowercase()
    }

    /// Name of the pool when the manifest names none: at most 24 characters and no `-<digits>` at the end
    /// (contract section 6).
    pub fn compute_name(&self) -> String {
        format!("dask{}", self.short_uid())
    }

    /// Name of the head's own pool when the manifest names none: exactly the 24 characters that Azure takes.
    pub fn head_compute_name(&self) -> String {
        format!("daskhead{}", self.short_uid())
    }

    /// Name of both sides of the peering with another network. It proves whose they are, as peerings have no tags, and
    /// it is one of its own for each network, as one network has many.
    pub fn peering_name(&self, remote: &ResourceId) -> String {
        let hash = Sha256::digest(remote.to_string().to_lowercase());
        let network: String = hash
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("dask-{}-{network}", self.short_uid())
    }

    /// What all job ids of this cluster begin with.
    pub fn job_prefix(&self) -> String {
        let short: String = self.short_uid().chars().take(8).collect();
        format!("{}-{short}-", self.name)
    }

    /// The id of a job of this cluster.
    pub fn job_id(&self, job: JobName) -> String {
        format!("{}{job}", self.job_prefix())
    }

    /// Reads a job id of this cluster; `None` if it is somebody else's.
    pub fn parse_job_id(&self, id: &str) -> Option<JobName> {
        JobName::parse(id.strip_prefix(&self.job_prefix())?)
    }
}

/// What the ids of all jobs of the same cluster begin with; `None` where this is no job of ours.
pub fn job_prefix_of(id: &str) -> Option<&str> {
    split_job_id(id).map(|(prefix, _)| prefix)
}

/// Slot and incarnation of a job of any cluster of ours.
pub fn job_name_of(id: &str) -> Option<JobName> {
    split_job_id(id).map(|(_, name)| name)
}

fn split_job_id(id: &str) -> Option<(&str, JobName)> {
    let (slot, _) = id.rmatch_indices('-').nth(1)?;
    let (prefix, job) = id.split_at(slot + 1);
    Some((prefix, JobName::parse(job)?))
}

impl fmt::Display for ClusterIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    Head,
    Worker(u16),
}

/// A slot and how often it has been filled: a job id is spent once its job has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName {
    pub slot: Slot,
    /// Counts from 1.
    pub incarnation: u32,
}

impl JobName {
    pub fn first(slot: Slot) -> Self {
        Self {
            slot,
            incarnation: 1,
        }
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self {
            incarnation: self.incarnation.saturating_add(1),
            ..self
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (slot, incarnation) = text.rsplit_once('-')?;
        let slot = match slot {
            "head" => Slot::Head,
            worker => Slot::Worker(worker.strip_prefix('w')?.parse().ok()?),
        };
        let parsed = Self {
            slot,
            incarnation: incarnation.parse().ok()?,
        };
        (parsed.to_string() == text).then_some(parsed)
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot {
            Slot::Head => write!(f, "head-{}", self.incarnation),
            Slot::Worker(slot) => write!(f, "w{slot:02}-{}", self.incarnation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> ClusterIdentity {
        ClusterIdentity {
            namespace: "weather".into(),
            name: "noaa-isd".into(),
            uid: "6f9619ff-8b86-d011-b42d-00c04fc964ff".into(),
        }
    }

    #[test]
    fn derived_names_of_pools_fit_azures_grammar_and_are_not_the_same() {
        let name = cluster().compute_name();
        assert_eq!(name, "dask6f9619ff8b86d011");
        assert!(name.len() <= 24 && !name.contains('-'));
        let of_head = cluster().head_compute_name();
        assert_eq!(of_head, "daskhead6f9619ff8b86d011");
        assert!(of_head.len() <= 24 && !of_head.contains('-'));
    }

    #[test]
    fn a_peering_is_named_after_the_cluster_and_the_other_network_whatever_the_case_of_its_id() {
        let name = |network: &str| {
            let id = format!(
                "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/{network}"
            );
            cluster().peering_name(&id.parse().unwrap())
        };
        assert_eq!(name("aks-vnet"), name("AKS-VNET"));
        assert_ne!(name("aks-vnet"), name("aks-vnet2"));
        assert!(name("aks-vnet").starts_with("dask-6f9619ff8b86d011-"));
        assert!(name("aks-vnet").len() <= 80);
    }

    #[test]
    fn a_job_id_says_its_slot_and_incarnation_and_is_read_back() {
        let job = JobName {
            slot: Slot::Worker(7),
            incarnation: 3,
        };
        assert_eq!(cluster().job_id(job), "noaa-isd-6f9619ff-w07-3");
        for job in [
            job,
            JobName::first(Slot::Head),
            JobName::first(Slot::Worker(0)).next(),
        ] {
            let id = cluster().job_id(job);
            assert_eq!(cluster().parse_job_id(&id), Some(job));
            assert_eq!(job_prefix_of(&id), Some("noaa-isd-6f9619ff-"));
            assert_eq!(job_name_of(&id), Some(job));
        }
    }

    #[test]
    fn a_job_of_a_namesake_or_with_another_spelling_is_nobody_we_know() {
        let namesake = ClusterIdentity {
            uid: "00000000-8b86-d011-b42d-00c04fc964ff".into(),
            ..cluster()
        };
        let id = namesake.job_id(JobName::first(Slot::Head));
        assert_eq!(cluster().parse_job_id(&id), None);
        for id in [
            "noaa-isd-6f9619ff-head-01",
            "noaa-isd-6f9619ff-w7-1",
            "noaa-isd-6f9619ff-head",
            "noaa-isd-6f9619ff-x-1",
        ] {
            assert_eq!(cluster().parse_job_id(id), None, "{id}");
            assert_eq!(job_prefix_of(id), None, "{id}");
        }
    }
}
