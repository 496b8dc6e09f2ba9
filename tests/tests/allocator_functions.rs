//! The table of Linux's functions names items that exist.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every "`path.rs`: `item`" of a line.
fn named(line: &str) -> Vec<(&str, &str)> {
    let pieces: Vec<&str> = line.split('`').collect();
    let pairs = pieces.windows(3).filter(|three| three[0].ends_with(".rs") && three[1] == ": ");
    pairs.map(|three| (three[0], three[2])).collect()
}

/// Whether the source defines `item`, as whatever.
fn defines(source: &str, item: &str) -> bool {
    let is_end = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let keyword = ["fn ", "struct ", "enum ", "trait ", "const ", "static ", "type ", "macro_rules! "];
    let field = format!("    {item}: ");
    source.contains(&field)
        || keyword.iter().any(|keyword| {
            let start = format!("{keyword}{item}");
            source.match_indices(&start).any(|(at, _)| is_end(&source[at + start.len()..]))
        })
}

fn rows(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter(|line| line.starts_with("| `"))
}

#[test]
fn every_counterpart_in_the_table_of_linuxs_functions_exists() {
    let table = fs::read_to_string(root().join("docs/allocator-functions.md")).unwrap();
    let mut wrong = Vec::new();
    for row in rows(&table) {
        for (path, item) in named(row) {
            match fs::read_to_string(root().join(path)) {
                Ok(source) if defines(&source, item) => {}
                Ok(_) => wrong.push(format!("{path} has no `{item}`")),
                Err(error) => wrong.push(format!("{path}: {error}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_row_has_a_counterpart_or_says_why_there_is_none_and_no_function_has_two_rows() {
    let table = fs::read_to_string(root().join("docs/allocator-functions.md")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for row in rows(&table) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        assert!(seen.insert(cells[1]), "{} twice", cells[1]);
        if cells[2] == "-" {
            assert!(cells[3].len() > 20, "no reason: {row}");
        } else {
            assert_eq!(named(cells[2]).len(), 1, "{row}");
        }
    }
    assert!(seen.len() > 90, "{} rows", seen.len());
}

#[test]
fn the_front_pages_program_has_30_lines_at_most() {
    let front = fs::read_to_string(root().join("mm/src/lib.rs")).unwrap();
    let program = front.split("//! ```\n").find(|part| part.contains("unsafe impl PhysMap")).unwrap();
    let shown = program.lines().map(|line| line.trim_start_matches("//!").trim());
    let lines = shown.filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert!((20..=30).contains(&lines), "{lines} lines");
}
