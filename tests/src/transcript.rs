//! A log held against its reference: every line of the reference must come, in its order.
//!
//! Lines between them are free, because a log grows. In the reference `…` stands for any text inside a line, a line
//! that begins with `#` is a comment, and empty lines say nothing. Leading blanks count: they are part of the text.

/// The lines that a reference asks for.
pub fn expected(reference: &str) -> impl Iterator<Item = &str> {
    reference.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// Whether `line` is `pattern`, in which each `…` stands for any text.
#[must_use]
pub fn line_matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Holds `log` against `reference`.
///
/// # Errors
///
/// The first line of the reference that did not come, with the line after which it should have.
pub fn compare(reference: &str, log: &[String]) -> Result<(), String> {
    let mut rest = log.iter();
    let mut before = "the beginning";
    for wanted in expected(reference) {
        if !rest.any(|line| line_matches(wanted, line)) {
            return Err(format!("missing after \"{before}\":\n    {wanted}\nthe log:\n    {}", log.join("\n    ")));
        }
        before = wanted;
    }
    Ok(())
}

/// The lines of a dump of page tables, from the first marker (`---[ … ]---`) to the last.
#[must_use]
pub fn page_tables(lines: &[String]) -> &[String] {
    let is_marker = |line: &String| line.starts_with("---[");
    match (lines.iter().position(is_marker), lines.iter().rposition(is_marker)) {
        (Some(first), Some(last)) => &lines[first..=last],
        _ => &[],
    }
}

/// Holds the dump of page tables in `log`, if there is any, against that in `reference`: not a line more.
///
/// # Errors
///
/// How many lines there are.
pub fn compare_page_tables(reference: &str, log: &[String]) -> Result<(), String> {
    let wanted: Vec<String> = expected(reference).map(str::to_owned).collect();
    let (wanted, found) = (page_tables(&wanted), page_tables(log));
    if wanted.is_empty() || wanted.len() == found.len() {
        return Ok(());
    }
    Err(format!("{} lines of page tables, not {}:\n    {}", found.len(), wanted.len(), found.join("\n    ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|l| (*l).to_owned()).collect()
    }

    #[test]
    fn an_ellipsis_stands_for_any_text_and_nothing_else_does() {
        assert!(line_matches(
            "Memory: …K/505856K available (…, 0K highmem)",
            "Memory: 1K/505856K available (x, 0K highmem)"
        ));
        assert!(!line_matches("Memory: …K/505856K", "Memory: 1K/505857K"));
        assert!(line_matches("a", "a"));
        assert!(!line_matches("a", "ab"));
        assert!(!line_matches("  a", "a"));
        assert!(line_matches("a…", "a"));
        assert!(line_matches("…b…", "abc"));
    }

    #[test]
    fn lines_may_come_between_but_not_out_of_order() {
        assert!(compare("# note\na\n\nb\n", &log(&["x", "a", "y", "b"])).is_ok());
        assert!(compare("a\nb\n", &log(&["b", "a"])).is_err());
        assert!(compare("a\na\n", &log(&["a"])).is_err());
    }

    #[test]
    fn a_dump_of_page_tables_has_no_line_more_than_its_reference() {
        let reference = "# tables\n---[ A ]---\n0x1…RW\n---[ B ]---\n";
        assert!(
            compare_page_tables(reference, &log(&["boot", "---[ A ]---", "0x12 RW", "---[ B ]---", "end"])).is_ok()
        );
        assert!(compare_page_tables(reference, &log(&["---[ A ]---", "0x12 RW", "0x3 RW", "---[ B ]---"])).is_err());
        assert!(compare_page_tables(reference, &log(&["end"])).is_err());
        assert!(compare_page_tables("a log without a dump", &log(&["end"])).is_ok());
    }

    #[test]
    fn the_page_tables_that_the_docs_show_are_those_that_the_image_is_held_against() {
        let root = crate::root();
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
        let (docs, reference) = (read("docs/memory-map.md"), read("tests/reference/ast2500-page-tables.txt"));
        let block: Vec<_> = expected(&reference).collect();
        assert!(docs.contains(&block.join("\n")), "docs/memory-map.md shows other page tables than the reference has");
    }
}
