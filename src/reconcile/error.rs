/// A reconcile that could not look or could not tell. What fails in between is data: conditions and events say it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the status could not be written")]
    Report {
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    /// Every [`category`](Self::category).
    pub const CATEGORIES: [&'static str; 1] = ["Report"];

    /// Bounded label for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Report { .. } => "Report",
        }
    }
}
