//! The ledger of unsafe code: every unsafe block, function, trait and impl with the reason why it is sound.
//!
//! Theory.      [`scan()`] follows the `mod` declarations of each crate, so that it knows which file is a test, and
//!              walks each file's syntax tree. A block's reason is the comment with `SAFETY:` above it or above the
//!              statement that holds it; a function's or trait's is the `# Safety` part of its documentation. The table
//!              in `docs/unsafe.md` carries no line numbers: it goes stale when unsafe code changes, not when it moves.
//! Invariants.  1. Every entry has a reason, in tests too. 2. The committed table is the code's. 3. A module that the
//!              table calls pure keeps `#![forbid(unsafe_code)]`; to give that up, its line goes from the table by
//!              hand.
//! Not here.    Code that macros of other crates expand to.

mod reason;
mod scan;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::read;
use scan::{Crate, Entry, scan};

/// The crates of the product, and of its proof.
const CRATES: [&str; 5] = ["mm", "boot", "kernel", "tests", "tools"];
/// The committed table.
const TABLE: &str = "docs/unsafe.md";
/// What a pure module's line in the table begins with.
const PURE: &str = "- `";

/// The table as text.
fn table(crates: &[Crate]) -> String {
    let mut text = String::from(
        "# Unsafe code\n\nEvery unsafe block, function, trait and impl of the product, with the reason why it is sound. \
         Written by\n`scripts/unsafe.sh --save`; `tests/run` fails when the code says otherwise.\n\n\
         | crate | unsafe in the product | in its tests | pure modules | modules |\n| --- | --- | --- | --- | --- |\n",
    );
    // Writing to a string does not fail.
    for part in crates {
        let tests = part.entries.iter().filter(|entry| entry.test).count();
        let product = part.entries.len() - tests;
        let _ = writeln!(text, "| `{}` | {product} | {tests} | {} | {} |", part.name, part.pure.len(), part.modules);
    }
    for part in crates {
        let _ = write!(text, "\n## `{}`\n", part.name);
        let mut by_module = BTreeMap::<&str, Vec<&Entry>>::new();
        for entry in part.entries.iter().filter(|entry| !entry.test) {
            by_module.entry(&entry.module).or_default().push(entry);
        }
        for (module, entries) in by_module {
            let _ = write!(text, "\n### `{module}`\n\n| where | what | why it is sound |\n| --- | --- | --- |\n");
            for entry in entries {
                let reason = entry.reason.as_deref().unwrap_or("**no reason given**").replace('|', "\\|");
                let _ = writeln!(text, "| `{}` | {} | {reason} |", entry.item, entry.kind.name());
            }
        }
    }
    text.push_str("\n## Pure modules\n\nThese forbid unsafe code (`#![forbid(unsafe_code)]`), and stay so.\n\n");
    for module in crates.iter().flat_map(|part| &part.pure) {
        let _ = writeln!(text, "{PURE}{module}`");
    }
    text
}

/// The modules that a table calls pure.
fn pure_in(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter_map(|line| line.strip_prefix(PURE)?.strip_suffix('`'))
}

/// Entries without a reason, a line each.
fn unreasoned(crates: &[Crate]) -> Vec<String> {
    let entries = crates.iter().flat_map(|part| &part.entries).filter(|entry| entry.reason.is_none());
    entries.map(|e| format!("{}:{}: unsafe {} in {} has no reason", e.file, e.line, e.kind.name(), e.item)).collect()
}

/// What is wrong with the code, given the committed table.
fn faults(crates: &[Crate], committed: &str) -> Vec<String> {
    let mut faults = unreasoned(crates);
    let pure: Vec<&str> = crates.iter().flat_map(|part| &part.pure).map(String::as_str).collect();
    let lost = pure_in(committed).filter(|module| !pure.contains(module));
    faults.extend(lost.map(|module| {
        format!("{module}: was pure and no longer forbids unsafe code; if that is meant, take its line out of {TABLE}")
    }));
    faults
}

