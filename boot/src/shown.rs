//! Text from outside on its way into the log.
#![forbid(unsafe_code)]

use core::fmt::{self, Write};

/// A boot loader's text as one line of log shows it: control characters are `?`.
///
/// A line end inside a boot argument would begin a line of the log that nobody logged.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| f.write_char(if char.is_control() { '?' } else { char }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_in_a_text_does_not_end_the_line_of_the_log() {
        assert_eq!(format!("{}", Shown("a\nb\rc\u{1b}[2Jd é")), "a?b?c?[2Jd é");
    }
}
