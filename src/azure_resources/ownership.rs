//! The tags that prove who made a resource (architecture section 4, rule 2).

use std::collections::BTreeMap;

/// Carries the UID of the owning DaskCluster.
pub const OWNER: &str = "dask-azureml-owner";
/// Carries the operator instance: UID of `kube-system` with the release's namespace and name.
pub const INSTANCE: &str = "dask-azureml-instance";
/// Carries `namespace/name` of the owning DaskCluster, for people.
pub const CLUSTER: &str = "dask-azureml-cluster";
/// On shared versions, which belong to nobody: carries the operator instance.
pub const MADE_BY: &str = "dask-azureml-made-by";
/// On what `deletionPolicy: Retain` left behind.
pub const RETAINED: &str = "dask-azureml-retained";

pub type Tags = BTreeMap<String, String>;

/// Who speaks through the tags of what we make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: String,
    pub instance: String,
    pub cluster: String,
}

impl Owner {
    /// The tags of a resource that belongs to this cluster, the user's own among them.
    pub fn tags(&self, user: &Tags) -> Tags {
        let mut tags = user.clone();
        tags.insert(OWNER.into(), self.uid.clone());
        tags.insert(INSTANCE.into(), self.instance.clone());
        tags.insert(CLUSTER.into(), self.cluster.clone());
        tags
    }

    /// Whose a resource is, by its tags.
    pub fn claim(&self, tags: &Tags) -> Claim {
        let value = |name: &str| tag(tags, name).map(str::to_owned);
        match value(OWNER) {
            Some(uid) if uid == self.uid => Claim::Ours,
            _ if value(RETAINED).is_some() => Claim::Nobody,
            Some(uid) => Claim::Another {
                cluster: value(CLUSTER),
                foreign_instance: value(INSTANCE).filter(|instance| *instance != self.instance),
                uid,
            },
            None if owner_tag_is_gone(tags, &self.cluster) => Claim::OwnerTagIsGone,
            None => Claim::Nobody,
        }
    }

    /// The tags of a shared version.
    pub fn shared_tags(&self) -> Tags {
        Tags::from([(MADE_BY.into(), self.instance.clone())])
    }
}

/// Whose a resource is. Tags prove it; a name that fits proves nothing, as anybody can give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Ours,
    /// No cluster's; one that was retained has been let go of by its cluster.
    Nobody,
    /// It says that it was made for a cluster of our name, and not for which: somebody took the owner's tag off.
    OwnerTagIsGone,
    Another {
        uid: String,
        /// `namespace/name`.
        cluster: Option<String>,
        /// Of another operator than this one.
        foreign_instance: Option<String>,
    },
}