/// Compares the code with the table, or writes the table.
pub(crate) fn run(root: &Path, save: bool) -> Result<(), String> {
    let crates = CRATES.iter().map(|name| scan(root, name)).collect::<Result<Vec<_>, _>>()?;
    let path = root.join(TABLE);
    let committed = if path.exists() { read(&path)? } else { String::new() };
    let faults = faults(&crates, &committed);
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    let fresh = table(&crates);
    if save {
        std::fs::write(&path, &fresh).map_err(|error| format!("{TABLE}: {error}"))?;
    } else if fresh != committed {
        let had: Vec<&str> = committed.lines().collect();
        let new = fresh.lines().find(|line| !had.contains(line)).unwrap_or("a line is gone");
        return Err(format!("{TABLE} is not what the code says ({new}): scripts/unsafe.sh --save"));
    }
    let product = |part: &Crate| part.entries.iter().filter(|entry| !entry.test).count();
    let parts: Vec<String> = crates.iter().map(|part| format!("{} {}", part.name, product(part))).collect();
    let sum: usize = crates.iter().map(product).sum();
    let (pure, modules) = crates.iter().fold((0, 0), |(p, m), part| (p + part.pure.len(), m + part.modules));
    println!(
        "unsafe: {sum} in the product ({}), each with its reason; {pure} of {modules} modules pure",
        parts.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::scan::{Kind, entries_of, forbids_unsafe};
    use super::*;

    fn of(source: &str) -> Vec<Entry> {
        entries_of(source, "mm/src/x.rs", "x", false).unwrap()
    }

    fn crate_with(entries: Vec<Entry>, pure: &[&str]) -> Crate {
        let pure = pure.iter().map(|name| (*name).to_owned()).collect();
        Crate { name: "mm".to_owned(), entries, pure, modules: 1 }
    }

    #[test]
    fn a_reason_is_found_above_the_block_or_above_its_statement() {
        let entries = of("fn f() {\n // SAFETY: one\n // and more.\n unsafe { g() }\n}\n\
                          fn h() {\n // SAFETY: two.\n let x =\n  a.b(unsafe { c() });\n x\n}\n");
        let found: Vec<_> = entries.iter().map(|e| (e.item.as_str(), e.reason.as_deref())).collect();
        assert_eq!(found, [("f", Some("one and more.")), ("h", Some("two."))]);
    }

    #[test]
    fn a_reason_of_the_statement_before_does_not_count() {
        let entries = of("fn f() {\n // SAFETY: one.\n unsafe { g() };\n unsafe { h() };\n}\n");
        assert_eq!(entries[0].reason.as_deref(), Some("one."));
        assert_eq!(entries[1].reason, None);
        assert_eq!(unreasoned(&[crate_with(entries, &[])]), ["mm/src/x.rs:4: unsafe block in f has no reason"]);
    }

    #[test]
    fn functions_traits_and_impls_are_entries_with_their_own_sort_of_reason() {
        let entries = of("/// Does.\n///\n/// # Safety\n/// Be good,\n/// always.\n///\n/// # Errors\n/// None.\n\
                          pub unsafe fn f() {}\n\
                          /// # Safety\n/// Keep it.\nunsafe trait T {}\n\
                          // SAFETY: it keeps it.\nunsafe impl T for X {}\nunsafe impl T for Y {}\n");
        let found: Vec<_> = entries.iter().map(|e| (e.kind, e.reason.as_deref())).collect();
        let keeps = (Kind::Impl, Some("it keeps it."));
        let expected =
            [(Kind::Fn, Some("Be good, always.")), (Kind::Trait, Some("Keep it.")), keeps, (Kind::Impl, None)];
        assert_eq!(found, expected);
    }

    #[test]
    fn unsafe_inside_macros_is_seen() {
        let entries = of("macro_rules! m {\n () => {\n  // SAFETY: so.\n  unsafe { g() }\n };\n}\n\
                          fn f() {\n call!(\n  unsafe { g() }\n );\n}\n");
        let found: Vec<_> = entries.iter().map(|e| (e.item.as_str(), e.reason.as_deref())).collect();
        assert_eq!(found, [("m!", Some("so.")), ("f", None)]);
    }

    #[test]
    fn code_under_cfg_test_counts_as_test_and_needs_a_reason_too() {
        let entries = of("#[cfg(test)]\nmod tests {\n fn f() { unsafe { g() } }\n}\n");
        assert!(entries[0].test);
        assert_eq!(unreasoned(&[crate_with(entries, &[])]).len(), 1);
    }

    #[test]
    fn a_module_is_pure_when_it_forbids_unsafe_code_outside_tests_at_least() {
        let pure = |source: &str| forbids_unsafe(&syn::parse_file(source).unwrap().attrs);
        assert!(pure("#![forbid(unsafe_code)]"));
        assert!(pure("#![cfg_attr(not(test), forbid(unsafe_code))]"));
        assert!(!pure("#![deny(unsafe_code)]"));
        assert!(!pure("#![cfg_attr(feature = \"x\", forbid(unsafe_code))]"));
    }

    #[test]
    fn a_module_that_was_pure_must_stay_so() {
        let before = table(&[crate_with(vec![], &["mm::a", "mm::b"])]);
        assert_eq!(pure_in(&before).collect::<Vec<_>>(), ["mm::a", "mm::b"]);
        let faults = faults(&[crate_with(vec![], &["mm::a"])], &before);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("mm::b: was pure"));
    }
}
