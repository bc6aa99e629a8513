//! Which file or folder of this machine a URI stands for: one of a datastore, or a URL of a
//! workspace's own storage account.

use std::path::PathBuf;

use crate::arm::request::decoded;
use crate::azure::Transaction;
use crate::processes::inputs;
use crate::resource_id::ResourceId;
use crate::storage;
use crate::storage::account::Account;
use crate::storage::blobs;

/// The path that a URI stands for in a workspace, whether there is something or not: by the world's
/// table first, then in the workspace's own account. `None` where it stands for nothing here.
pub(crate) fn local_path(
    transaction: &Transaction<'_>,
    workspace: &ResourceId,
    uri: &str,
) -> Option<PathBuf> {
    let data = &transaction.settings.world.data;
    if let Some(path) = inputs::local_path(uri, data) {
        return Some(path);
    }
    if let Some((account, container, path)) = of_datastore(transaction, workspace, uri) {
        return own(
            transaction,
            workspace,
            &account,
            &format!("{container}/{path}"),
        )
        .or_else(|| {
            let url = format!("https://{account}.blob.core.windows.net/{container}/{path}");
            inputs::local_path(&url, data)
        });
    }
    let (account, path) = of_account(&transaction.settings.authority, uri)?;
    own(transaction, workspace, account, path)
}

fn own(
    transaction: &Transaction<'_>,
    workspace: &ResourceId,
    name: &str,
    path: &str,
) -> Option<PathBuf> {
    let account = Account::of(workspace);
    if account.name != name {
        return None;
    }
    let path = path.trim_matches('/');
    let (container, blob) = path.split_once('/').unwrap_or((path, ""));
    let root = blobs::container_root(&transaction.settings.directory, &account, container)?;
    blobs::below(&root, blob)
}

/// Account, container and path of `azureml://datastores/d/paths/p`, or of its long form.
fn of_datastore(
    transaction: &Transaction<'_>,
    workspace: &ResourceId,
    uri: &str,
) -> Option<(String, String, String)> {
    let rest = uri.strip_prefix("azureml://")?;
    let (_, rest) = format!("/{rest}")
        .split_once("/datastores/")
        .map(|(before, rest)| (before.to_owned(), rest.to_owned()))?;
    let (name, path) = rest.split_once("/paths/").unwrap_or((&rest, ""));
    let id = workspace.child("datastores", Some(name));
    let store = &transaction.state.documents.get(&id)?.body["properties"];
    let field = |name: &str| store[name].as_str().map(str::to_owned);
    let container = field("containerName").or_else(|| field("filesystem"))?;
    Some((field("accountName")?, container, path.to_owned()))
}

/// Account and path of a URL, whose host or first part of the path is that of an account here.
fn of_account<'a>(authority: &str, uri: &'a str) -> Option<(&'a str, &'a str)> {
    let rest = uri.strip_prefix("https://")?;
    let (host, path) = match rest.split_once('/')? {
        (host, path) if host == authority => path.split_once('/')?,
        other => other,
    };
    if !host.contains(".blob.core.localhost") {
        return None;
    }
    storage::account_of_host(host).map(|account| (account, path))
}

/// What a URL of a blob says once its escapes are taken out.
pub(crate) fn plain(uri: &str) -> String {
    decoded(uri.split('?').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_accounts_url_are_known_and_others_are_not() {
        let found = |uri| of_account("127.0.0.1:4431", uri);
        let expected = Some(("st1", "c/a/b"));
        let given = "https://127.0.0.1:4431/st1.blob.core.localhost:4431/c/a/b";
        assert_eq!(found(given), expected);
        assert_eq!(
            found("https://st1.blob.core.localhost:4431/c/a/b"),
            expected
        );
        assert_eq!(found("https://st1.blob.core.windows.net/c/a/b"), None);
        assert_eq!(found("https://127.0.0.1:9/st1/c"), None);
    }
}
