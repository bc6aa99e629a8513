//! What decides must not look, wait or write: the sources of pure modules name nothing that could.

use std::fs;
use std::path::{Path, PathBuf};

/// Files and folders, from the root of the repository. A folder stands for every source below it.
const PURE: &[&str] = &[
    "src/access/source.rs",
    "src/azure/budget/allowance.rs",
    "src/azure/budget/bucket.rs",
    "src/azure/budget/queue.rs",
    "src/azure_resources",
    "src/cluster.rs",
    "src/inventory/pace.rs",
    "src/inventory/picture",
    "src/inventory/picture.rs",
    "src/inventory/wrote.rs",
    "src/kubernetes_children",
    "src/leadership/decision.rs",
    "src/lookup.rs",
    "src/names.rs",
    "src/quantity.rs",
    "src/reconcile/conclude",
    "src/reconcile/forecast",
    "src/reconcile/forecast.rs",
    "src/reconcile/observed.rs",
    "src/reconcile/operations.rs",
    "src/reconcile/plan",
    "src/reconcile/preflight",
    "src/reconcile/region.rs",
    "src/reconcile/setbacks.rs",
    "src/reconcile/status.rs",
    "src/reconcile/told.rs",
    "src/reconcile/trouble.rs",
    "src/reconcile/validate.rs",
    "src/scaling",
    "src/sweep/findings.rs",
];

const FORBIDDEN: &[&str] = &[
    "async",
    ".await",
    "kube::Client",
    "kube::Api",
    "reqwest",
    "::now()",
    "env::",
    "std::fs",
    "tokio",
];

/// The sources at or below `path`. Files of tests may read golden texts.
fn sources(path: &Path) -> Result<Vec<PathBuf>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(told)? {
        let entry = entry.map_err(told)?.path();
        let is_test = entry.file_stem().is_some_and(|stem| stem == "tests");
        if entry.is_dir() || entry.extension().is_some_and(|kind| kind == "rs") && !is_test {
            found.extend(sources(&entry)?);
        }
    }
    Ok(found)
}

/// `<line>: <word>` for each forbidden word in the code; comments and what follows `#[cfg(test)] mod … {` are not read.
fn offences(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = source.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let opens_tests = |next: &str| next.starts_with("mod ") && next.ends_with('{');
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|(_, next)| opens_tests(next)) {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        let words = FORBIDDEN.iter().filter(|word| holds(code, word));
        found.extend(words.map(|word| format!("{}: {word}", number + 1)));
    }
    found
}

/// Whether `code` holds `word`, not as a part of a longer one.
fn holds(code: &str, word: &str) -> bool {
    let in_word = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(in_word);
        let after = code[at + word.len()..].chars().next().is_some_and(in_word);
        !(word.starts_with(in_word) && before || word.ends_with(in_word) && after)
    })
}

#[test]
fn what_decides_neither_looks_nor_waits_nor_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for path in PURE {
        for file in sources(&root.join(path)).expect("every listed path exists") {
            let source = fs::read_to_string(&file).expect("a source is UTF-8");
            found.extend(
                offences(&source)
                    .into_iter()
                    .map(|offence| format!("{}:{offence}", file.display())),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_listed_path_that_does_not_exist_is_an_error() {
    let gone = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reconcile/gone.rs");
    assert!(sources(&gone).is_err());
}

#[test]
fn a_file_that_is_added_below_a_listed_folder_is_read_and_a_file_of_tests_is_not() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let inner = folder.path().join("new_kind");
    fs::create_dir(&inner).expect("a folder can be made");
    for name in ["mod.rs", "tests.rs", "recorded.json"] {
        fs::write(inner.join(name), "async fn look() {}").expect("a file can be written");
    }
    assert_eq!(sources(folder.path()), Ok(vec![inner.join("mod.rs")]));
}

#[test]
fn each_forbidden_word_is_found_in_code_and_passed_over_elsewhere() {
    for (source, expected) in [
        ("pub async fn look() {", vec!["1: async"]),
        ("\nlet a = look().await;", vec!["2: .await"]),
        ("use kube::Client;", vec!["1: kube::Client"]),
        ("let pods: kube::Api<Pod>;", vec!["1: kube::Api"]),
        ("reqwest::get(url)", vec!["1: reqwest"]),
        ("let now = Timestamp::now();", vec!["1: ::now()"]),
        ("std::env::var(\"A\")", vec!["1: env::"]),
        ("std::fs::read(path)", vec!["1: std::fs"]),
        ("tokio::spawn(task)", vec!["1: tokio"]),
        ("// async is for others", vec![]),
        ("let asynchronous = my_env::NAME;", vec![]),
        ("#[cfg(test)]\nmod tests {\n    use std::fs;\n}", vec![]),
        ("#[cfg(test)]\nmod tests;\nuse std::fs;", vec!["3: std::fs"]),
    ] {
        assert_eq!(offences(source), expected, "{source}");
    }
}
