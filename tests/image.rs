//! The build of the image, as far as it can be told without Docker: its context holds what cargo asks for.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, its helpers too"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// What the Dockerfile copies out of its context, the folder of the repository.
fn copied(dockerfile: &str) -> Vec<&str> {
    dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|words| !words.starts_with("--from"))
        .flat_map(|words| {
            let mut words: Vec<_> = words.split_whitespace().collect();
            words.pop();
            words
        })
        .collect()
}

#[test]
fn cargo_takes_the_manifest_with_no_more_files_than_the_dockerfile_copies() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(repository.join(name)).unwrap();
    let (dockerfile, ignored) = (read("Dockerfile"), read(".dockerignore"));
    let folder = tempfile::tempdir().unwrap();
    for source in copied(&dockerfile) {
        let kept = format!("!{source}");
        assert!(ignored.lines().any(|line| line == kept), "{kept}");
        copy(&repository.join(source), &folder.path().join(source));
    }
    // A target that is named and has no file is found when something is built: asking for a program that there is
    // not, cargo gets as far as that and builds nothing.
    let asked = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--locked", "--bin", "no-such-program"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .env("CARGO_BUILD_BUILD_DIR", folder.path().join("target"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&asked.stderr);
    assert!(told.contains("no bin target named"), "{told}");
}
