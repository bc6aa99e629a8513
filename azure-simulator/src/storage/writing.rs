//! Blobs as they are written: in one piece, or from blocks that were put before.

use std::path::Path;

use axum::body::Bytes;
use http::{HeaderMap, StatusCode};

use crate::azure::Azure;
use crate::storage::blobs::{self, Place};
use crate::storage::error::StorageError;
use crate::storage::{StorageRequest, block_list, metadata};

/// Put Blob: a block blob in one piece.
pub(super) async fn put(
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
    check_new(&file, &request.headers).await?;
    blobs::write(&file, body).await?;
    azure.blocks.forget(&file).await;
    azure.blob_metadata.set(&file, metadata(&request.headers));
    Ok(())
}

/// Put Block: a piece of a blob to be, which may be there already.
pub(super) async fn put_block(
    azure: &Azure,
    place: &Place,
    request: &StorageRequest,
    body: &Bytes,
) -> Result<(), StorageError> {
    let file = blobs::locate(place, &request.blob)?;
    let id = request.query.get("blockid").unwrap_or_default();
    azure.blocks.put(&file, id, body).await
}

/// Put Block List: the blob is what these blocks are together.
pub(super) async fn put_block_list(
    azure: &Azure,
    place: &Place,
    request: &StorageRequest,
    body: &Bytes,
) -> Result<(), StorageError> {
    let file = blobs::locate(place, &request.blob)?;
    let list = block_list::parsed(body)?;
    check_new(&file, &request.headers).await?;
    azure.blocks.commit(&file, &list).await?;
    azure.blob_metadata.set(&file, metadata(&request.headers));
    Ok(())
}

/// `If-None-Match: *` writes no blob that is there.
async fn check_new(file: &Path, headers: &HeaderMap) -> Result<(), StorageError> {
    let only_new = headers
        .get(http::header::IF_NONE_MATCH)
        .is_some_and(|value| value == "*");
    if only_new && tokio::fs::try_exists(file).await.unwrap_or(false) {
        return Err(StorageError::new(
            StatusCode::CONFLICT,
            "BlobAlreadyExists",
            "The specified blob already exists.",
        ));
    }
    Ok(())
}
