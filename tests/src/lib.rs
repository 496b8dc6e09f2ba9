//! The host side of the proof: device trees, images and machines for the tests in `tests/`.
//!
//! Theory.      What runs on the machine is proven twice: the parts on the host, in their own crates, and the image in
//!              QEMU, by what it prints. Here is what the latter needs, and what looks at files from outside.
//! Picture.
//! ```text
//! dts/ -> tree, dtb, malformed -> blob (spoilt) -> place (loaded otherwise) -> qemu -> transcript -> verdict
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | [`tree`], [`dtb`] | trees made through `dtc`; a blob's text parsed back, and what it says of memory |
//! | [`blob`], [`malformed`] | a blob to be damaged; trees that are wrong, and what the image must make of each |
//! | [`dummy`] | an image of a dozen instructions, for the runner itself |
//! | [`place`] | other ways into the image than a raw file |
//! | [`qemu`], [`transcript`] | one run; its log held against a reference |

pub mod blob;
pub mod dtb;
pub mod dummy;
pub mod fuzz;
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
