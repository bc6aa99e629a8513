//! Files that others wait for, which are there whole or not at all; and paths that others name.

use std::path::{Component, Path};

/// Bytes of a file's name that Linux takes, and of a path that clients may name.
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 1024;

/// Whether a path that a client named stays below the folder that it is put to, and can be a file.
pub(crate) fn is_plain(path: &str) -> bool {
    let fits = |part: Component<'_>| match part {
        Component::Normal(name) => name.len() <= LONGEST_NAME,
        _ => false,
    };
    path.len() <= LONGEST_PATH && !path.contains('\0') && Path::new(path).components().all(fits)
}

/// Whether a link stands on the way from a folder to a file below it, or in the file's own place. A job
/// may leave links that lead anywhere.
pub(crate) fn has_link(folder: &Path, file: &Path) -> bool {
    file.ancestors()
        .take_while(|way| *way != folder)
        .any(|way| way.is_symlink())
}

/// Writes a file beside its place and moves it there.
pub(crate) fn write_at_once(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_path_stays_below_its_folder_and_can_be_one() {
        let long = "x".repeat(256);
        for (path, plain) in [
            ("a/b", true),
            ("..", false),
            ("a/../b", false),
            ("/a", false),
            ("a\0b", false),
            (long.as_str(), false),
        ] {
            assert_eq!(super::is_plain(path), plain, "{path:?}");
        }
    }
}
