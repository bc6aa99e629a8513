//! Files that others wait for: they are there whole or not at all.

use std::path::Path;

/// Writes a file beside its place and moves it there.
pub(crate) fn write_at_once(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}
