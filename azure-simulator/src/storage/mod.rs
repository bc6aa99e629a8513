//! Azure Blob Storage as far as Azure ML's clients use it: the storage account of a workspace, with
//! uploads of code and data, outputs of jobs, and the files of runs.
//!
//! Clients put the host of an account together from its name and an endpoint,
//! `https://{account}.blob.core.localhost:PORT/…`. A machine may not find such a host, so the URLs that
//! are given out have it as the first part of their path: `https://127.0.0.1:PORT/{host}/…`, which
//! clients take apart as that of a storage emulator. Both come here as `/blob/{account}/…`.

pub(crate) mod account;
mod authorization;
pub(crate) mod blobs;
mod block_list;
pub(crate) mod blocks;
mod error;
mod listing;
mod reading;
pub(crate) mod sas;
pub(crate) mod uri;
mod writing;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::answer::Answer;
use crate::arm::request::{Query, decoded};
use crate::azure::Azure;
use blobs::Place;
use error::StorageError;
use sas::Permission;

/// The host label that tells an account's host from others.
const HOST_LABEL: &str = ".blob.";

/// A request below an account.
pub(crate) struct StorageRequest {
    pub(crate) method: Method,
    pub(crate) account: String,
    /// What follows the account, as it was sent: `/{container}/{blob}`.
    pub(crate) raw_path: String,
    pub(crate) container: String,
    /// Empty where the container itself is meant.
    pub(crate) blob: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) length: usize,
}

/// The path below `/blob/{account}` that a request stands for, where its host or the first part of
/// its path is that of an account.
pub(crate) fn internal_path(host: &str, path_and_query: &str) -> Option<String> {
    if let Some(account) = account_of_host(host) {
        return Some(format!("/blob/{account}{path_and_query}"));
    }
    let (first, rest) = path_and_query.strip_prefix('/')?.split_once('/')?;
    account_of_host(first).map(|account| format!("/blob/{account}/{rest}"))
}

/// The account of a host such as `{account}.blob.core.localhost:PORT`.
pub(crate) fn account_of_host(host: &str) -> Option<&str> {
    let (account, _) = host.split_once(HOST_LABEL)?;
    let plain = !account.is_empty() && account.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then_some(account)
}

/// Serves `/blob/{account}/{container}/{blob}`.
pub(crate) async fn serve(
    State(azure): State<Arc<Azure>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let head = method == Method::HEAD;
    let mut answer = match answer(&azure, method, &uri, headers, body).await {
        Ok(answer) => answer,
        Err(error) => error.answer(),
    };
    if head {
        answer = answer.without_body();
    }
    answer.header("x-ms-version", "2021-08-06")
}

async fn answer(
    azure: &Azure,
    method: Method,
    uri: &Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Answer, StorageError> {
    let request = StorageRequest::read(method, uri, headers, body.len())?;
    let account = account::find(azure, &request.account).ok_or_else(|| {
        StorageError::new(
            StatusCode::NOT_FOUND,
            "ResourceNotFound",
            format!("The storage account '{}' does not exist.", request.account),
        )
    })?;
    let operation = Operation::of(&request)?;
    authorization::check(azure, &account, &request, operation.permission())?;
    let place = blobs::place(azure, &account, &request.container)?;
    match operation {
        Operation::List => listing::list(azure, &place, &request).await,
        Operation::ContainerProperties => Ok(Answer::empty(StatusCode::OK)),
        Operation::Read => reading::read(azure, &place, &request).await,
        Operation::Properties => {
            let blob = blobs::find(azure, &place, &request.blob).await?;
            Ok(reading::described(blob))
        }
        Operation::Put => {
            writing::put(azure, &place, &request, &body).await?;
            written(azure, &place, &request).await
        }
        Operation::PutBlock => {
            writing::put_block(azure, &place, &request, &body).await?;
            Ok(Answer::empty(StatusCode::CREATED).header("x-ms-request-server-encrypted", "true"))
        }
        Operation::PutBlockList => {
            writing::put_block_list(azure, &place, &request, &body).await?;
            written(azure, &place, &request).await
        }
        Operation::SetMetadata => {
            let blob = blobs::find(azure, &place, &request.blob).await?;
            azure
                .blob_metadata
                .set(&blob.file, metadata(&request.headers));
            Ok(Answer::empty(StatusCode::OK)
                .header("etag", blob.etag)
                .header("last-modified", blob.last_modified))
        }
        Operation::Delete => {
            let blob = blobs::find(azure, &place, &request.blob).await?;
            tokio::fs::remove_file(&blob.file)
                .await
                .map_err(|problem| StorageError::failed(&problem))?;
            azure.blob_metadata.forget(&blob.file);
            azure.blocks.forget(&blob.file).await;
            Ok(Answer::empty(StatusCode::ACCEPTED))
        }
    }
}

/// What is told of a blob that was written.
async fn written(
    azure: &Azure,
    place: &Place,
    request: &StorageRequest,
) -> Result<Answer, StorageError> {
    let blob = blobs::find(azure, place, &request.blob).await?;
    Ok(Answer::empty(StatusCode::CREATED)
        .header("etag", blob.etag)
        .header("last-modified", blob.last_modified)
        .header("x-ms-request-server-encrypted", "true"))
}

/// What is wanted of a container or blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    List,
    ContainerProperties,
    Read,
    Properties,
    Put,
    PutBlock,
    PutBlockList,
    SetMetadata,
    Delete,
}

