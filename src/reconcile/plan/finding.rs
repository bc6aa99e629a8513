use std::fmt;

use crate::api::ConditionType;

/// Something that somebody did to a resource of the cluster, in Azure and not through the spec.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub stage: ConditionType,
    /// As in [`crate::azure_resources::AzureKind::NAME`].
    pub kind: &'static str,
    /// What people call the resource.
    pub title: String,
    /// Paths of the fields that differ; empty when the resource is gone.
    pub fields: Vec<String>,
    pub response: Response,
}

/// What the operator does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Response {
    /// `driftPolicy` is `Correct`, and Azure changes these fields in place.
    SetBack,
    /// `driftPolicy` is `Report`.
    Reported,
    /// Azure does not change these fields in place: the user has to allow a replacement.
    NotInPlace,
    /// The resource was deleted.
    MadeAgain,
}

impl Response {
    /// A label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SetBack => "set-back",
            Self::Reported => "reported",
            Self::NotInPlace => "not-in-place",
            Self::MadeAgain => "made-again",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, title, .. } = self;
        let fields = self.fields.join(", ");
        match self.response {
            Response::SetBack => {
                write!(
                    f,
                    "somebody changed {fields} of {kind} {title} in Azure: it is set back"
                )
            }
            Response::Reported => write!(
                f,
                "somebody changed {fields} of {kind} {title} in Azure: driftPolicy is Report, so it stays"
            ),
            Response::NotInPlace => write!(
                f,
                "somebody changed {fields} of {kind} {title} in Azure, where it cannot be set back in place"
            ),
            Response::MadeAgain => {
                write!(
                    f,
                    "somebody deleted {kind} {title} in Azure: it is made again"
                )
            }
        }
    }
}
