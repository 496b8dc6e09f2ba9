//! The boot sequence, whole, over many machines; `crate::testing::check` says what must hold after each.

mod bad_input;
mod layouts;
mod mutation;
mod random;
mod transcripts;

use mm::addr::{PhysAddr, PhysRange};

use crate::testing::check::Checked;
use crate::testing::tree::{Pair, Tree};
use crate::testing::{Board, Run};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;

fn range((start, size): Pair) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(start + size))
}

/// What a boot came to, when all is well: the log, and the counts.
struct Booted {
    log: Vec<String>,
    pages: Checked,
}

impl Booted {
    fn has(&self, line: &str) -> bool {
        self.log.iter().any(|had| had == line)
    }
}

/// Ends a run: its memory goes back.
fn end<R>(run: Run, look: impl FnOnce(&Run) -> R) -> R {
    let result = look(&run);
    // SAFETY: `look` gives back strings and numbers of its own.
    unsafe { run.reclaim() }
    result
}

/// Boots `board` and checks everything.
fn boot(board: &Board<'_>) -> Result<Booted, String> {
    let run = board.boot().map_err(|refusal| refusal.to_string())?;
    end(run, |run| {
        let checked = run.check().map_err(|error| format!("{error}\n{}", run.log.join("\n")));
        Ok(Booted { log: run.log.clone(), pages: checked? })
    })
}

/// Boots a machine that has the RAM that `tree` names.
fn boot_tree(tree: &Tree) -> Result<Booted, String> {
    let ram: Vec<PhysRange> = tree.banks.iter().map(|bank| range(bank.reg)).collect();
    boot(&Board::new(&ram, &tree.blob()))
}

/// As [`boot_tree`], for one that must come up.
fn boots(tree: &Tree) -> Booted {
    boot_tree(tree).unwrap_or_else(|error| panic!("{tree:#x?}\n{error}"))
}

/// The one line with which a machine refuses to boot.
fn refuses(ram: &[Pair], tree: &Tree) -> String {
    let ram: Vec<PhysRange> = ram.iter().copied().map(range).collect();
    let line = match Board::new(&ram, &tree.blob()).boot() {
        Err(refusal) => refusal.to_string(),
        Ok(run) => end(run, |run| match &run.outcome {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it boots: {:#?}", run.log),
        }),
    };
    assert!(!line.contains('\n'), "{line}");
    line
}
