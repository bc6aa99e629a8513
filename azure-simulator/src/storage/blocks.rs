//! Blocks of blobs: those that were put and wait for a list, and those that a blob is made of.
//!
//! Blocks that wait are files in a folder of the blob's own, beside all accounts. Those of a blob are
//! parts of its file, and only their lengths are kept: a list may name them again, as clients do that
//! have not had the answer to their first one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::lock;
use crate::storage::block_list::{Entry, From};
use crate::storage::error::StorageError;

/// No name of an account, whose folders are its neighbours.
const FOLDER: &str = ".blocks";
/// Bytes that an id stands for.
const LONGEST_ID: usize = 64;

#[derive(Debug)]
pub(crate) struct Blocks {
    root: PathBuf,
    /// Ids and lengths of the blocks of a blob, by its file, in their order.
    committed: Mutex<HashMap<PathBuf, Vec<(String, usize)>>>,
}

impl Blocks {
    /// `storage` is the folder of all accounts.
    pub(crate) fn new(storage: &Path) -> Self {
        Self {
            root: storage.join(FOLDER),
            committed: Mutex::default(),
        }
    }

    /// Forgets which blocks any blob is made of.
    pub(crate) fn clear(&self) {
        lock(&self.committed).clear();
    }

    /// A blob was written in one piece, or is gone: so are its blocks.
    pub(super) async fn forget(&self, blob: &Path) {
        lock(&self.committed).remove(blob);
        discard(&self.waiting(blob)).await;
    }

    pub(super) async fn put(
        &self,
        blob: &Path,
        id: &str,
        content: &[u8],
    ) -> Result<(), StorageError> {
        let name = file_of(id)?;
        let folder = self.waiting(blob);
        let failed = |problem: std::io::Error| StorageError::failed(&problem);
        tokio::fs::create_dir_all(&folder).await.map_err(failed)?;
        // Under a name of its own first: the same block may be put twice at once.
        let beside = folder.join(format!("{name}.{}", Uuid::new_v4()));
        tokio::fs::write(&beside, content).await.map_err(failed)?;
        tokio::fs::rename(&beside, folder.join(name))
            .await
            .map_err(failed)
    }

    /// Makes the blob of the blocks of a list; those that wait and are not in it are discarded.
    pub(super) async fn commit(&self, blob: &Path, list: &[Entry]) -> Result<(), StorageError> {
        let failed = |problem: std::io::Error| StorageError::failed(&problem);
        let folder = self.waiting(blob);
        tokio::fs::create_dir_all(&folder).await.map_err(failed)?;
        let committed = lock(&self.committed).get(blob).cloned();
        let own = Own::read(blob, committed).await;
        let beside = folder.join(Uuid::new_v4().to_string());
        let made = match assemble(&beside, list, &folder, &own).await {
            Ok(made) => made,
            Err(error) => {
                // The blocks stay, for another list.
                let _ = tokio::fs::remove_file(&beside).await;
                return Err(error);
            }
        };
        if let Some(parent) = blob.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(failed)?;
        }
        tokio::fs::rename(&beside, blob).await.map_err(failed)?;
        lock(&self.committed).insert(blob.to_owned(), made);
        discard(&folder).await;
        Ok(())
    }

    /// Folder of the blocks that wait for a blob's list.
    fn waiting(&self, blob: &Path) -> PathBuf {
        self.root.join(digest(blob.as_os_str().as_encoded_bytes()))
    }
}

/// Writes the blocks of a list one after the other: those that wait in `folder`, and those of the blob
/// that is there.
async fn assemble(
    place: &Path,
    list: &[Entry],
    folder: &Path,
    own: &Own,
) -> Result<Vec<(String, usize)>, StorageError> {
    let failed = |problem: std::io::Error| StorageError::failed(&problem);
    let mut file = tokio::fs::File::create(place).await.map_err(failed)?;
    let mut made = Vec::new();
    for (from, id) in list {
        let waiting = match from {
            From::Committed => None,
            From::Uncommitted | From::Latest => {
                tokio::fs::read(folder.join(file_of(id)?)).await.ok()
            }
        };
        let content = match (&waiting, from) {
            (Some(content), _) => content.as_slice(),
            (None, From::Uncommitted) => return Err(not_there()),
            (None, _) => own.block(id).ok_or_else(not_there)?,
        };
        file.write_all(content).await.map_err(failed)?;
        made.push((id.clone(), content.len()));
    }
    file.flush().await.map_err(failed)?;
    Ok(made)
}

/// A blob that is there, and its blocks.
struct Own {
    content: Vec<u8>,
    blocks: Vec<(String, usize)>,
}

impl Own {
    async fn read(blob: &Path, blocks: Option<Vec<(String, usize)>>) -> Self {
        let content = match blocks {
            Some(_) => tokio::fs::read(blob).await.unwrap_or_default(),
            None => Vec::new(),
        };
        Self {
            content,
            blocks: blocks.unwrap_or_default(),
        }
    }

    fn block(&self, wanted: &str) -> Option<&[u8]> {
        let mut from = 0;
        for (id, length) in &self.blocks {
            if id == wanted {
                return self.content.get(from..from + length);
            }
            from += length;
        }
        None
    }
}

async fn discard(folder: &Path) {
    match tokio::fs::remove_dir_all(folder).await {
        Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%problem, "blocks that are not needed any more cannot be removed");
        }
        _ => {}
    }
}

/// The name of a block's file.
fn file_of(id: &str) -> Result<String, StorageError> {
    match STANDARD.decode(id) {
        Ok(bytes) if (1..=LONGEST_ID).contains(&bytes.len()) => Ok(digest(&bytes)),
        _ => Err(StorageError::new(
            StatusCode::BAD_REQUEST,
            "InvalidQueryParameterValue",
            format!("The block id '{id}' is not the base64 of 1 to {LONGEST_ID} bytes."),
        )),
    }
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn not_there() -> StorageError {
    StorageError::new(
        StatusCode::BAD_REQUEST,
        "InvalidBlockList",
        "The specified block list is invalid.",
    )
}
