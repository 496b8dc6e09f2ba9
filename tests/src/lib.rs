//! The host side of the proof.

pub mod blob;
pub mod dtb;
pub mod dummy;
pub mod malformed;
pub mod place;
pub mod qemu;
pub mod transcript;
pub mod tree;

use std::path::{Path, PathBuf};

/// The root of the repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where the tests put the files that they make; created when missing.
///
/// # Errors
///
/// When it cannot be created.
pub fn scratch() -> Result<PathBuf, String> {
    let path = root().join("build/tests");
    std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

/// Writes `bytes` to the scratch file `name` and returns its path.
///
/// # Errors
///
/// When it cannot be written.
pub fn scratch_file(name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
    let path = scratch()?.join(name);
    std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}
