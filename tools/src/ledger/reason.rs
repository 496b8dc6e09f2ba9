//! Where a reason is written: in the comment above, or in the documentation.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The text of the `SAFETY:` comment that ends right above line `line`, or above any line down from `statement`, the
/// line on which the statement begins (both count from 1).
pub(super) fn above(lines: &[&str], statement: usize, line: usize) -> Option<String> {
    (statement..=line).rev().find_map(|line| comment_ending_above(lines, line))
}

fn comment_ending_above(lines: &[&str], line: usize) -> Option<String> {
    let text = |at: usize| lines.get(at).map(|line| line.trim());
    let mut end = line.checked_sub(1)?;
    // Attributes stand between a comment and its item.
    while end > 0 && text(end - 1).is_some_and(|line| line.starts_with("#[") || line.ends_with(")]")) {
        end -= 1;
    }
    let mut start = end;
    while start > 0 && text(start - 1).is_some_and(|line| line.starts_with("//") && !line.starts_with("///")) {
        start -= 1;
    }
    let comment: Vec<&str> =
        lines.get(start..end)?.iter().map(|line| line.trim().trim_start_matches('/').trim()).collect();
    let comment = comment.join(" ");
    Some(comment.split_once("SAFETY:")?.1.trim().to_owned())
}

/// The text under `# Safety` in the documentation.
pub(super) fn documented(attributes: &[Attribute]) -> Option<String> {
    let lines: Vec<String> = attributes.iter().filter_map(doc_line).collect();
    let mut lines = lines.iter().map(|line| line.trim()).skip_while(|line| *line != "# Safety").skip(1);
    let part: Vec<&str> =
        lines.by_ref().take_while(|line| !line.starts_with("# ")).filter(|line| !line.is_empty()).collect();
    (!part.is_empty()).then(|| part.join(" "))
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if pair.path.is_ident("doc") => Some(text.value()),
        _ => None,
    }
}
