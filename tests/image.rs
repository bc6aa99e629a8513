//! The build of the image, as far as it can be held to anything without a container engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the Dockerfile takes out of the repository.
fn copied(root: &Path) -> Vec<String> {
    let dockerfile = fs::read_to_string(root.join("Dockerfile")).expect("it is text");
    let sources = |line: &str| {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        words.pop();
        words
    };
    dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|rest| !rest.starts_with("--from"))
        .flat_map(sources)
        .collect()
}

#[test]
fn what_the_dockerfile_copies_is_a_workspace_that_cargo_can_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let ignored = fs::read_to_string(root.join(".dockerignore")).expect("it is text");
    for path in copied(root) {
        let passes = format!("!{path}");
        assert!(
            ignored.lines().any(|line| line == passes),
            ".dockerignore keeps {path} from the build"
        );
        let target = folder.path().join(&path);
        std::os::unix::fs::symlink(root.join(path), target).expect("a link can be made");
    }
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // Reads every manifest with all its targets, and downloads nothing.
    let outcome = Command::new(PathBuf::from(env!("CARGO")))
        .args(["fetch", "--locked", "--offline", "--target", &host])
        .current_dir(folder.path())
        .output()
        .expect("cargo can be started");
    let told = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{told}");
}
