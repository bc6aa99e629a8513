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
mod listing;
pub(crate) mod sas;
pub(crate) mod uri;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::answer::Answer;
use crate::arm::request::{Query, decoded};
use crate::azure::Azure;
use blobs::{Blob, Place};
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

/// An error in the form of the storage services.
#[derive(Debug)]
pub(crate) struct StorageError {
    status: StatusCode,
    code: &'static str,
    message: String,
    refused: Option<String>,
}

impl StorageError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            refused: None,
        }
    }

    fn refused(what: impl Into<String>) -> Self {
        let what = what.into();
        let mut error = Self::new(
            StatusCode::BAD_REQUEST,
            "UnsupportedHeader",
            format!("{what} is not simulated."),
        );
        error.refused = Some(what);
        error
    }

    fn blob_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "BlobNotFound",
            "The specified blob does not exist.",
        )
    }

    fn failed(problem: &std::io::Error) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("A file of the storage account cannot be used: {problem}"),
        )
    }

    fn answer(self) -> Answer {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{}</Code><Message>{}</Message></Error>",
            self.code,
            listing::escaped(&self.message),
        );
        let mut answer = Answer::xml(self.status, body).header("x-ms-error-code", self.code);
        answer.refused = self.refused;
        answer
    }
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
        Operation::Read => read(azure, &place, &request).await,
        Operation::Properties => Ok(described(blobs::find(azure, &place, &request.blob).await?)),
        Operation::Put => {
            put(azure, &place, &request, &body).await?;
            let blob = blobs::find(azure, &place, &request.blob).await?;
            Ok(Answer::empty(StatusCode::CREATED)
                .header("etag", blob.etag)
                .header("last-modified", blob.last_modified)
                .header("x-ms-request-server-encrypted", "true"))
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
            Ok(Answer::empty(StatusCode::ACCEPTED))
        }
    }
}

/// What is wanted of a container or blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    List,
    ContainerProperties,
    Read,
    Properties,
    Put,
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
            Self::Put | Self::SetMetadata => Permission::Write,
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

/// Put Blob: a block blob in one piece.
async fn put(
    azure: &Azure,
    place: &Place,
    request: &StorageRequest,
    body: &Bytes,
) -> Result<(), StorageError> {
    let kind = request.headers.get("x-ms-blob-type");
    match kind.and_then(|kind| kind.to_str().ok()) {
        Some("BlockBlob") => {}
        other => {
            return Err(StorageError::refused(format!(
                "A blob of the type '{}'",
                other.unwrap_or_default()
            )));
        }
    }
    let file = blobs::locate(place, &request.blob)?;
    let only_new = request
        .headers
        .get(http::header::IF_NONE_MATCH)
        .is_some_and(|value| value == "*");
    if only_new && tokio::fs::try_exists(&file).await.unwrap_or(false) {
        return Err(StorageError::new(
            StatusCode::CONFLICT,
            "BlobAlreadyExists",
            "The specified blob already exists.",
        ));
    }
    blobs::write(&file, body).await?;
    azure.blob_metadata.set(&file, metadata(&request.headers));
    Ok(())
}

async fn read(
    azure: &Azure,
    place: &Place,
    request: &StorageRequest,
) -> Result<Answer, StorageError> {
    let blob = blobs::find(azure, place, &request.blob).await?;
    let bytes = tokio::fs::read(&blob.file)
        .await
        .map_err(|problem| StorageError::failed(&problem))?;
    let range = request.headers.get("x-ms-range");
    let range = range.or(request.headers.get(http::header::RANGE));
    let answer = ranged(Bytes::from(bytes), range)?;
    Ok(with_properties(answer, blob))
}

/// The part that a range asks for, `bytes=from-` or `bytes=from-to`: blobs know no others.
fn ranged(bytes: Bytes, range: Option<&HeaderValue>) -> Result<Answer, StorageError> {
    let asked = range
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
        .and_then(|(from, to)| Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok())));
    let Some((from, to)) = asked else {
        return Ok(Answer::bytes(bytes));
    };
    let all = bytes.len();
    if from >= all {
        return Err(StorageError::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "InvalidRange",
            "The range specified is invalid for the current size of the resource.",
        ));
    }
    let end = to.map_or(all, |to| to.saturating_add(1).clamp(from, all));
    let last = end.saturating_sub(1);
    Ok(Answer::bytes(bytes.slice(from..end))
        .with_status(StatusCode::PARTIAL_CONTENT)
        .header("content-range", format!("bytes {from}-{last}/{all}")))
}

fn described(blob: Blob) -> Answer {
    let size = blob.size;
    with_properties(Answer::empty(StatusCode::OK), blob)
        .header("content-length", size.to_string())
        .header("content-type", "application/octet-stream")
}

fn with_properties(mut answer: Answer, blob: Blob) -> Answer {
    for (name, value) in &blob.metadata {
        if let Ok(name) = HeaderName::try_from(format!("x-ms-meta-{name}")) {
            answer = answer.header_named(name, value.clone());
        }
    }
    answer
        .header("etag", blob.etag)
        .header("last-modified", blob.last_modified)
        .header("x-ms-blob-type", "BlockBlob")
        .header("accept-ranges", "bytes")
        .header("x-ms-server-encrypted", "true")
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

    #[test]
    fn a_range_beyond_the_end_is_refused_and_one_across_it_is_cut() {
        let range = |text| HeaderValue::from_static(text);
        let bytes = Bytes::from_static(b"0123456789");
        let answer = ranged(bytes.clone(), Some(&range("bytes=8-99"))).unwrap();
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert!(ranged(bytes.clone(), Some(&range("bytes=10-"))).is_err());
        assert_eq!(ranged(bytes, None).unwrap().status, StatusCode::OK);
    }
}
