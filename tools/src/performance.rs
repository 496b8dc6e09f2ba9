//! The tables and plots of `docs/performance.md`, made from the committed baseline.
//!
//! Theory.      The page is written by hand but for its tables: each stands between `<!-- table ROW ... -->` and
//!              `<!-- /table -->` and is made anew from `bench/baseline.tsv` and `bench/targets.tsv`. The test run
//!              measures every row and holds it against the baseline; so a figure on the page that is not true fails
//!              there or here.
//! Not here.    What a row means (the page), how rows are measured (`kernel::bench`).

mod plot;

use std::fmt::Write as _;
use std::path::Path;

use crate::bench::{self, Rows, Target};
use crate::read;

const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- table ";
const END: &str = "<!-- /table -->";

/// The figures that the page is made from.
struct Figures {
    rows: Rows,
    targets: Vec<Target>,
}

impl Figures {
    fn of(root: &Path) -> Result<Self, String> {
        let text = |name: &str| read(root.join(name));
        let (rows, targets) = ("bench/baseline.tsv", "bench/targets.tsv");
        Ok(Self {
            rows: bench::rows(&text(rows)?).map_err(|error| format!("{rows}: {error}"))?,
            targets: bench::targets(&text(targets)?).map_err(|error| format!("{targets}: {error}"))?,
        })
    }

    fn target(&self, row: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.row == row)
    }

    fn linux(&self, row: &str) -> Option<f64> {
        self.target(row)?.linux.parse().ok()
    }

    fn ours(&self, row: &str) -> Option<f64> {
        bench::measured(row, &self.rows)
    }

    /// The table of some rows.
    fn table(&self, rows: &str) -> Result<String, String> {
        let mut text =
            String::from("| row | Quire | Linux 6.1 | Linux / Quire | must | goal |\n|---|--:|--:|--:|--:|--:|\n");
        for row in rows.split_whitespace() {
            let ours = self.ours(row).ok_or_else(|| format!("{PAGE}: the baseline has no row {row}"))?;
            let linux = self.linux(row).filter(|linux| *linux > 0.0);
            let target = self.target(row);
            let bound = |which: usize, keeps: Option<bool>| match (target, keeps) {
                (Some(target), Some(true)) => {
                    format!("{} ✓", target.words[which].replace("<=", "≤ ").replace(">=", "≥ "))
                }
                (Some(target), Some(false)) => target.words[which].replace("<=", "≤ ").replace(">=", "≥ "),
                _ => "–".to_owned(),
            };
            let must = target.and_then(|target| target.must).map(|must| must.holds(ours));
            let goal = target.and_then(|target| target.goal).map(|goal| goal.holds(ours));
            let ratio = linux.map_or_else(|| "–".to_owned(), |linux| format!("{:.1}", linux / ours));
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| `{row}` | {} | {} | {ratio} | {} | {} |",
                grouped(ours),
                linux.map_or_else(|| "–".to_owned(), grouped),
                bound(0, must),
                bound(1, goal)
            );
        }
        Ok(text)
    }

    /// The page with every table made anew.
    fn page(&self, old: &str) -> Result<String, String> {
        let mut new = String::new();
        let mut rest = old;
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let (rows, after) =
                after.split_once(" -->\n").ok_or_else(|| format!("{PAGE}: a table's mark has no end"))?;
            let (_, after) = after.split_once(END).ok_or_else(|| format!("{PAGE}: {rows}: no {END}"))?;
            let _ = write!(new, "{before}{BEGIN}{rows} -->\n\n{}\n{END}", self.table(rows)?);
            rest = after;
        }
        Ok(new + rest)
    }
}

/// A count with its thousands apart.
fn grouped(value: f64) -> String {
    let plain = if value >= 1000.0 { format!("{value:.0}") } else { bench::plain(value) };
    let (whole, part) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, part)| (whole, Some(part)));
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    part.map_or(text.clone(), |part| format!("{text}.{part}"))
}

/// Compares page and plots with what the baseline makes of them; with `save`, writes them.
pub(crate) fn run(root: &Path, save: bool) -> Result<(), String> {
    let figures = Figures::of(root)?;
    let mut files = vec![(PAGE.to_owned(), figures.page(&read(root.join(PAGE))?)?)];
    files.extend(plot::all(&figures)?.into_iter().map(|(name, svg)| (format!("docs/{name}.svg"), svg)));
    let mut stale = Vec::new();
    for (name, text) in &files {
        let path = root.join(name);
        if save {
            std::fs::write(&path, text).map_err(|error| format!("{name}: {error}"))?;
        } else if read(&path).ok().as_ref() != Some(text) {
            stale.push(name.as_str());
        }
    }
    if stale.is_empty() {
        println!("figures: {} files are as the baseline has them", files.len());
        return Ok(());
    }
    Err(format!(
        "not as bench/baseline.tsv has it: {}; write them anew: scripts/performance.sh --save",
        stale.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            rows: bench::rows("a\t50\nb\t1234567\n").unwrap(),
            targets: bench::targets("a\t200\t<=60\t<=40\nb\t-\t-\t-\n").unwrap(),
        }
    }

    #[test]
    fn a_table_shows_the_ratio_and_which_bounds_hold() {
        let table = figures().table("a b").unwrap();
        assert!(
            table.ends_with("| `a` | 50 | 200 | 4.0 | ≤ 60 ✓ | ≤ 40 |\n| `b` | 1,234,567 | – | – | – | – |\n"),
            "{table}"
        );
    }

    #[test]
    fn tables_are_replaced_and_the_rest_of_the_page_stays() {
        let old = "Text.\n<!-- table a -->\nstale\n<!-- /table -->\nMore.\n";
        let new = figures().page(old).unwrap();
        assert!(
            new.starts_with("Text.\n<!-- table a -->\n\n| row") && new.ends_with("\n<!-- /table -->\nMore.\n"),
            "{new}"
        );
        assert_eq!(figures().page(&new).unwrap(), new);
    }

    #[test]
    fn a_row_that_nobody_measured_is_named() {
        assert!(figures().page("<!-- table c -->\n<!-- /table -->").unwrap_err().contains("no row c"));
    }
}
