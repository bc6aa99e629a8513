//! Data that every node can read.

use serde_json::json;

use super::{Refusal, all_refused, refusal, values};
use crate::manifest::{set, story};

pub(super) fn datasets() -> Vec<Refusal> {
    let mut refusals = values(
        "/spec/datasets",
        [
            json!([{"name": "noaa.isd", "version": "1"}]),
            json!([{"name": "", "version": "1"}]),
        ],
        "spec.datasets[0].name",
        "must start with a letter or digit",
    );
    refusals.extend(values(
        "/spec/datasets",
        [
            json!([{"name": "noaa-isd", "version": "1"}, {"name": "noaa_isd", "version": "1"}]),
            json!([{"name": "noaa", "version": "1"}, {"name": "NOAA", "version": "1"}]),
        ],
        "spec.datasets",
        "must not share the variable",
    ));
    refusals.extend(values(
        "/spec/datasets",
        [json!([{"name": "noaa", "version": "1"}, {"name": "noaa", "version": "2"}])],
        "spec.datasets[1]",
        "Duplicate value",
    ));
    refusals.extend(values(
        "/spec/datasets",
        [
            json!([{"name": "a", "version": "1", "path": "/mnt/noaa"}, {"name": "b", "version": "1", "path": "/mnt/noaa"}]),
            json!([{"name": "a", "version": "1", "path": "/mnt/noaa/x"}, {"name": "b", "version": "1", "path": "/mnt/noaa"}]),
        ],
        "spec.datasets",
        "must be neither another's nor under another's",
    ));
    let many: Vec<_> = (0..17)
        .map(|n| json!({"name": format!("d{n}"), "version": "1"}))
        .collect();
    refusals.extend(values(
        "/spec/datasets",
        [many],
        "spec.datasets",
        "must have at most 16 items",
    ));
    refusals.extend(values(
        "/spec/datasets",
        [json!([{"name": "noaa"}])],
        "spec.datasets[0].version",
        "a dataset needs its version or its uri",
    ));
    refusals.extend(values(
        "/spec/datasets/0/version",
        ["latest", "", "1 2"],
        "spec.datasets[0].version",
        "must be one fixed version",
    ));
    refusals.extend(values(
        "/spec/datasets/0/type",
        ["Folder"],
        "spec.datasets[0].type",
        "supported values: \"UriFolder\", \"UriFile\", \"MLTable\"",
    ));
    refusals.extend(values(
        "/spec/datasets/0/mode",
        ["Upload"],
        "spec.datasets[0].mode",
        "supported values: \"Mount\", \"Download\", \"Direct\"",
    ));
    refusals.push(refusal(
        story(),
        &[set("/spec/datasets/0/mode", "Direct")],
        "spec.datasets[0].path",
        "must be left out with mode Direct",
    ));
    refusals
}

pub(super) fn dataset_places() -> Vec<Refusal> {
    let mut refusals = values(
        "/spec/datasets/0/uri",
        [
            "",
            "s3://bucket/x",
            "http://x/y",
            "azureml:noaa:1",
            "file:///x",
            "HTTPS://x/y",
            "https://",
            "https://x/\n",
        ],
        "spec.datasets[0].uri",
        "must start with azureml://",
    );
    refusals.extend(values(
        "/spec/datasets/0/uri",
        [
            "abfss://account.dfs.core.windows.net/x",
            "wasbs://c:secret@account/x",
            "abfss://c@a:443/x",
            "abfss://a@b@c/x",
        ],
        "spec.datasets[0].uri",
        "must be scheme://container@account.host/path",
    ));
    refusals.extend(values(
        "/spec/datasets/0/uri",
        [
            "https://user:password@host/x",
            "azureml://user@datastores/x",
        ],
        "spec.datasets[0].uri",
        "must not hold a user or password",
    ));
    refusals.extend(values(
        "/spec/datasets/0/uri",
        [
            "https://a.blob.core.windows.net/c/x?sv=2020&sig=abc",
            "https://a.blob.core.windows.net/c/x?SIG=abc",
            "abfss://c@a.dfs.core.windows.net/x?sv=1;Sig=abc",
        ],
        "spec.datasets[0].uri",
        "must not hold a SAS signature",
    ));
    refusals.extend(values(
        "/spec/datasets/0/uri",
        ["https://host/${{inputs.x}}"],
        "spec.datasets[0].uri",
        "must not hold ${{",
    ));
    refusals.extend(values(
        "/spec/datasets/0/uri",
        [format!("https://host/{}", "x".repeat(2048))],
        "spec.datasets[0].uri",
        "Too long: may not be more than 2048",
    ));
    refusals.extend(values(
        "/spec/datasets/0/path",
        [
            "",
            "/",
            "mnt/noaa",
            "/mnt/",
            "/mnt//noaa",
            "/mnt/./noaa",
            "/mnt/../etc",
            "/mnt/..",
            "/mnt/.",
            "/mnt/my data",
            "/mnt/ü",
        ],
        "spec.datasets[0].path",
        "must be an absolute path",
    ));
    refusals.extend(values(
        "/spec/datasets/0/path",
        [
            "/proc",
            "/sys/x",
            "/dev/shm",
            "/etc/x",
            "/usr/local/x",
            "/bin",
            "/sbin",
            "/lib/x",
            "/boot",
        ],
        "spec.datasets[0].path",
        "take one under /mnt",
    ));
    refusals.extend(values(
        "/spec/datasets/0/path",
        [format!("/{}", "x".repeat(256))],
        "spec.datasets[0].path",
        "Too long: may not be more than 256",
    ));
    refusals
}

#[tokio::test]
async fn datasets_that_cannot_be_told_apart_or_read_are_refused() {
    all_refused(datasets()).await;
}

#[tokio::test]
async fn dataset_places_that_leak_or_hide_something_are_refused() {
    all_refused(dataset_places()).await;
}
