use reqwest::StatusCode;

/// Why a scheduler could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no answer from {address}")]
    Unreachable {
        /// Host and port.
        address: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{address} does not know our token")]
    Untrusted { address: String },
    /// Another operator may be at work, so it was not asked.
    #[error("{address} was not asked, as this operator does not lead any more")]
    NotLeading { address: String },
    #[error("{address} is already letting workers go")]
    Busy { address: String },
    #[error("{address} answered {status} for {route}")]
    Refused {
        address: String,
        route: &'static str,
        status: StatusCode,
    },
    #[error("the answer of {address} for {route} cannot be read")]
    Undecodable {
        address: String,
        route: &'static str,
    },
}

impl Error {
    /// Every [`category`](Self::category).
    pub const CATEGORIES: [&'static str; 5] =
        ["Unreachable", "Untrusted", "Busy", "Refused", "Undecodable"];

    /// Bounded label for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "Unreachable",
            Self::Untrusted { .. } => "Untrusted",
            Self::NotLeading { .. } => "NotLeading",
            Self::Busy { .. } => "Busy",
            Self::Refused { .. } => "Refused",
            Self::Undecodable { .. } => "Undecodable",
        }
    }
}
