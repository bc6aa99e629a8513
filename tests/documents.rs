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

/// `(Reason, until somebody mends it)` of each line of a golden plan that says what stands in the way.
fn blocks(plan: &str) -> impl Iterator<Item = (&str, bool)> {
    plan.lines().filter_map(|line| {
        let (head, _) = line.strip_prefix("block ")?.split_once(": ")?;
        let mut words = head.split(' ').skip(1);
        Some((words.next()?, words.next().is_some()))
    })
}

#[test]
fn a_reason_stalls_a_cluster_in_the_golden_plans_where_its_row_says_so() {
    let reasons = table(&page("docs/conditions.md"), "## Reasons");
    let mut seen = 0;
    for entry in fs::read_dir(repository().join("src/reconcile/plan/golden")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Nothing is Stalled that leaves.
        if name.starts_with("delete_") || name.starts_with("retain_") {
            continue;
        }
        for (reason, lasting) in blocks(&fs::read_to_string(&path).unwrap()) {
            let row = reasons.iter().find(|row| row[0] == format!("`{reason}`"));
            let told = &row.unwrap()[3];
            assert!(
                told.starts_with("yes,") || (told == "yes") == lasting,
                "{name}: {reason}"
            );
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn the_map_of_the_sources_and_the_table_of_the_tests_name_everything() {
    let architecture = page("docs/ARCHITECTURE.md");
    let listed = |folder: &str| {
        let entries = fs::read_dir(repository().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path())
    };
    let file_name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let modules: Vec<&str> = architecture
        .lines()
        .skip_while(|line| *line != "## Modules")
        .take_while(|line| *line != "## What always holds")
        .flat_map(str::split_whitespace)
        .collect();
    for path in listed("src") {
        let name = file_name(&path);
        let name = if path.is_dir() {
            format!("{name}/")
        } else {
            name
        };
        assert!(modules.contains(&name.as_str()), "src/{name}");
    }
    let tests = table(&architecture, "## Tests, from the ground up");
    for path in listed("tests") {
        let name = file_name(&path);
        // What tests share is no test.
        if name == "support" {
            continue;
        }
        assert!(
            tests
                .iter()
                .any(|row| row[1].contains(&format!("tests/{name}"))),
            "tests/{name}"
        );
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
    for folder in ["docs", "docs/decisions", "docs/runbooks"] {
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
