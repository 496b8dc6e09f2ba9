//! Our allocator beside those of other kernels' crates, in one run on the host: `cargo bench -p mm`.
//!
//! Theory.      A machine whose clock is shared and varies gives no times worth keeping; ratios of medians, taken in
//!              turns within one run, repeat well. Each allocator starts each round from the same aged state: it is built
//!              anew, and the same requests are put to it. One CPU, nothing that interrupts it; ours and those that lock
//!              do so all the same.
//! Not here.    Guest instructions on the emulated machine: the image's bench, which repeats exactly.
//!
//! Prints a table of times (ours) and ratios (theirs to ours, above 1: ours is faster), and writes every figure to
//! `bench/host.tsv` in the target folder.

mod ours;
mod peers;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use workloads::{Figure, Frames, WORKLOADS};

/// Frames that each allocator manages: 256 MiB.
const FRAMES: u32 = 1 << 16;
/// Rounds of each workload; odd, so that there is a middle one.
const ROUNDS: usize = 7;

/// One allocator of a name, built anew.
type Build = fn() -> Box<dyn Frames>;

const ALLOCATORS: [(&str, Build); 6] = [
    ("mm classic", ours::classic),
    ("mm compact", ours::compact),
    ("frame-alloc", peers::frame_alloc),
    ("frame-alloc depot", peers::frame_alloc_depot),
    ("buddy_system_allocator", peers::buddy_system),
    ("ax-allocator", peers::ax_bitmap),
];

/// The figure in the middle; `None` when there is none.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

fn main() -> ExitCode {
    // `cargo bench` hands `--bench` on; any other argument is a filter.
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let mut table = String::from("| workload |");
    for (name, _) in ALLOCATORS {
        table += &format!(" {name} |");
    }
    table += "\n|";
    table += &" --- |".repeat(ALLOCATORS.len() + 1);
    let mut tsv = String::from("workload\tallocator\tunit\tmedian\n");
    for workload in WORKLOADS.iter().filter(|workload| workload.name.contains(&filter)) {
        let mut figures: [Vec<f64>; ALLOCATORS.len()] = Default::default();
        let mut words = [None; ALLOCATORS.len()];
        // Shares of memory are the same each time.
        let rounds = if workload.unit == "%" { 1 } else { ROUNDS };
        for _ in 0..rounds {
            for ((_, build), (figures, word)) in ALLOCATORS.iter().zip(figures.iter_mut().zip(&mut words)) {
                match (workload.run)(&mut *build()) {
                    Figure::Of(figure) => figures.push(figure),
                    Figure::Cannot(why) => *word = Some(why),
                }
            }
        }
        let medians = figures.map(median);
        table += &format!("\n| {} |", workload.name);
        for ((name, _), (median, word)) in ALLOCATORS.iter().zip(medians.iter().zip(words)) {
            let cell = match (median, medians[0]) {
                (Some(median), _) if workload.unit == "%" => format!("{median:.0} %"),
                (Some(median), Some(first)) if *name != ALLOCATORS[0].0 => format!("{:.1}", median / first),
                (Some(median), _) => format!("{median:.1} {}", workload.unit),
                (None, _) => word.unwrap_or("-").to_owned(),
            };
            table += &format!(" {cell} |");
            let median = median.map_or_else(|| word.unwrap_or("-").to_owned(), |median| format!("{median:.2}"));
            tsv += &format!("{}\t{name}\t{}\t{median}\n", workload.name, workload.unit);
        }
        eprintln!("{}: done", workload.name);
    }
    println!("{table}");
    match write(&tsv) {
        Ok(path) => {
            println!("\nwritten: {}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("host.tsv: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the figures beside the build: this program lies in `TARGET/release/deps`.
fn write(tsv: &str) -> std::io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).ok_or(std::io::ErrorKind::NotFound)?;
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("host.tsv");
    std::fs::write(&path, tsv)?;
    Ok(path)
}
