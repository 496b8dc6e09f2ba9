//! Fuzz targets: what a stranger's bytes may do to boot and mm, which is nothing but an answer or one line of refusal.
//!
//! Theory.      A target is a function of bytes that panics when something does not hold. The same functions run under
//!              libFuzzer (`fuzz/`, which sees coverage) and as plain tests over generated inputs (`tests/fuzz.rs`,
//!              which run everywhere, also on 32 bit). Sequences of operations are read from the bytes by [`Choices`].
//! Invariants.  A body keeps nothing: what it allocates is freed at its end, so that millions of runs fit a process.
//! Not here.    How long they run (`scripts/fuzz.sh`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a target panics when something does not hold, and its numbers are small"
)]

mod boot;
mod buddy;
mod choices;
mod mapper;
mod memblock;
mod page_alloc;
mod tables;
mod vmalloc;

pub use choices::{Choices, Random};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, in `fuzz/` and in the list of tests.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub body: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes of an input that is made up.
    pub longest: usize,
    /// Inputs that a plain test tries at scale 1, which takes a second or two.
    pub inputs: u32,
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    Target { name: "device_tree", body: boot::device_tree, seeds: boot::trees, longest: 4096, inputs: 400 },
    Target { name: "boot_args", body: boot::boot_args, seeds: boot::lines, longest: 200, inputs: 400 },
    Target { name: "memblock", body: memblock::run, seeds: none, longest: 500, inputs: 1000 },
    Target { name: "buddy", body: buddy::run, seeds: none, longest: 1000, inputs: 200 },
    Target { name: "page_alloc", body: page_alloc::run, seeds: none, longest: 1000, inputs: 200 },
    Target { name: "mapper", body: mapper::run, seeds: none, longest: 300, inputs: 200 },
    Target { name: "vmalloc", body: vmalloc::run, seeds: none, longest: 300, inputs: 200 },
];

/// Runs the target `name` on `data`.
///
/// # Panics
/// When something does not hold, and when there is no such target.
pub fn run(name: &str, data: &[u8]) {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => (target.body)(data),
        None => panic!("no fuzz target is called {name}"),
    }
}

/// Bytes of any sort are a sequence of operations: no seed is better than another.
const fn none() -> Vec<Vec<u8>> {
    Vec::new()
}
