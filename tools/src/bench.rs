//! Bench rows against the committed baseline and against the targets.
//!
//! Theory.      A row is `NAME<TAB>COUNT`. The baseline holds every row; one that grew by more than [`SLACK`] per cent,
//!              vanished, or is not in the baseline yet fails. A change that costs instructions on purpose commits a
//!              new baseline (`./qemu-run.sh bench --icount --save`) with itself, so the price stands in its own diff.
//!              A target is `ROW<TAB>LINUX<TAB>MUST<TAB>GOAL`: `<=N` or `>=N` each, `-` where there is none; ROW may be
//!              a sum, `memmap_page+handover_page`. A target whose row is not measured yet is told of and judged later.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::read;

/// Per cent that a row may grow by before it fails.
const SLACK: f64 = 3.0;

pub(crate) type Rows = BTreeMap<String, f64>;

/// A bound that a row should keep.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn parse(text: &str) -> Result<Option<Self>, String> {
        let number = |digits: &str| digits.parse::<f64>().map_err(|error| format!("{text}: {error}"));
        match (text.strip_prefix("<="), text.strip_prefix(">=")) {
            (Some(most), _) => Ok(Some(Self::AtMost(number(most)?))),
            (_, Some(least)) => Ok(Some(Self::AtLeast(number(least)?))),
            _ if text == "-" => Ok(None),
            _ => Err(format!("{text}: a bound is <=N, >=N or -")),
        }
    }

    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

/// One line of the table of targets.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) row: String,
    /// A number, or `-`.
    pub(crate) linux: String,
    pub(crate) must: Option<Bound>,
    pub(crate) goal: Option<Bound>,
    /// MUST and GOAL as written.
    pub(crate) words: [String; 2],
}

/// Lines with tabs, without comments.
fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(at, line)| (at + 1, line.split('\t').collect()))
}

pub(crate) fn rows(text: &str) -> Result<Rows, String> {
    let mut rows = Rows::new();
    for (at, fields) in lines(text) {
        let row = match fields.as_slice() {
            [name, count] => count.parse().ok().map(|count| ((*name).to_owned(), count)),
            _ => None,
        };
        let (name, count) = row.ok_or_else(|| format!("line {at}: a row is NAME<TAB>COUNT"))?;
        rows.insert(name, count);
    }
    if rows.is_empty() { Err("no rows".to_owned()) } else { Ok(rows) }
}

pub(crate) fn targets(text: &str) -> Result<Vec<Target>, String> {
    let target = |(at, fields): (usize, Vec<&str>)| match fields.as_slice() {
        [row, linux, must, goal] => Ok(Target {
            row: (*row).to_owned(),
            linux: (*linux).to_owned(),
            must: Bound::parse(must)?,
            goal: Bound::parse(goal)?,
            words: [(*must).to_owned(), (*goal).to_owned()],
        }),
        _ => Err(format!("line {at}: a target is ROW<TAB>LINUX<TAB>MUST<TAB>GOAL")),
    };
    lines(text).map(target).collect()
}

/// What a target's row or sum of rows came to; `None` when one of them was not measured.
pub(crate) fn measured(name: &str, rows: &Rows) -> Option<f64> {
    name.split('+').map(|part| rows.get(part).copied()).sum()
}

/// What is wrong with `rows`, a line each. `larger_is_better`: the rows that must not shrink.
fn regressions(rows: &Rows, baseline: &Rows, larger_is_better: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, was) in baseline {
        let Some(is) = rows.get(name) else {
            wrong.push(format!("{name}: vanished (it was {was})"));
            continue;
        };
        // A hundredth is the resolution of a row.
        let slack = was * SLACK / 100.0 + 0.01;
        let worse = if larger_is_better.contains(&name.as_str()) { was - is } else { is - was };
        if worse > slack {
            wrong.push(format!("{name}: {is}, in the baseline {was} ({:+.1} %)", (is - was) / was * 100.0));
        }
    }
    let new = rows.keys().filter(|name| !baseline.contains_key(*name));
    wrong.extend(new.map(|name| format!("{name}: not in the baseline")));
    wrong
}

/// The table for people, and how many rows keep MUST and GOAL.
fn table(rows: &Rows, baseline: &Rows, targets: &[Target]) -> String {
    let mut text =
        format!("{:<26}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "row", "now", "baseline", "Linux 6.1", "must", "goal");
    let mark = |bound: Option<Bound>, value| match bound {
        Some(bound) if !bound.holds(value) => "!",
        _ => " ",
    };
    let line = |text: &mut String, name: &str, now: f64, target: Option<&Target>| {
        let was = measured(name, baseline).map_or_else(|| "-".to_owned(), plain);
        let (linux, must, goal) = match target {
            Some(t) => (
                t.linux.as_str(),
                format!("{}{}", t.words[0], mark(t.must, now)),
                format!("{}{}", t.words[1], mark(t.goal, now)),
            ),
            None => ("-", "- ".to_owned(), "- ".to_owned()),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<26}{:>12}{was:>12}{linux:>12}{must:>12}{goal:>12}", plain(now));
    };
    for (name, now) in rows {
        line(&mut text, name, *now, targets.iter().find(|target| target.row == *name));
    }
    for target in targets.iter().filter(|target| target.row.contains('+')) {
        if let Some(now) = measured(&target.row, rows) {
            line(&mut text, &target.row, now, Some(target));
        }
    }
    text
}

/// A count as a row writes it.
pub(crate) fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.strip_suffix(".00").unwrap_or(&text).to_owned()
}

