//! Compiled device trees booted on a machine on the host (`boot::testing`): our own board's, and every wrong one.
//!
//! The same trees boot under QEMU in `qemu.rs`; here each boot is checked page by page, and all take seconds.

use boot::testing::{Board, Run};
use mm::addr::{PhysAddr, PhysRange};
use tests::malformed::{Case, Fate, Given};
use tests::{malformed, transcript, tree};

/// Where QEMU's loader puts the tree.
const TREE_AT: u32 = 0x8800_0000;

/// What came of a boot: the log, and why it ended, in one line.
struct Outcome {
    log: Vec<String>,
    end: Result<(), String>,
}

impl Outcome {
    /// The lines that the console would show.
    fn lines(&self) -> impl Iterator<Item = &String> {
        self.log.iter().chain(self.end.as_ref().err())
    }
}

/// Boots `blob` on the board's 512 MiB; a boot that comes up is checked, and must hold.
fn boot(blob: &[u8]) -> Result<Outcome, String> {
    let ram = [PhysRange::new(PhysAddr::new(0x8000_0000), PhysAddr::new(0xa000_0000))];
    let run = match (Board { tree_at: Some(TREE_AT), ..Board::new(&ram, blob) }).boot() {
        Ok(run) => run,
        Err(refusal) => return Ok(Outcome { log: Vec::new(), end: Err(refusal.to_string()) }),
    };
    let outcome = ended(&run);
    // SAFETY: `ended` gives back strings of its own.
    unsafe { run.reclaim() }
    outcome
}

fn ended(run: &Run) -> Result<Outcome, String> {
    let end = run.outcome.as_ref().map(|_| ()).map_err(ToString::to_string);
    if end.is_ok() {
        run.check().map_err(|error| format!("{error}\n{}", run.log.join("\n")))?;
    }
    Ok(Outcome { log: run.log.clone(), end })
}

#[test]
fn our_board_s_own_tree_prints_its_transcripts() {
    for (bootargs, reference) in [
        ("", include_str!("../reference/ast2500.txt")),
        ("highmem=off", include_str!("../reference/ast2500-highmem-off.txt")),
    ] {
        let outcome = boot(&tree::ast2500(bootargs, "").unwrap()).unwrap();
        assert_eq!(outcome.end, Ok(()));
        transcript::compare(reference, &outcome.log).unwrap();
    }
}

/// Whether one line has all of `fragments`, in any case and order.
fn tells(line: &str, fragments: &[String]) -> bool {
    let line = line.to_lowercase();
    fragments.iter().all(|fragment| line.contains(&fragment.to_lowercase()))
}

fn judge(case: &Case, outcome: &Outcome) -> Result<(), String> {
    match (&outcome.end, case.fate) {
        (Ok(()), Fate::Stops) => return Err("it boots".to_owned()),
        (Err(line), Fate::Boots) => return Err(line.clone()),
        (Err(line), _) if line.contains('\n') => return Err(format!("more than one line: {line}")),
        _ => {}
    }
    let told = outcome.lines().any(|line| tells(line, &case.says));
    // A tree that the head does not take has no name here.
    let headless = outcome.end.as_ref().is_err_and(|line| line == "no device tree");
    if told || headless { Ok(()) } else { Err(format!("no line with {:?}: {:?}", case.says, outcome.end)) }
}

#[test]
fn every_wrong_tree_boots_soundly_or_stops_with_its_line() {
    let mut wrong = Vec::new();
    for case in malformed::cases("").unwrap() {
        let Given::Blob(blob) = &case.given else { continue };
        if let Err(why) = boot(blob).and_then(|outcome| judge(&case, &outcome)) {
            wrong.push(format!("{}: {why}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}
