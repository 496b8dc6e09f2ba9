//! Coverage as one line a module, from the text that `llvm-cov export -format=lcov` writes.
//!
//! Theory.      `SF:` opens a file's record; `LF`/`LH` count its lines and those that ran, `BRF`/`BRH` its branches.
//!              Only the product's files count: `mm/src` and `boot/src` without their tests and stand-ins.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::path::Path;

use crate::read;

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

/// `found` and `hit` as a share.
fn share([found, hit]: [u64; 2]) -> String {
    match (hit * 1000).checked_div(found) {
        Some(tenths) => format!("{}.{} % of {found}", tenths / 10, tenths % 10),
        None => "none".to_owned(),
    }
}

/// The part of the product that a file belongs to, such as `mm/buddy`; `None` for tests and other crates.
fn module(path: &str) -> Option<String> {
    let mut parts = path.split('/');
    let (name, "src") = (parts.next()?, parts.next()?) else { return None };
    let inside: Vec<&str> = parts.collect();
    let stem = |part: &str| part.trim_end_matches(".rs").to_owned();
    let is_test = |part: &&str| {
        let part = stem(part);
        part.ends_with("tests") || matches!(part.as_str(), "testing" | "model" | "mutation" | "builder")
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

/// Prints a line a module, then one a crate.
pub(crate) fn run(root: &Path, lcov: &str) -> Result<(), String> {
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
    Ok(())
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
}
