//! Addresses of runs: as the studio's are, with this simulator in its place.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::azure::Transaction;
use crate::documents::Document;
use crate::resource_id::ResourceId;

/// What a part of a path may hold as it is (RFC 3986, `unreserved`).
const PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What the value of a query parameter may hold as it is: slashes too.
const QUERY: &AsciiSet = &PART.remove(b'/');

/// Where the page of a job's run is on this port, whichever resource of a workspace `id` is:
/// `/runs/{run}?wsid=/subscriptions/…/workspaces/{workspace}`.
pub(crate) fn run(id: &ResourceId) -> String {
    format!("/runs/{}?wsid={}", part(id.name()), workspace(id))
}

/// Where a file of a job's run is.
pub(super) fn run_file(id: &ResourceId, path: &str) -> String {
    let path: Vec<String> = path.split('/').map(part).collect();
    format!(
        "/runs/{}/files/{}?wsid={}",
        part(id.name()),
        path.join("/"),
        workspace(id)
    )
}

fn part(text: &str) -> String {
    utf8_percent_encode(text, PART).to_string()
}

fn workspace(id: &ResourceId) -> String {
    utf8_percent_encode(&studio_id(id), QUERY).to_string()
}

/// A workspace as the studio's links name it.
fn studio_id(id: &ResourceId) -> String {
    format!(
        "/subscriptions/{}/resourcegroups/{}/workspaces/{}",
        id.subscription,
        id.resource_group.as_deref().unwrap_or_default(),
        id.root_name(),
    )
}

/// The job of this name in the workspace that a link names; in any of them where it names none.
pub(super) fn find<'a>(
    transaction: &'a Transaction<'_>,
    run: &str,
    wsid: Option<&str>,
) -> Option<&'a Document> {
    let documents = &transaction.state.documents;
    let homes = documents.of_type("Microsoft.MachineLearningServices/workspaces");
    homes
        .into_iter()
        .filter(|home| wsid.is_none_or(|wsid| wsid.eq_ignore_ascii_case(&studio_id(&home.id))))
        .find_map(|home| documents.get(&home.id.child("jobs", Some(run))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_nothing_that_ends_a_part_of_it() {
        let id = ResourceId::parse(
            "/subscriptions/s/resourceGroups/a&b/providers/\
             Microsoft.MachineLearningServices/workspaces/w/jobs/j?1",
        )
        .unwrap();
        assert_eq!(
            run(&id),
            "/runs/j%3F1?wsid=/subscriptions/s/resourcegroups/a%26b/workspaces/w"
        );
        assert!(run_file(&id, "a b/c#.png").starts_with("/runs/j%3F1/files/a%20b/c%23.png?"));
    }
}
