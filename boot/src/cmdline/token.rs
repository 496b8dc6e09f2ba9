//! A command line cut into arguments.
//!
//! Theory.      Arguments are parted by white space outside of double quotes; the first `=` parts name from value.
//!              Quotes around the whole argument or around the value are taken off; others stay. A bare `--` ends the
//!              kernel's part of the line (Linux: `next_arg`, `parse_args`).

/// One argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'a> {
    /// What stands before the `=`.
    pub name: &'a str,
    /// What stands behind it, when there is one.
    pub value: Option<&'a str>,
}

impl Token<'_> {
    /// Whether the name is `name`, `-` and `_` being the same (Linux: `parameq`).
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        let same = |a: u8, b: u8| a == b || matches!((a, b), (b'-' | b'_', b'-' | b'_'));
        self.name.len() == name.len() && self.name.bytes().zip(name.bytes()).all(|(a, b)| same(a, b))
    }
}

/// The arguments of a line, up to a bare `--`.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    /// Those of `line`.
    #[must_use]
    pub const fn new(line: &'a str) -> Self {
        Self { rest: line }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let line = self.rest.trim_ascii_start();
        let mut in_quotes = false;
        let mut equals = None;
        let mut end = line.len();
        // The first byte of an argument that is quoted as a whole is a quote, so an `=` at 0 is never a name's end.
        for (at, byte) in line.bytes().enumerate() {
            match byte {
                b'"' => in_quotes = !in_quotes,
                b'=' if at > 0 && equals.is_none() => equals = Some(at),
                byte if byte.is_ascii_whitespace() && !in_quotes => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        let (argument, rest) = line.split_at_checked(end)?;
        self.rest = rest;
        if argument.is_empty() {
            return None;
        }
        let token = match equals.and_then(|at| argument.split_at_checked(at)) {
            None => Token { name: unquoted(argument), value: None },
            Some((name, value)) => {
                let value = value.get(1..).unwrap_or_default();
                match name.strip_prefix('"') {
                    Some(name) => Token { name, value: Some(value.strip_suffix('"').unwrap_or(value)) },
                    None => Token { name, value: Some(unquoted(value)) },
                }
            }
        };
        if token == (Token { name: "--", value: None }) {
            self.rest = "";
            return None;
        }
        Some(token)
    }
}

/// `text` without a quote at its begin and, if it had one, one at its end.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').map_or(text, |inner| inner.strip_suffix('"').unwrap_or(inner))
}
