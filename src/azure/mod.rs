//! How the operator talks to Azure: tokens, Azure Resource Manager (ARM), and the reads of the
//! Azure ML data plane. Nothing here knows a kind of resource, decides what to do next, or waits
//! between two requests for anything but its turn.

mod budget;
mod challenge;
mod client;
mod credential;
mod data_plane;
mod endpoint;
mod entra;
mod error;
mod error_body;
mod error_codes;
mod exchange;
mod http_client;
mod identity;
mod observer;
mod operation;
mod resource_id;
mod retry_after;
#[cfg(test)]
mod test_server;
mod token_source;

pub use budget::{Budgets, Errand, Lane, OperationType};
pub use client::{ArmClient, Listing, Response};
pub use credential::Credential;
pub use data_plane::{DataPlane, LogUrl, RunDetails};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::{Class, Error, Retry};
pub use error_body::ErrorBody;
pub use error_codes::Verdict;
#[cfg(test)]
pub(crate) use http_client::insecure_http_client;
pub use http_client::{HttpClientError, HttpSettings, Roots, http_client};
pub use identity::{Identity, InvalidIdentity, ServiceAccount};
pub use observer::{AdmittedRequest, EndedRequest, RequestObserver, Unobserved};
pub use operation::{Operation, OperationState};
pub use resource_id::{Collection, InvalidResourceId, ResourceId};
pub use token_source::{
    NoServiceAccountToken, ServiceAccountTokens, TOKEN_EXCHANGE_AUDIENCE, TokenSources,
    WithoutKubernetes,
};
