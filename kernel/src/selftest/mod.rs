//! Tests that run on the machine: what the host cannot show.
//!
//! Each test registers itself in [`TESTS`]; `selftest=NAME,NAME` runs those whose names hold a NAME, `selftest=all`
//! (the default) all, `selftest=none` none. A NAME that no test has is a failure.
//! After each test the live tables are audited; one that leaves them unsound has failed. When all are done the tables
//! are compared with what the CPU makes of them (`closing`); where they differ that is one failure more.
//! The console gets one line a test, `selftest NAME ... ok (N us)`, and at the end `N passed, N failed`.

mod areas;
mod closing;
mod contiguous;
mod faults;
mod following;
mod nodes;
mod pages;
mod percpu;
mod planted;
mod poke;
mod pressure;
mod space;
mod translation;
mod vm;
mod vm_areas;
mod vm_highmem;
mod vm_pressure;

use linkme::distributed_slice;

use crate::arch::armv7::{clock, vectors};
use crate::println;
use crate::system::System;

/// What a test answers: it has printed why before an `Err`.
pub type Verdict = Result<(), Failed>;

/// A check did not hold; the console says which.
#[derive(Clone, Copy, Debug)]
pub struct Failed;

/// One test.
#[derive(Debug)]
pub struct SelfTest {
    /// A sentence of what must hold, in snake case.
    pub name: &'static str,
    /// The test.
    pub run: fn(&System) -> Verdict,
    /// Only its whole name asks for it: it is one that must fail.
    pub by_name: bool,
}

/// Every test of the image.
#[distributed_slice]
pub static TESTS: [SelfTest];

/// Registers a function as a self-test; with `by_name` as one that only its whole name asks for.
#[macro_export]
macro_rules! selftest {
    ($name:ident) => {
        $crate::selftest!(@ $name, false);
    };
    ($name:ident, by_name) => {
        $crate::selftest!(@ $name, true);
    };
    (@ $name:ident, $by_name:literal) => {
        const _: () = {
            #[linkme::distributed_slice($crate::selftest::TESTS)]
            static TEST: $crate::selftest::SelfTest =
                $crate::selftest::SelfTest { name: stringify!($name), run: $name, by_name: $by_name };
        };
    };
}

/// Fails the test with a message unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            log::error!("selftest: {}: {}", stringify!($condition), format_args!($($why)+));
            return Err($crate::selftest::Failed);
        }
    };
}

/// Which tests `selftest=` asks for.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a>(&'a str);

impl<'a> Filter<'a> {
    /// From the argument's value; all without one.
    pub fn new(value: Option<&'a str>) -> Self {
        Self(value.unwrap_or("all"))
    }

    /// Whether `test` is asked for.
    fn has(self, test: &SelfTest) -> bool {
        match self.0 {
            "none" => false,
            names if test.by_name => names.split(',').any(|part| part == test.name),
            "all" => true,
            names => names.split(',').any(|part| !part.is_empty() && test.name.contains(part)),
        }
    }

    /// The parts that no test has in its name.
    fn unknown(self) -> impl Iterator<Item = &'a str> {
        let named = !matches!(self.0, "all" | "none");
        let known = |part: &str| !part.is_empty() && TESTS.iter().any(|test| test.name.contains(part));
        self.0.split(',').filter(move |part| named && !known(part))
    }
}

/// Runs the tests that `filter` asks for, in the order of their names; returns how many failed.
pub fn run(system: &System, filter: Filter<'_>) -> u32 {
    let (mut passed, mut failed) = (0_u32, 0_u32);
    for unknown in filter.unknown() {
        log::error!("selftest={unknown}: no test has this in its name");
        failed += 1;
    }
    let mut last = "";
    while let Some(test) = next_after(last) {
        last = test.name;
        if !filter.has(test) {
            continue;
        }
        let start = clock::microseconds();
        let exceptions = vectors::taken();
        let verdict = (test.run)(system);
        let spent = clock::microseconds().saturating_sub(start);
        let aborts = vectors::taken().wrapping_sub(exceptions);
        let verdict = verdict.and(tables_are_sound(system, test.name));
        match verdict {
            Ok(()) => {
                passed += 1;
                println!("selftest {} ... ok ({spent} us, {aborts} faults)", test.name);
            }
            Err(Failed) => {
                failed += 1;
                println!("selftest {} ... FAILED ({spent} us)", test.name);
            }
        }
    }
    if passed + failed > 0 && closing::run(system).is_err() {
        failed += 1;
        println!("page tables: not those that the CPU translates by ... FAILED");
    }
    println!("{passed} passed, {failed} failed");
    failed
}

/// What a test leaves behind is judged: nothing writable and executable, nothing mapped where nothing may be.
fn tables_are_sound(system: &System, name: &str) -> Verdict {
    let unsound = |error: &dyn core::fmt::Display| {
        log::error!("selftest: {name} leaves tables that are not sound: {error}");
        Failed
    };
    system.audit().map_err(|error| unsound(&error))?;
    crate::space::audit_all().map(drop).map_err(|error| unsound(&error))
}

/// The first test by name after `last`.
fn next_after(last: &str) -> Option<&'static SelfTest> {
    TESTS.iter().filter(|test| test.name > last).min_by_key(|test| test.name)
}