/// How many targets that were measured keep a bound, of how many.
fn kept(rows: &Rows, targets: &[Target], bound: impl Fn(&Target) -> Option<Bound>) -> (usize, usize) {
    let judged = targets.iter().filter_map(|target| Some(bound(target)?.holds(measured(&target.row, rows)?)));
    judged.fold((0, 0), |(kept, all), holds| (kept + usize::from(holds), all + 1))
}

/// Compares the files; the table goes to stdout.
pub(crate) fn run(now: &str, baseline: &str, wanted: &str) -> Result<(), String> {
    let of = |path: &str| rows(&read(path)?).map_err(|error| format!("{path}: {error}"));
    let (now, was) = (of(now)?, of(baseline)?);
    let targets = targets(&read(wanted)?).map_err(|error| format!("{wanted}: {error}"))?;
    print!("{}", table(&now, &was, &targets));
    let unmeasured: Vec<&str> =
        targets.iter().filter(|t| measured(&t.row, &now).is_none()).map(|t| t.row.as_str()).collect();
    if !unmeasured.is_empty() {
        println!("targets without a row yet: {}", unmeasured.join(" "));
    }
    let (must, goal) = (kept(&now, &targets, |t| t.must), kept(&now, &targets, |t| t.goal));
    println!(
        "bench rows: {} measured, {} of {} within must, {} of {} reach goal",
        now.len(),
        must.0,
        must.1,
        goal.0,
        goal.1
    );
    let better: Vec<&str> = targets
        .iter()
        .filter(|target| matches!(target.must.or(target.goal), Some(Bound::AtLeast(_))))
        .map(|target| target.row.as_str())
        .collect();
    let wrong = regressions(&now, &was, &better);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}\n{} rows are not as the baseline has them, give or take {SLACK} %; \
         if that is meant: ./qemu-run.sh bench --icount --save, and commit it with the change",
        wrong.join("\n"),
        wrong.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(&str, f64)]) -> Rows {
        rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn growth_of_three_per_cent_passes_and_more_fails() {
        let was = of(&[("pair_o0", 100.0)]);
        assert!(regressions(&of(&[("pair_o0", 103.0)]), &was, &[]).is_empty());
        assert_eq!(
            regressions(&of(&[("pair_o0", 103.1)]), &was, &[]),
            ["pair_o0: 103.1, in the baseline 100 (+3.1 %)"]
        );
        assert!(regressions(&of(&[("pair_o0", 50.0)]), &was, &[]).is_empty());
    }

    #[test]
    fn a_row_where_more_is_better_fails_when_it_shrinks() {
        let was = of(&[("churn_o9_percent", 99.0)]);
        let better = ["churn_o9_percent"];
        assert_eq!(regressions(&of(&[("churn_o9_percent", 90.0)]), &was, &better).len(), 1);
        assert!(regressions(&of(&[("churn_o9_percent", 100.0)]), &was, &better).is_empty());
    }

    #[test]
    fn a_row_that_vanished_and_one_without_a_baseline_fail() {
        let wrong = regressions(&of(&[("new", 1.0)]), &of(&[("old", 2.0)]), &[]);
        assert_eq!(wrong, ["old: vanished (it was 2)", "new: not in the baseline"]);
    }

    #[test]
    fn a_target_may_be_about_a_sum_and_is_judged_only_when_all_of_it_is_measured() {
        let targets = targets("# comment\na+b\t134\t<=16\t<=6\nc\t-\t>=90\t-\n").unwrap();
        let rows = of(&[("a", 5.0), ("b", 2.0)]);
        assert_eq!(kept(&rows, &targets, |t| t.must), (1, 1));
        assert_eq!(kept(&rows, &targets, |t| t.goal), (0, 1));
        assert_eq!(kept(&of(&[("a", 5.0), ("c", 89.0)]), &targets, |t| t.must), (0, 1));
    }

    #[test]
    fn lines_that_are_no_rows_or_targets_are_told_by_number() {
        assert_eq!(rows("a\t1\nb\n").unwrap_err(), "line 2: a row is NAME<TAB>COUNT");
        assert_eq!(rows("").unwrap_err(), "no rows");
        assert_eq!(targets("a\t1\t<=2\n").unwrap_err(), "line 1: a target is ROW<TAB>LINUX<TAB>MUST<TAB>GOAL");
        assert_eq!(targets("a\t1\t=2\t-\n").unwrap_err(), "=2: a bound is <=N, >=N or -");
    }
}
