//! Blobs as they are read: whole, in a range, or only what is told of them.

use std::io::SeekFrom;

use axum::body::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::answer::Answer;
use crate::azure::Azure;
use crate::storage::StorageRequest;
use crate::storage::blobs::{self, Blob, Place};
use crate::storage::error::StorageError;

/// Get Blob.
pub(super) async fn read(
    azure: &Azure,
    place: &Place,
    request: &StorageRequest,
) -> Result<Answer, StorageError> {
    let blob = blobs::find(azure, place, &request.blob).await?;
    let range = request.headers.get("x-ms-range");
    let range = range.or(request.headers.get(http::header::RANGE));
    let span = Span::of(range, blob.size)?;
    let bytes = span
        .read(&blob)
        .await
        .map_err(|problem| StorageError::failed(&problem))?;
    let mut answer = Answer::bytes(bytes);
    if span.is_part {
        let last = span.end.saturating_sub(1);
        answer = answer.with_status(StatusCode::PARTIAL_CONTENT).header(
            "content-range",
            format!("bytes {}-{last}/{}", span.from, blob.size),
        );
    }
    Ok(with_properties(answer, blob))
}

/// The bytes that are asked for: from the first until before the end.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    from: u64,
    end: u64,
    is_part: bool,
}

impl Span {
    /// Ranges are `bytes=from-` or `bytes=from-to`: blobs know no others.
    fn of(range: Option<&HeaderValue>, size: u64) -> Result<Self, StorageError> {
        let asked = range
            .and_then(|range| range.to_str().ok()?.strip_prefix("bytes="))
            .and_then(|range| range.split_once('-'))
            .and_then(|(from, to)| Some((from.parse::<u64>().ok()?, to.parse::<u64>().ok())));
        let Some((from, to)) = asked else {
            return Ok(Self {
                from: 0,
                end: size,
                is_part: false,
            });
        };
        if from >= size {
            return Err(StorageError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "InvalidRange",
                "The range specified is invalid for the current size of the resource.",
            ));
        }
        Ok(Self {
            from,
            end: to.map_or(size, |to| to.saturating_add(1).clamp(from, size)),
            is_part: true,
        })
    }

    async fn read(&self, blob: &Blob) -> std::io::Result<Bytes> {
        let mut file = tokio::fs::File::open(&blob.file).await?;
        file.seek(SeekFrom::Start(self.from)).await?;
        let mut bytes = Vec::new();
        file.take(self.end - self.from)
            .read_to_end(&mut bytes)
            .await?;
        Ok(Bytes::from(bytes))
    }
}

/// Get Blob Properties.
pub(super) fn described(blob: Blob) -> Answer {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_beyond_the_end_is_refused_and_one_across_it_is_cut() {
        let span = |text| Span::of(Some(&HeaderValue::from_static(text)), 10);
        let part = |from, end| Span {
            from,
            end,
            is_part: true,
        };
        assert_eq!(span("bytes=8-99").unwrap(), part(8, 10));
        assert_eq!(span("bytes=2-3").unwrap(), part(2, 4));
        assert_eq!(span("bytes=2-").unwrap(), part(2, 10));
        assert!(span("bytes=10-").is_err());
        assert!(!Span::of(None, 10).unwrap().is_part);
    }
}
