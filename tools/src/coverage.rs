//! Coverage as one line a module, from the text that `llvm-cov export -format=lcov` writes.
//!
//! Theory.      `SF:` opens a file's record; `LF`/`LH` count its lines and those that ran, `BRF`/`BRH` its branches.
//!              Only the product's files count: `mm/src` and `boot/src` without their tests and stand-ins.
//!              `docs/coverage.md` keeps the table of an earlier run between two marks, and under it, in words, why
//!              some modules are not covered. A run is held against it: a module that falls by more than [`FALL`] or
//!              [`BRANCH_FALL`], and by more than [`SLACK`], fails, and so does one below [`EXPLAIN`] that the words do
//!              not name.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::path::Path;

use crate::read;

/// Tenths of a percent of lines that a module may lose: random cases reach a line more or less.
const FALL: u64 = 20;
/// The same of branches, of which a module has fewer.
const BRANCH_FALL: u64 = 50;
/// Lines or branches that the smallest module may lose: whether threads meet in a lock is chance.
const SLACK: u64 = 3;
/// Tenths of a percent of lines below which a module's gap has a reason in the document.
const EXPLAIN: u64 = 950;
const TABLE_BEGINS: &str = "<!-- table -->\n";
const TABLE_ENDS: &str = "<!-- end of table -->\n";

/// Lines and branches: how many there are, how many ran.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Counts {
    lines: [u64; 2],
    branches: [u64; 2],
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in [(&mut self.lines, other.lines), (&mut self.branches, other.branches)] {
            sum[0] += more[0];
            sum[1] += more[1];
        }
    }
}

/// `found` and `hit` in tenths of a percent.
fn tenths([found, hit]: [u64; 2]) -> Option<u64> {
    (hit * 1000).checked_div(found)
}

/// `found` and `hit` as a share.
fn share(counts: [u64; 2]) -> String {
    match tenths(counts) {
        Some(tenths) => format!("{}.{} % of {}", tenths / 10, tenths % 10, counts[0]),
        None => "none".to_owned(),
    }
}

/// The table's lines, one a module.
fn table(tally: &BTreeMap<String, Counts>) -> String {
    let mut text = "| module | lines | branches | lines not run |\n| --- | --- | --- | --- |\n".to_owned();
    for (name, Counts { lines, branches }) in tally {
        let left = lines[0] - lines[1];
        text += &format!("| {name} | {} | {} | {left} |\n", share(*lines), share(*branches));
    }
    text
}

/// The document's table and the words behind it.
fn parts(document: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = document.split_once(TABLE_BEGINS)?;
    let (table, after) = rest.split_once(TABLE_ENDS)?;
    Some((before, table, after))
}

/// The share that a cell such as `95.0 % of 20` tells, in tenths.
fn told(cell: &str) -> Option<u64> {
    cell.split_once(" %")?.0.trim().replace('.', "").parse().ok()
}

/// What of `tally` is worse than the document says, or not explained by it.
fn complaints(tally: &BTreeMap<String, Counts>, document: &str) -> Vec<String> {
    let Some((_, table, words)) = parts(document) else { return vec!["the document has no table".to_owned()] };
    let mut found = Vec::new();
    for (name, counts) in tally {
        let row = table.lines().find_map(|line| line.strip_prefix(&format!("| {name} | ")));
        let cells: Vec<Option<u64>> = row.map_or(Vec::new(), |row| row.split(" | ").map(told).collect());
        let then = |column: usize| cells.get(column).copied().flatten();
        for (what, column, counts, fall) in
            [("lines", 0, counts.lines, FALL), ("branches", 1, counts.branches, BRANCH_FALL)]
        {
            if let (Some(then), Some(now), Some(slack)) = (then(column), tenths(counts), tenths([counts[0], SLACK]))
                && now + fall.max(slack) < then
            {
                let point = |n: u64| format!("{}.{} %", n / 10, n % 10);
                found.push(format!("{name}: {} of the {what} run, and {} did", point(now), point(then)));
            }
        }
        let is_low = tenths(counts.lines).is_some_and(|share| share < EXPLAIN);
        if is_low && !words.contains(&format!("`{name}`")) {
            found.push(format!("{name}: {} of the lines run, and no reason is given", share(counts.lines)));
        }
    }
    found
}

/// The part of the product that a file belongs to, such as `mm/buddy`; `None` for tests and other crates.
fn module(path: &str) -> Option<String> {
    let mut parts = path.split('/');
    let (name, "src") = (parts.next()?, parts.next()?) else { return None };
    let inside: Vec<&str> = parts.collect();
    let stem = |part: &str| part.trim_end_matches(".rs").to_owned();
    let is_test = |part: &&str| {
        let part = stem(part);
        part.ends_with("tests") || matches!(part.as_str(), "testing" | "model" | "mutation" | "builder" | "story")
    };
    if !matches!(name, "mm" | "boot") || inside.iter().any(is_test) {
        return None;
    }
    Some(format!("{name}/{}", stem(inside.first()?)))
}