impl Operation {
    fn of(request: &StorageRequest) -> Result<Self, StorageError> {
        let part = request.query.get("comp");
        Ok(match (&request.method, request.blob.is_empty(), part) {
            (&Method::GET, true, Some("list")) => Self::List,
            (&Method::GET | &Method::HEAD, true, None) => Self::ContainerProperties,
            (&Method::GET, false, None) => Self::Read,
            (&Method::HEAD, false, None) => Self::Properties,
            (&Method::PUT, false, None) => Self::Put,
            (&Method::PUT, false, Some("block")) => Self::PutBlock,
            (&Method::PUT, false, Some("blocklist")) => Self::PutBlockList,
            (&Method::PUT, false, Some("metadata")) => Self::SetMetadata,
            (&Method::DELETE, false, None) => Self::Delete,
            _ => {
                return Err(StorageError::refused(format!(
                    "{} of {} with comp={}",
                    request.method,
                    request.raw_path,
                    part.unwrap_or_default()
                )));
            }
        })
    }

    fn permission(self) -> Permission {
        match self {
            Self::List | Self::ContainerProperties => Permission::List,
            Self::Read | Self::Properties => Permission::Read,
            Self::Put | Self::PutBlock | Self::PutBlockList | Self::SetMetadata => {
                Permission::Write
            }
            Self::Delete => Permission::Delete,
        }
    }
}

impl StorageRequest {
    fn read(
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        length: usize,
    ) -> Result<Self, StorageError> {
        let path = uri.path();
        let below = path.strip_prefix("/blob/").unwrap_or_default();
        let (account, rest) = below.split_once('/').unwrap_or((below, ""));
        let plain = rest.trim_start_matches('/');
        let (container, blob) = plain.split_once('/').unwrap_or((plain, ""));
        if container.is_empty() {
            return Err(StorageError::refused(format!("{method} of an account")));
        }
        Ok(Self {
            method,
            account: account.to_owned(),
            raw_path: format!("/{rest}"),
            container: decoded(container),
            blob: decoded(blob),
            query: Query::parse(uri.query().unwrap_or_default()),
            headers,
            length,
        })
    }
}

fn metadata(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix("x-ms-meta-")?;
            Some((name.to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_an_account_is_a_path_and_no_other_host_is() {
        let path = internal_path("st1.blob.core.localhost:4431", "/c/a%20b?comp=list");
        assert_eq!(path.as_deref(), Some("/blob/st1/c/a%20b?comp=list"));
        let path = internal_path("127.0.0.1:4431", "/st1.blob.core.localhost:4431/c/a");
        assert_eq!(path.as_deref(), Some("/blob/st1/c/a"));
        for host in [
            "127.0.0.1:4431",
            "localhost",
            "..blob.localhost",
            "a/b.blob.x",
        ] {
            assert_eq!(internal_path(host, "/subscriptions/s"), None, "{host}");
        }
    }
}
