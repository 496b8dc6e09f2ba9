//! Figures for scripts: `bench<TAB>NAME<TAB>COUNT`, instructions an operation, exact under QEMU's `-icount shift=0`.
//!
//! `bench=all` measures everything, `bench=NAME,NAME` the rows whose names hold one of these. A figure includes the
//! loop and the array handling of the bench itself; nothing is taken off.

mod boot;
mod fragmentation;
mod masked;
mod movable;
mod pages;
mod policy;
pub(crate) mod rng;
mod space;
mod vm;
mod worst;

use crate::arch::armv7::clock;
use crate::println;
use crate::system::System;

/// Which rows are wanted.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a>(&'a str);

impl Wanted<'_> {
    /// Whether the row `name` is.
    fn has(self, name: &str) -> bool {
        self.0 == "all" || self.0.split(',').any(|part| name.contains(part))
    }

    /// Prints a row that is one number.
    fn number(self, name: &str, value: u32) {
        self.row(format_args!("{name}"), value, 1);
    }

    /// Prints a row: `total` instructions for `operations` of them, with two digits behind the point.
    fn row(self, name: core::fmt::Arguments<'_>, total: u32, operations: u32) {
        let Some(hundredths) = (u64::from(total) * 100).checked_div(u64::from(operations)) else { return };
        if hundredths % 100 == 0 {
            println!("bench\t{name}\t{}", hundredths / 100);
        } else {
            println!("bench\t{name}\t{}.{:02}", hundredths / 100, hundredths % 100);
        }
    }
}

/// Instructions that `work` takes; 0 on a CPU without a cycle counter.
fn count(work: impl FnOnce()) -> u32 {
    let start = clock::cycles().unwrap_or(0);
    work();
    clock::cycles().unwrap_or(0).wrapping_sub(start)
}

/// Measures the rows that `names` wants.
pub fn run(system: &System, names: &str) {
    let wanted = Wanted(names);
    boot::run(system, wanted);
    pages::run(system, wanted);
    vm::run(system, wanted);
    space::run(system, wanted);
    worst::run(system, wanted);
    masked::run(system, wanted);
    fragmentation::run(system, wanted);
    policy::run(system, wanted);
    // Last: what it leaves of the pageblocks' types would change the rows behind it.
    movable::run(system, wanted);
}
