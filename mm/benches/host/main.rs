//! Our allocator beside those of other kernels' crates, in one run on the host: `cargo bench -p mm`.
//!
//! Theory.      A machine that others use too gives no times worth keeping; ratios of the quickest rounds, taken in
//!              turns within one run, repeat well. Each allocator starts each round from the same aged state: it is
//!              built anew, and the same requests are put to it. One CPU, nothing that interrupts it; ours and those
//!              that lock do so all the same.
//! Not here.    Guest instructions on the emulated machine: the image's bench, which repeats exactly.
//!
//! Prints a table of times (ours) and ratios (theirs to ours, above 1: ours is faster), and writes every figure to
//! `bench/host.tsv` in the target folder.

#![expect(clippy::expect_used, reason = "a bench without its allocators has nothing to measure")]

mod ours;
mod peers;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use workloads::{Figure, Frames, WORKLOADS};

/// Frames that each allocator manages: 256 MiB.
const FRAMES: u32 = 1 << 16;
/// Rounds of each workload.
const ROUNDS: usize = 11;

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

/// The least figure: what else runs on the host only ever adds to a time. `None` when there is none.
fn least(figures: Vec<f64>) -> Option<f64> {
    figures.into_iter().min_by(f64::total_cmp)
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
    let mut tsv = String::from("workload\tallocator\tunit\tfigure\n");
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
        let figures = figures.map(least);
        table += &format!("\n| {} |", workload.name);
        for ((name, _), (figure, word)) in ALLOCATORS.iter().zip(figures.iter().zip(words)) {
            let cell = match (figure, figures[0]) {
                (Some(share), _) if workload.unit == "%" => format!("{share:.0} %"),
                (Some(time), Some(first)) if *name != ALLOCATORS[0].0 => format!("{:.1}", time / first),
                (Some(time), _) => format!("{time:.1} {}", workload.unit),
                (None, _) => word.unwrap_or("-").to_owned(),
            };
            table += &format!(" {cell} |");
            let figure = figure.map_or_else(|| word.unwrap_or("-").to_owned(), |figure| format!("{figure:.2}"));
            tsv += &format!("{}\t{name}\t{}\t{figure}\n", workload.name, workload.unit);
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
