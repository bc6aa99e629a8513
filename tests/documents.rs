//! The pages in the repository say what the sources say, and their links lead somewhere.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use dask_azureml_operator::api::{ConditionType, DaskCluster, Reason};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(path: &str) -> String {
    fs::read_to_string(repository().join(path)).expect("the page is there")
}

/// The rows of the table under a heading, without its two head lines, as cells.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    page.lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

fn names(rows: &[Vec<String>]) -> Vec<&str> {
    rows.iter().map(|row| row[0].trim_matches('`')).collect()
}

#[test]
fn every_condition_and_every_reason_is_explained_in_the_order_of_its_enum() {
    let page = page("docs/conditions.md");
    let conditions = table(&page, "## Conditions");
    assert_eq!(
        names(&conditions),
        ConditionType::ALL.map(ConditionType::as_str)
    );
    let reasons = table(&page, "## Reasons");
    assert_eq!(names(&reasons), Reason::ALL.map(Reason::as_str));
    for row in conditions.iter().chain(&reasons) {
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
    for row in &reasons {
        assert_eq!(row.len(), 4, "{row:?}");
        assert!(row[3].starts_with("yes") || row[3] == "no", "{row:?}");
    }
}

#[test]
fn the_first_manifest_of_the_readme_is_a_dask_cluster_whose_fields_all_exist() {
    let readme = page("README.md");
    let manifest: String = readme
        .lines()
        .skip_while(|line| *line != "```yaml")
        .skip(1)
        .take_while(|line| *line != "```")
        .map(|line| format!("{line}\n"))
        .collect();
    let written: serde_json::Value = serde_saphyr::from_str(&manifest).expect("it is YAML");
    let read: DaskCluster = serde_json::from_value(written.clone()).expect("it is a DaskCluster");
    let read = serde_json::to_value(read).expect("it can be written again");
    assert_lies_within("", &written, &read);
}

/// A field that the types do not know is gone once it was read.
fn assert_lies_within(path: &str, part: &serde_json::Value, whole: &serde_json::Value) {
    match part.as_object() {
        Some(fields) => {
            for (name, value) in fields {
                assert_lies_within(&format!("{path}.{name}"), value, &whole[name]);
            }
        }
        None => assert_eq!(part, whole, "{path}"),
    }
}

#[test]
fn every_link_between_the_pages_leads_to_a_file() {
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "examples/noaa-isd/README.md",
        "charts/dask-azureml-operator/README.md",
    ]
    .map(|path| repository().join(path))
    .into();
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(repository().join(folder)).expect("the folder is there");
        pages.extend(
            entries
                .map(|entry| entry.expect("its entries can be read").path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "md")),
        );
    }
    let mut broken = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).expect("a page is text");
        let folder = page.parent().expect("a file lies in a folder");
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            let is_file = !target.is_empty() && !target.contains("://");
            if is_file && !folder.join(target).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
