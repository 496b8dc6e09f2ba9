//! Mutated device trees of real boards boot in QEMU: each ends in a finished boot whose invariants hold, or in one
//! line.
//!
//! Theory.      The boards are those whose RAM begins where the emulated machine's does; most have more RAM than the
//!              machine, other buses and no UART that is there, which a boot must live with. Loader and stub hand the
//!              tree over as it is: QEMU itself would refuse it, or mend it.
//! Seeds.       Tree and damage of run N come from N alone. `QUIRE_TEST_SEED` (1) is the first N, `QUIRE_BOOTS` (500)
//!              how many there are. `QUIRE_DTB_DIR` names the folder of trees.
//!
//! Ignored unless asked for: it takes minutes, and the built image.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tests::fuzz::Random;
use tests::qemu::{Board, End, Outcome, Run};
use tests::{dtb, place, scratch_file};

/// Runs at a time.
const PARALLEL: usize = 2;
/// Seconds after which a run hangs; most take less than one.
const LIMIT: u32 = 30;
/// The emulated machine: its first byte of RAM, its size, its number in r1.
const BASE: u64 = 0x8000_0000;
const SIZE: &str = "512M";
const VEXPRESS: u32 = 0x8e0;
/// Where image, tree and stub go.
const IMAGE: u32 = 0x8001_0000;
const TREE: u32 = 0x8800_0000;
const STUB: u32 = 0x8000_0000;

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The boards whose RAM begins where the machine's does, by name.
fn boards() -> Result<Vec<PathBuf>, String> {
    let folder = std::env::var_os("QUIRE_DTB_DIR").ok_or("QUIRE_DTB_DIR names no folder of device trees")?;
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", Path::new(&folder).display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files.retain(|file| {
        let memory = dtb::read(file).map(|tree| tree.memory()).unwrap_or_default();
        memory.iter().any(|(start, _)| *start == BASE) && memory.iter().all(|(start, _)| *start >= BASE)
    });
    if files.is_empty() { Err("no board has its RAM at 0x80000000".to_owned()) } else { Ok(files) }
}

/// The board's tree, told to run one self-test only.
fn tree(board: &Path, seed: u32) -> Result<Vec<u8>, String> {
    let copy = scratch_file(&format!("mutated-{seed}.dtb"), &std::fs::read(board).map_err(|e| e.to_string())?)?;
    let put = |words: &[&str]| {
        let output = Command::new("fdtput").args(words).output().map_err(|error| format!("fdtput: {error}"))?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("fdtput {words:?}: {told}")) }
    };
    let name = copy.display().to_string();
    put(&["-p", "-t", "s", &name, "/chosen", "bootargs", "selftest=every_invariant_holds"])?;
    std::fs::read(&copy).map_err(|error| error.to_string())
}

/// What became of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Boots,
    Stops,
}

/// Judges a run; an error is a finding.
fn judge(outcome: &Outcome) -> Result<Fate, String> {
    let has = |text: &str| outcome.line_with(&[text.to_owned()]).is_some();
    let stops: Vec<&String> = outcome.lines.iter().filter(|line| line.starts_with("boot:")).collect();
    match (outcome.panicked(), outcome.verdict(), outcome.end) {
        (Some(line), ..) => Err(outcome.explain(line)),
        // The damage may have spoilt the self-test's name, or switched the way out off.
        (_, Some((_, failed)), end) if failed == 0 || has("no test has this in its name") => {
            let left = matches!(end, End::Status(_)) || has("semihosting=off");
            match (left, has("mm: every invariant holds")) {
                (true, true) => Ok(Fate::Boots),
                (true, false) => Err(outcome.explain("it boots without a word on its invariants")),
                (false, _) => Err(outcome.explain(&format!("after its verdict: {end:?}"))),
            }
        }
        (_, None, End::Status(1)) if stops.len() == 1 => Ok(Fate::Stops),
        (.., end) => Err(outcome.explain(&format!("{} 'boot:' lines, {end:?}", stops.len()))),
    }
}

/// Boots one mutated tree.
fn boot(seed: u32, boards: &[PathBuf], machine: &Board, image: &Path) -> Result<Fate, String> {
    let mut random = Random::new(u64::from(seed));
    let board = boards.get(random.below(boards.len())).ok_or("no board")?;
    let mut bytes = tree(board, seed)?;
    random.spoil(&mut bytes);
    let file = scratch_file(&format!("mutated-{seed}.dtb"), &bytes)?;
    let stub = scratch_file(&format!("mutated-{seed}.stub"), &place::stub(VEXPRESS, TREE, IMAGE))?;
    let run = Run::on(machine).semihosting().limit(LIMIT).load(image, IMAGE).load(&file, TREE);
    let outcome = run.load(&stub, STUB).start_at(STUB).go()?;
    let fate = judge(&outcome).map_err(|why| {
        format!("QUIRE_TEST_SEED={seed} QUIRE_BOOTS=1: {} spoilt, in {}: {why}", board.display(), file.display())
    })?;
    for done in [file, stub] {
        std::fs::remove_file(&done).map_err(|error| format!("{}: {error}", done.display()))?;
    }
    Ok(fate)
}

#[test]
#[ignore = "takes minutes: tests/run asks for it"]
fn mutated_trees_of_real_boards_boot_soundly_or_stop_in_one_line() {
    let image = tests::root().join("build/release/quire.bin");
    let (first, count) = (number("QUIRE_TEST_SEED", 1), number("QUIRE_BOOTS", 500));
    let boards = boards().unwrap();
    let machine = Board::new("ast2500", SIZE, 1).unwrap();
    let next = AtomicU32::new(first);
    let done = Mutex::new((0_u32, 0_u32, Duration::ZERO, Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < first + count) {
                    let start = Instant::now();
                    let fate = boot(seed, &boards, &machine, &image);
                    let (boots, stops, slowest, bad) = &mut *done.lock().unwrap();
                    *slowest = start.elapsed().max(*slowest);
                    match fate {
                        Ok(Fate::Boots) => *boots += 1,
                        Ok(Fate::Stops) => *stops += 1,
                        Err(why) => bad.push(why),
                    }
                }
            });
        }
    });
    let (boots, stops, slowest, bad) = done.into_inner().unwrap();
    println!(
        "summary: malformed boots: {count} mutated trees of {} real boards from seed {first}: {boots} boot, {stops} stop, \
         {} neither; slowest {:.1} s",
        boards.len(),
        bad.len(),
        slowest.as_secs_f32()
    );
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    // Damage that always or never shows tests nothing.
    assert!(count < 50 || (boots > count / 10 && stops > count / 10), "{boots} boot, {stops} stop");
}
