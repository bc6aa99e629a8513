//! What users ask for by annotations of a DaskCluster, beside its spec.

use std::collections::BTreeMap;

/// Plan and tell, change nothing. Any value but `"false"` means it: a slip of the pen must not spend money.
pub const DRY_RUN: &str = "azureml.dask.dev/dry-run";
/// `manage`, `observe` or `detach-on-delete`: see [`ReconcilePolicy`].
pub const RECONCILE_POLICY: &str = "azureml.dask.dev/reconcile-policy";
/// Any text: a new one asks for a look at everything anew.
pub const RECONCILE_REQUESTED_AT: &str = "azureml.dask.dev/reconcile-requested-at";
/// Any text: a new one wakes a cluster that rests because it was idle, too old or too dear.
pub const WAKE: &str = "azureml.dask.dev/wake";
/// No worker is let go that the spec does not ask to go. Any value but `"false"` means it.
pub const DO_NOT_DISRUPT: &str = "azureml.dask.dev/do-not-disrupt";

/// The longest request that is told as handled, in bytes: what status takes.
const LONGEST_REQUEST: usize = 1024;

/// What the annotations ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    pub dry_run: bool,
    pub policy: ReconcilePolicy,
    /// The request for a look at everything anew, as it was written.
    pub requested_at: Option<String>,
    /// What was written last to wake the cluster, in short.
    pub wake: Option<String>,
    pub do_not_disrupt: bool,
}

/// How far the operator's hands reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReconcilePolicy {
    /// Makes the manifest true, and takes away what it made when the manifest goes.
    #[default]
    Manage,
    /// Reads and tells. The manifest goes without a write to Azure.
    Observe,
    /// As `Manage`, but what is in Azure stays as it is when the manifest goes.
    DetachOnDelete,
    /// A value that means nothing. Nothing is written, also not to let the manifest go.
    Unknown(String),
}

impl Annotations {
    pub fn read(annotations: Option<&BTreeMap<String, String>>) -> Self {
        let said = |name: &str| annotations?.get(name).map(String::as_str);
        let request = |name: &str| {
            said(name).map(|text| text[..text.floor_char_boundary(LONGEST_REQUEST)].to_owned())
        };
        Self {
            dry_run: said(DRY_RUN).is_some_and(|said| said != "false"),
            policy: said(RECONCILE_POLICY).map_or_else(Default::default, ReconcilePolicy::read),
            requested_at: request(RECONCILE_REQUESTED_AT),
            wake: request(WAKE),
            do_not_disrupt: said(DO_NOT_DISRUPT).is_some_and(|said| said != "false"),
        }
    }
}

impl ReconcilePolicy {
    fn read(text: &str) -> Self {
        match text {
            "manage" => Self::Manage,
            "observe" => Self::Observe,
            "detach-on-delete" => Self::DetachOnDelete,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(name: &str, value: &str) -> Annotations {
        let annotations = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Annotations::read(Some(&annotations))
    }

    #[test]
    fn without_annotations_everything_is_managed() {
        assert_eq!(Annotations::read(None), Annotations::default());
        assert_eq!(Annotations::default().policy, ReconcilePolicy::Manage);
    }

    #[test]
    fn a_policy_that_means_nothing_is_not_taken_for_another() {
        let policy = |text: &str| annotated(RECONCILE_POLICY, text).policy;
        assert_eq!(policy("manage"), ReconcilePolicy::Manage);
        assert_eq!(policy("observe"), ReconcilePolicy::Observe);
        assert_eq!(policy("detach-on-delete"), ReconcilePolicy::DetachOnDelete);
        for wrong in ["Observe", "skip", "", "detach-on-delet"] {
            assert_eq!(policy(wrong), ReconcilePolicy::Unknown(wrong.to_owned()));
        }
    }

    #[test]
    fn whatever_is_not_false_asks_for_a_dry_run() {
        assert!(annotated(DRY_RUN, "true").dry_run);
        assert!(annotated(DRY_RUN, "yes").dry_run);
        assert!(!annotated(DRY_RUN, "false").dry_run);
    }

    #[test]
    fn a_request_is_any_text_and_as_long_as_status_takes() {
        let request = |text: &str| annotated(RECONCILE_REQUESTED_AT, text).requested_at;
        assert_eq!(request("now, please").as_deref(), Some("now, please"));
        assert_eq!(request(&"日".repeat(400)), Some("日".repeat(341)));
    }
}
