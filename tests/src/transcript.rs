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
}
