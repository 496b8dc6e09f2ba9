//! A torture that ran on the machine is done again on the host, request by request.
//!
//! `QUIRE_TRACE=FILE` does a file again that `torture_trace=FILE` wrote, in place of a new run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics when something does not hold")]

use std::path::{Path, PathBuf};

use mm::trace::story::{Story, StoryError};
use tests::qemu::{Board, End, Run};

/// The words of the file.
fn words(file: &Path) -> Vec<u32> {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// The file of a run of its own, or the one that is given.
fn trace() -> PathBuf {
    if let Some(file) = std::env::var_os("QUIRE_TRACE") {
        return file.into();
    }
    let file = tests::scratch_file("torture.trace", &[]).unwrap();
    let image = tests::root().join("build/release/quire.bin");
    let board = Board::new("vexpress-a15", "64M", 1).unwrap();
    let args = format!("semihosting=on torture=10000,3 torture_trace={} selftest=none", file.display());
    let outcome = Run::boot(&board, &image, &args).semihosting().limit(120).go().unwrap();
    assert!(matches!(outcome.end, End::Status(0)), "{:?}: {:?}", outcome.end, outcome.lines.last());
    file
}

#[test]
fn a_torture_on_the_machine_is_replayed_on_the_host_to_the_same_end() {
    let words = words(&trace());
    let story = Story::read(&words).unwrap();
    assert!(story.len() > 20_000, "{} events", story.len());
    story.replay().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_file_that_is_no_trace_is_refused_at_its_word() {
    assert!(matches!(Story::read(&[]), Err(StoryError::Words(0))));
    assert!(matches!(Story::read(&[mm::trace::MAGIC, 1, 2]), Err(StoryError::Words(2))));
}
