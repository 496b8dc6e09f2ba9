//! `fuzz-seeds FOLDER`: writes what each fuzz target begins with, and what once broke it, into FOLDER/TARGET/; prints
//! the targets' names and the length of their inputs.

use std::path::Path;
use std::process::ExitCode;

use tests::fuzz::{TARGETS, Target};

fn write(folder: &Path, target: &Target) -> std::io::Result<()> {
    let own = folder.join(target.name);
    std::fs::create_dir_all(&own)?;
    for (at, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(own.join(format!("seed-{at}")), seed)?;
    }
    let known = tests::root().join("fuzz/regressions").join(target.name);
    for entry in std::fs::read_dir(known).into_iter().flatten() {
        let path = entry?.path();
        std::fs::copy(&path, own.join(path.file_name().unwrap_or_default()))?;
    }
    println!("{} {}", target.name, target.longest);
    Ok(())
}

fn main() -> ExitCode {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "fuzz/corpus".to_owned());
    match TARGETS.iter().try_for_each(|target| write(Path::new(&folder), target)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{folder}: {why}");
            ExitCode::FAILURE
        }
    }
}
