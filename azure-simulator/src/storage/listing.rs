//! List Blobs: names below a prefix, in pages, with folders folded where a delimiter is given.

use std::fmt::Write as _;

use http::StatusCode;

use crate::answer::Answer;
use crate::azure::Azure;
use crate::storage::StorageRequest;
use crate::storage::blobs::{self, Blob, Place};
use crate::storage::error::StorageError;

const MOST: usize = 5000;

pub(crate) async fn list(
    azure: &Azure,
    place: &Place,
    request: &StorageRequest,
) -> Result<Answer, StorageError> {
    let prefix = request.query.get("prefix").unwrap_or_default();
    let delimiter = request.query.get("delimiter").filter(|one| !one.is_empty());
    let marker = request.query.get("marker").unwrap_or_default();
    let most = request
        .query
        .get("maxresults")
        .and_then(|text| text.parse().ok());
    let most = most.unwrap_or(MOST).clamp(1, MOST);
    let blobs = blobs::all(azure, place, prefix).await?;
    let mut entries = folded(blobs, prefix, delimiter);
    entries.retain(|entry| entry.name() >= marker);
    let next = entries.get(most).map(|entry| entry.name().to_owned());
    entries.truncate(most);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults>");
    let _ = write!(text, "<Prefix>{}</Prefix><Blobs>", escaped(prefix));
    for entry in &entries {
        entry.write(&mut text);
    }
    let _ = write!(
        text,
        "</Blobs><NextMarker>{}</NextMarker></EnumerationResults>",
        escaped(&next.unwrap_or_default())
    );
    Ok(Answer::xml(StatusCode::OK, text))
}

/// A line of a listing.
#[derive(Debug)]
enum Entry {
    Blob(Blob),
    Folder(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Blob(blob) => &blob.name,
            Self::Folder(name) => name,
        }
    }

    fn write(&self, text: &mut String) {
        // Writing to a String does not fail.
        let _ = match self {
            Self::Folder(name) => {
                write!(
                    text,
                    "<BlobPrefix><Name>{}</Name></BlobPrefix>",
                    escaped(name)
                )
            }
            Self::Blob(blob) => {
                let mut metadata = String::new();
                for (name, value) in &blob.metadata {
                    let _ = write!(metadata, "<{name}>{}</{name}>", escaped(value));
                }
                write!(
                    text,
                    "<Blob><Name>{}</Name><Properties><Last-Modified>{}</Last-Modified>\
                     <Etag>{}</Etag><Content-Length>{}</Content-Length>\
                     <Content-Type>application/octet-stream</Content-Type>\
                     <BlobType>BlockBlob</BlobType></Properties>\
                     <Metadata>{metadata}</Metadata></Blob>",
                    escaped(&blob.name),
                    blob.last_modified,
                    escaped(&blob.etag),
                    blob.size,
                )
            }
        };
    }
}

/// Names that go on after a delimiter become one entry.
fn folded(blobs: Vec<Blob>, prefix: &str, delimiter: Option<&str>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for blob in blobs {
        let rest = blob.name.get(prefix.len()..).unwrap_or_default();
        let folder = delimiter.and_then(|delimiter| {
            let at = rest.find(delimiter)?;
            Some(format!("{prefix}{}", &rest[..at + delimiter.len()]))
        });
        match folder {
            None => entries.push(Entry::Blob(blob)),
            Some(folder) => {
                if entries.last().is_none_or(|last| last.name() != folder) {
                    entries.push(Entry::Folder(folder));
                }
            }
        }
    }
    entries
}

/// Text for XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_folds_what_is_below_a_folder() {
        let blob = |name: &str| Blob {
            name: name.to_owned(),
            file: name.into(),
            size: 1,
            etag: String::new(),
            last_modified: String::new(),
            metadata: Vec::new(),
        };
        let blobs = vec![blob("a/1"), blob("a/b/2"), blob("a/b/3"), blob("a/c")];
        let entries = folded(blobs, "a/", Some("/"));
        let names: Vec<&str> = entries.iter().map(Entry::name).collect();
        assert_eq!(names, ["a/1", "a/b/", "a/c"]);
    }
}