/// The value of a tag. Azure compares tag names without case.
fn tag<'a>(tags: &'a Tags, name: &str) -> Option<&'a str> {
    tags.iter()
        .find(|(held, _)| held.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// The UID that a resource's tags name as its owner.
pub fn owner_uid(tags: &Tags) -> Option<&str> {
    tag(tags, OWNER)
}

/// It was made for a cluster of this `namespace/name`, and somebody took off the tag that says for which.
pub fn owner_tag_is_gone(tags: &Tags, cluster: &str) -> bool {
    owner_uid(tags).is_none() && tag(tags, CLUSTER) == Some(cluster) && !is_retained(tags)
}

/// Left by its cluster on purpose.
pub fn is_retained(tags: &Tags) -> bool {
    tag(tags, RETAINED).is_some()
}

/// The tags of a body, which may be `null` (contract section 6).
pub fn tags_of(body: &serde_json::Value) -> Tags {
    tags_at(body.get("tags"))
}

/// Tags out of any JSON value that holds them; what is not a string is no tag.
pub fn tags_at(value: Option<&serde_json::Value>) -> Tags {
    value
        .and_then(serde_json::Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Field paths of wanted tags that are missing or differ; tags of others are theirs.
pub fn tag_drift(wanted: &Tags, have: &Tags) -> Vec<String> {
    wanted
        .iter()
        .filter(|(name, value)| {
            !have
                .iter()
                .any(|(other, held)| other.eq_ignore_ascii_case(name) && held == *value)
        })
        .map(|(name, _)| format!("tags.{name}"))
        .collect()
}

/// What a PUT has to say, as it replaces all tags: ours, and those of others. Azure refuses a body that holds one name
/// in two cases.
pub fn tags_of_both(ours: &Tags, held: Option<&Tags>) -> Tags {
    let is_ours = |name: &str| ours.keys().any(|own| own.eq_ignore_ascii_case(name));
    let theirs = held
        .into_iter()
        .flatten()
        .filter(|(name, _)| !is_ours(name));
    theirs
        .chain(ours)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_tags_and_tags_that_are_no_strings_are_no_tags() {
        assert!(tags_of(&json!({"tags": null})).is_empty());
        assert!(tags_of(&json!({"tags": {"a": 1}})).is_empty());
    }

    #[test]
    fn an_owner_is_found_whatever_the_case_of_the_tag() {
        let tags = tags_of(&json!({"tags": {"Dask-AzureML-Owner": "u1"}}));
        assert_eq!(owner_uid(&tags), Some("u1"));
    }

    #[test]
    fn whose_a_resource_is_follows_from_its_tags_alone() {
        let owner = Owner {
            uid: "u1".into(),
            instance: "i1".into(),
            cluster: "weather/noaa".into(),
        };
        let another = |cluster: Option<&str>, foreign: Option<&str>| Claim::Another {
            uid: "u2".into(),
            cluster: cluster.map(Into::into),
            foreign_instance: foreign.map(Into::into),
        };
        for (tags, expected) in [
            (json!({}), Claim::Nobody),
            (json!({"team": "x", INSTANCE: "i1"}), Claim::Nobody),
            (json!({OWNER: "u1"}), Claim::Ours),
            (
                json!({"DASK-AZUREML-OWNER": "u1", RETAINED: "true"}),
                Claim::Ours,
            ),
            (json!({OWNER: "u2"}), another(None, None)),
            (
                json!({OWNER: "u2", INSTANCE: "i1", CLUSTER: "weather/other"}),
                another(Some("weather/other"), None),
            ),
            (
                json!({OWNER: "u2", INSTANCE: "i2"}),
                another(None, Some("i2")),
            ),
            (json!({OWNER: "u2", RETAINED: "true"}), Claim::Nobody),
            (
                json!({CLUSTER: "weather/noaa", INSTANCE: "i1"}),
                Claim::OwnerTagIsGone,
            ),
            (json!({CLUSTER: "weather/other"}), Claim::Nobody),
        ] {
            assert_eq!(
                owner.claim(&tags_of(&json!({"tags": tags}))),
                expected,
                "{tags}"
            );
        }
    }

    #[test]
    fn tags_of_others_are_no_drift_and_a_changed_one_of_ours_is() {
        let wanted = Tags::from([
            ("team".into(), "climate".into()),
            (OWNER.into(), "u1".into()),
        ]);
        let have = Tags::from([
            (OWNER.into(), "u1".into()),
            ("cost".into(), "7".into()),
            ("team".into(), "x".into()),
        ]);
        assert_eq!(tag_drift(&wanted, &have), ["tags.team"]);
    }

    #[test]
    fn a_put_holds_each_tag_once_whatever_case_azure_keeps_it_in() {
        let ours = Tags::from([(OWNER.into(), "u1".into())]);
        let held = Tags::from([
            (OWNER.to_uppercase(), "u2".into()),
            ("cost".into(), "7".into()),
        ]);
        let expected = Tags::from([(OWNER.into(), "u1".into()), ("cost".into(), "7".into())]);
        assert_eq!(tags_of_both(&ours, Some(&held)), expected);
        assert_eq!(tags_of_both(&ours, None), ours);
    }
}
