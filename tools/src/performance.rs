//! The figures and plots of `docs/performance.md` and the figures of [`PAGES`], made from the committed baselines.
//!
//! Theory.      The pages are written by hand but for their figures. A table stands between `<!-- table ROW ... -->`
//!              and `<!-- /table -->` and is made anew from `bench/baseline.tsv` and `bench/targets.tsv`; `<!-- cores
//!              ROW ... -->` sets both free-list cores side by side, the compact one from `bench/compact.tsv`; a single
//!              figure in a sentence stands between `<!-- row ROW -->`, or `<!-- row compact ROW -->`, and `<!-- /row
//!              -->`. The test run measures every row and holds it against the baselines; so a figure that is not true
//!              fails there or here.
//! Not here.    What a row means (the page), how rows are measured (`kernel::bench`).

mod plot;

use std::fmt::Write as _;
use std::path::Path;

use crate::bench::{self, Rows, Target};
use crate::read;

/// The pages with figures.
const PAGES: [&str; 3] = ["docs/performance.md", "docs/order0-pair.md", "README.md"];
/// What a figure or a table of figures stands between.
const MARKS: [(Mark, &str, &str); 3] = [
    (Mark::Table, "<!-- table ", "<!-- /table -->"),
    (Mark::Cores, "<!-- cores ", "<!-- /cores -->"),
    (Mark::Row, "<!-- row ", "<!-- /row -->"),
];

/// What is made anew.
#[derive(Clone, Copy)]
enum Mark {
    /// A table of rows beside Linux and the targets.
    Table,
    /// A table of rows of both cores.
    Cores,
    /// One figure.
    Row,
}

/// The figures that the page is made from.
struct Figures {
    rows: Rows,
    /// With the compact core.
    compact: Rows,
    targets: Vec<Target>,
}

impl Figures {
    fn of(root: &Path) -> Result<Self, String> {
        let text = |name: &str| read(root.join(name));
        let rows = |name| bench::rows(&text(name)?).map_err(|error| format!("{name}: {error}"));
        let targets = "bench/targets.tsv";
        Ok(Self {
            rows: rows("bench/baseline.tsv")?,
            compact: rows("bench/compact.tsv")?,
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
            let ours = self.ours(row).ok_or_else(|| format!("the baseline has no row {row}"))?;
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

    /// The table of some rows with both cores.
    fn cores(&self, rows: &str) -> Result<String, String> {
        let mut text = String::from("| row | classic | compact | must | goal |\n|---|--:|--:|--:|--:|\n");
        for row in rows.split_whitespace() {
            let (classic, compact) = (self.figure(row)?, self.figure(&format!("compact {row}"))?);
            let target = self.target(row);
            let words = |which: usize, bound: Option<bench::Bound>| match (target, bound) {
                (Some(target), Some(_)) => target.words[which].replace("<=", "≤ ").replace(">=", "≥ "),
                _ => "–".to_owned(),
            };
            let must = target.and_then(|target| target.must);
            let shown = |value: f64| {
                let mark = if must.is_some_and(|must| must.holds(value)) { " ✓" } else { "" };
                format!("{}{mark}", grouped(value))
            };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| `{row}` | {} | {} | {} | {} |",
                shown(classic),
                shown(compact),
                words(0, must),
                words(1, target.and_then(|target| target.goal))
            );
        }
        Ok(text)
    }

    /// One figure: of `ROW`, or of `compact ROW`.
    fn figure(&self, name: &str) -> Result<f64, String> {
        let (rows, row, file) = match name.strip_prefix("compact ") {
            Some(row) => (&self.compact, row, "bench/compact.tsv"),
            None => (&self.rows, name, "bench/baseline.tsv"),
        };
        bench::measured(row, rows).ok_or_else(|| format!("{file} has no row {row}"))
    }

    /// A page with every figure made anew.
    fn page(&self, name: &str, old: &str) -> Result<String, String> {
        let mut new = String::new();
        let mut rest = old;
        let first = |text: &str| {
            let found = MARKS.iter().filter_map(|mark| Some((text.find(mark.1)?, mark)));
            found.min_by_key(|(at, _)| *at)
        };
        while let Some((at, (mark, begin, end))) = first(rest) {
            let (before, after) = (&rest[..at], &rest[at + begin.len()..]);
            let broken = |what: &str| format!("{name}: {begin}: {what}");
            let (rows, after) = after.split_once(" -->").ok_or_else(|| broken("the mark has no end"))?;
            let (_, after) = after.split_once(end).ok_or_else(|| broken(&format!("{rows}: no {end}")))?;
            let made = match mark {
                Mark::Table => format!("\n\n{}\n", self.table(rows)?),
                Mark::Cores => format!("\n\n{}\n", self.cores(rows)?),
                Mark::Row => grouped(self.figure(rows)?),
            };
            let _ = write!(new, "{before}{begin}{rows} -->{made}{end}");
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

/// Compares pages and plots with what the baselines make of them; with `save`, writes them.
pub(crate) fn run(root: &Path, save: bool) -> Result<(), String> {
    let figures = Figures::of(root)?;
    let mut files = Vec::new();
    for name in PAGES {
        files.push((name.to_owned(), figures.page(name, &read(root.join(name))?)?));
    }
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
    Err(format!("not as bench/*.tsv have it: {}; write them anew: scripts/performance.sh --save", stale.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            rows: bench::rows("a\t50\nb\t1234567\n").unwrap(),
            compact: bench::rows("a\t70.5\n").unwrap(),
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
        let new = figures().page("page", old).unwrap();
        assert!(
            new.starts_with("Text.\n<!-- table a -->\n\n| row") && new.ends_with("\n<!-- /table -->\nMore.\n"),
            "{new}"
        );
        assert_eq!(figures().page("page", &new).unwrap(), new);
    }

    #[test]
    fn both_cores_stand_side_by_side_and_each_shows_whether_it_keeps_the_bound() {
        let new = figures().page("page", "<!-- cores a --><!-- /cores -->").unwrap();
        assert!(new.ends_with("| `a` | 50 ✓ | 70.50 | ≤ 60 | ≤ 40 |\n\n<!-- /cores -->"), "{new}");
        assert!(
            figures().page("page", "<!-- cores b --><!-- /cores -->").unwrap_err().contains("compact.tsv has no row b")
        );
    }

    #[test]
    fn a_figure_in_a_sentence_is_replaced_where_it_stands() {
        let old = "takes <!-- row a -->1<!-- /row --> or <!-- row compact a -->2<!-- /row -->.";
        let new = figures().page("page", old).unwrap();
        assert_eq!(new, "takes <!-- row a -->50<!-- /row --> or <!-- row compact a -->70.50<!-- /row -->.");
    }

    #[test]
    fn a_row_that_nobody_measured_is_named() {
        assert!(figures().page("page", "<!-- table c -->\n<!-- /table -->").unwrap_err().contains("no row c"));
    }
}
