//! `tools bench|unsafe|coverage ...`: what `tests/run` and the scripts ask that shell is too poor a language for.
//!
//! Each command prints what it found, a line a fact, and ends with status 1 when something does not hold.
#![forbid(unsafe_code)]

mod bench;
mod coverage;
mod ledger;
mod performance;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: tools bench ROWS BASELINE TARGETS   holds measured rows against the baseline and the targets
       tools unsafe [--save]               holds docs/unsafe.md against the code, or writes it anew
       tools coverage LCOV DOC [--save]    holds lines and branches by module against DOC's table, or writes that
       tools performance [--save]          holds the figures of docs/performance.md, docs/order0-pair.md and README.md
                                           and the plots against the baselines, or writes them";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["bench", rows, baseline, targets] => bench::run(rows, baseline, targets),
        ["unsafe"] => ledger::run(&root(), false),
        ["unsafe", "--save"] => ledger::run(&root(), true),
        ["performance"] => performance::run(&root(), false),
        ["performance", "--save"] => performance::run(&root(), true),
        ["coverage", lcov, document] => coverage::run(&root(), lcov, document, false),
        ["coverage", lcov, document, "--save"] => coverage::run(&root(), lcov, document, true),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// The text of a file, or why there is none.
fn read(path: impl AsRef<Path>) -> Result<String, String> {
    let path = path.as_ref();
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