/// Counts by module.
fn tally(lcov: &str, root: &str) -> BTreeMap<String, Counts> {
    let mut tally = BTreeMap::<String, Counts>::new();
    let mut at = None;
    for line in lcov.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let number = value.parse().unwrap_or(0);
        let counts = match key {
            "SF" => {
                at = module(value.strip_prefix(root).unwrap_or(value).trim_start_matches('/'));
                continue;
            }
            "LF" => Counts { lines: [number, 0], ..Counts::default() },
            "LH" => Counts { lines: [0, number], ..Counts::default() },
            "BRF" => Counts { branches: [number, 0], ..Counts::default() },
            "BRH" => Counts { branches: [0, number], ..Counts::default() },
            _ => continue,
        };
        if let Some(name) = &at {
            *tally.entry(name.clone()).or_default() += counts;
        }
    }
    tally
}

/// Prints a line a module, then one a crate, and holds them against `document`; with `save` the document's table
/// becomes what was found.
pub(crate) fn run(root: &Path, lcov: &str, document: &str, save: bool) -> Result<(), String> {
    let tally = tally(&read(lcov)?, &root.display().to_string());
    if tally.is_empty() {
        return Err(format!("{lcov}: no file of mm or boot"));
    }
    for (name, counts) in &tally {
        println!("{name:<24} lines {:<18} branches {}", share(counts.lines), share(counts.branches));
    }
    for name in ["mm", "boot"] {
        let mut sum = Counts::default();
        tally
            .iter()
            .filter(|(module, _)| module.split('/').next() == Some(name))
            .for_each(|(_, counts)| sum += *counts);
        println!("coverage {name}: lines {}, branches {}", share(sum.lines), share(sum.branches));
    }
    let mut text = read(document)?;
    if save {
        let (before, _, after) = parts(&text).ok_or(format!("{document}: no table"))?;
        text = format!("{before}{TABLE_BEGINS}{}{TABLE_ENDS}{after}", table(&tally));
        std::fs::write(document, &text).map_err(|error| format!("{document}: {error}"))?;
    }
    let complaints = complaints(&tally, &text);
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(format!("coverage: {} modules are not as {document} says", complaints.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_product_are_summed_by_module_and_tests_are_left_out() {
        let lcov = "SF:/r/mm/src/buddy/mod.rs\nLF:10\nLH:9\nBRF:4\nBRH:2\nend_of_record\n\
                    SF:/r/mm/src/buddy/list.rs\nLF:10\nLH:10\nend_of_record\n\
                    SF:/r/mm/src/buddy/tests.rs\nLF:99\nLH:1\nend_of_record\n\
                    SF:/r/boot/src/testing/mod.rs\nLF:99\nLH:1\nend_of_record\n\
                    SF:/other/lib.rs\nLF:99\nLH:1\nend_of_record\n";
        let tally = tally(lcov, "/r");
        assert_eq!(tally.len(), 1);
        assert_eq!(tally["mm/buddy"], Counts { lines: [20, 19], branches: [4, 2] });
        assert_eq!(share([20, 19]), "95.0 % of 20");
        assert_eq!(share([0, 0]), "none");
    }

    #[test]
    fn a_module_that_falls_and_one_without_a_reason_are_named() {
        let counts = |hit| Counts { lines: [1000, hit], branches: [100, 90] };
        let tally = |hit| BTreeMap::from([("mm/zone".to_owned(), counts(hit))]);
        let document = |hit, words: &str| format!("{TABLE_BEGINS}{}{TABLE_ENDS}{words}", table(&tally(hit)));
        assert!(complaints(&tally(960), &document(980, "")).is_empty());
        assert_eq!(complaints(&tally(959), &document(980, "")), ["mm/zone: 95.9 % of the lines run, and 98.0 % did"]);
        let no_reason = ["mm/zone: 94.9 % of 1000 of the lines run, and no reason is given"];
        assert_eq!(complaints(&tally(949), &document(949, "")), no_reason);
        assert!(complaints(&tally(949), &document(949, "`mm/zone`: because")).is_empty());
        assert_eq!(complaints(&tally(949), "no table"), ["the document has no table"]);
        let fewer = BTreeMap::from([("mm/zone".to_owned(), Counts { lines: [1000, 980], branches: [100, 84] })]);
        assert_eq!(complaints(&fewer, &document(980, "")), ["mm/zone: 84.0 % of the branches run, and 90.0 % did"]);
    }

    #[test]
    fn a_small_module_may_lose_three_branches() {
        let tally = |hit| BTreeMap::from([("mm/sync".to_owned(), Counts { lines: [100, 100], branches: [24, hit] })]);
        let document = format!("{TABLE_BEGINS}{}{TABLE_ENDS}", table(&tally(24)));
        assert!(complaints(&tally(21), &document).is_empty());
        assert_eq!(complaints(&tally(20), &document), ["mm/sync: 83.3 % of the branches run, and 100.0 % did"]);
    }
}
