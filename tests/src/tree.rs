//! Device trees made for a test: our AST2500 tree, changed by a few lines of source, through `dtc`.

use std::io::Write;
use std::process::{Command, Stdio};

/// Compiles device tree source; `/include/` finds `dts/` and `tests/fixtures/`.
///
/// `dtc` is told to go on where it would refuse: a tree that makes no sense is what some tests are about.
///
/// # Errors
///
/// `dtc`'s words when even so it gives no blob.
pub fn compile(source: &str) -> Result<Vec<u8>, String> {
    let root = crate::root();
    let mut dtc = Command::new("dtc")
        .args(["-q", "-q", "-f", "-I", "dts", "-O", "dtb", "-i"])
        .arg(root.join("dts"))
        .arg("-i")
        .arg(root.join("tests/fixtures"))
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start dtc: {e}"))?;
    // The pipe is dropped at the end of the statement: dtc sees the end of its input.
    dtc.stdin.take().ok_or("no stdin")?.write_all(source.as_bytes()).map_err(|e| e.to_string())?;
    let output = dtc.wait_with_output().map_err(|e| e.to_string())?;
    if output.stdout.is_empty() {
        return Err(format!("dtc: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(output.stdout)
}

/// Our AST2500 tree with one CPU and `bootargs`, followed by `changes` in device tree source.
///
/// # Errors
///
/// As [`compile`].
pub fn ast2500(bootargs: &str, changes: &str) -> Result<Vec<u8>, String> {
    compile(&format!(
        "/include/ \"ast2500.dts\"\n\
         /delete-node/ &cpu1; /delete-node/ &cpu2; /delete-node/ &cpu3;\n\
         / {{ chosen {{ bootargs = \"{bootargs}\"; }}; }};\n{changes}"
    ))
}
