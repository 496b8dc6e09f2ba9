//! `/chosen`: the boot loader's word to the kernel, and the console that it or the aliases name.
//!
//! Theory.      A console is looked for in this order: `stdout-path`, `linux,stdout-path` (each a path or an alias,
//!              with `:options` behind), the alias `serialN` of the last `console=ttyXN` of the boot arguments, the
//!              alias `serial0`, and last any UART that can be driven (`survey`). A path that the loader names counts
//!              even when its node is disabled, as in Linux; a guess must be enabled.
//! Source.      Devicetree Specification 3.3, 3.6; Linux `early_init_dt_scan_chosen_stdout`, `of_setup_earlycon`.
#![forbid(unsafe_code)]

use mm::addr::{PhysAddr, PhysRange};

use super::cells::{Trail, number};
use super::report::Value;
use super::{Path, ValidFdt};

use super::tree::{StrList, until_nul};
use crate::info::Stdout;

impl<'a> ValidFdt<'a> {
    /// `/chosen/bootargs`; empty without one. What begins with the first byte that is not UTF-8 is left out.
    #[must_use]
    pub fn bootargs(&self) -> &'a str {
        let value = self.chosen_value("bootargs").map(until_nul).unwrap_or_default();
        let valid = core::str::from_utf8(value).map_or_else(|error| error.valid_up_to(), str::len);
        value.get(..valid).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// The initial RAM disk: `linux,initrd-start` up to `linux,initrd-end`, each of one or two cells whatever the
    /// root's are; `None` when they make no range. Linux: `early_init_dt_check_for_initrd`.
    #[must_use]
    pub fn initrd(&self) -> Option<PhysRange> {
        let start = number(self.chosen_value("linux,initrd-start")?)?;
        let end = number(self.chosen_value("linux,initrd-end")?)?;
        (start < end).then(|| PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)))
    }

    /// The value of a property of `/chosen`.
    pub(super) fn chosen_value(&self, name: &str) -> Option<&'a [u8]> {
        self.node(self.landmarks.chosen)?.property(name)
    }

    /// Logs what of `/chosen` is left out, but for the console's path.
    pub(super) fn report_chosen(&self) {
        let given = self.chosen_value("bootargs").map(until_nul).unwrap_or_default();
        let text = self.bootargs().len();
        if text < given.len() {
            log::warn!("OF: fdt: /chosen: bootargs is not UTF-8 at byte {text}, ignoring the rest");
        }
        let edges = (self.chosen_value("linux,initrd-start"), self.chosen_value("linux,initrd-end"));
        if let (Some(start), Some(end)) = edges
            && self.initrd().is_none()
            && (number(start), number(end)) != (Some(0), Some(0))
        {
            let (start, end) = (Value(start), Value(end));
            log::warn!(
                "OF: fdt: /chosen: linux,initrd-start ({start}) to linux,initrd-end ({end}) is no range, ignoring"
            );
        }
        if let Some(ranges) = self.chosen_value("linux,usable-memory-range")
            && !ranges.len().is_multiple_of(self.pair_bytes())
        {
            log::warn!("OF: fdt: /chosen: linux,usable-memory-range of {} bytes, ignoring", ranges.len());
        }
    }

    /// The console that `/chosen` or the aliases name.
    pub(super) fn named_stdout(&self) -> Option<Stdout<'a>> {
        let chosen = self.node(self.landmarks.chosen);
        for name in ["stdout-path", "linux,stdout-path"] {
            let Some(text) = chosen.and_then(|node| node.text(name)) else { continue };
            let (path, options) = text.split_once(':').unwrap_or((text, ""));
            let stdout = self.trail_or_alias(path).and_then(|trail| console(&trail, options));
            if stdout.is_some() {
                return stdout;
            }
            log::warn!("OF: fdt: /chosen: {name} \"{}\" leads to no device, ignoring", Path::from(text));
        }
        let numbered = console_number(self.bootargs());
        [numbered, Some(0)].into_iter().flatten().find_map(|number| self.serial(number))
    }

    /// The enabled device behind alias `serial<number>`.
    fn serial(&self, number: u32) -> Option<Stdout<'a>> {
        let alias = self.node(self.landmarks.aliases)?.properties().find(|property| {
            property.name().strip_prefix("serial").and_then(|digits| digits.parse().ok()) == Some(number)
        })?;
        let path = core::str::from_utf8(until_nul(alias.value)).ok()?;
        let trail = self.trail(path)?;
        trail.last()?.is_enabled().then(|| console(&trail, ""))?
    }

    /// The node at a path that is absolute or begins with an alias.
    fn trail_or_alias(&self, path: &str) -> Option<Trail<'a>> {
        if path.starts_with('/') {
            return self.trail(path);
        }
        let (alias, below) = path.split_once('/').unwrap_or((path, ""));
        let mut trail = self.trail(self.node(self.landmarks.aliases)?.text(alias)?)?;
        trail.descend(below).then_some(trail)
    }
}

/// The device at a trail's end as a console; `None` when the CPU cannot reach it.
pub(super) fn console<'a>(trail: &Trail<'a>, options: &'a str) -> Option<Stdout<'a>> {
    let node = trail.last()?;
    let mut reg = trail.first_reg()?;
    reg.start = reg.start.saturating_add(u64::from(node.cell("reg-offset").unwrap_or(0)));
    Some(Stdout {
        path: trail.path(),
        options,
        compatible: StrList(node.property("compatible").unwrap_or_default()),
        reg,
        reg_shift: node.cell("reg-shift").unwrap_or(0),
        reg_io_width: node.cell("reg-io-width").unwrap_or(1),
        clock: node.cell("clock-frequency"),
    })
}

/// N of the last `console=ttyXN` (X: letters, N: digits) in the boot arguments.
fn console_number(bootargs: &str) -> Option<u32> {
    let consoles = bootargs.split_ascii_whitespace().rev().filter_map(|word| word.strip_prefix("console=tty"));
    consoles
        .filter_map(|tty| {
            let device = tty.split(',').next()?;
            let digits = device.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            (digits.len() < device.len()).then(|| digits.parse().ok())?
        })
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_console_argument_with_letters_and_a_number_counts() {
        assert_eq!(console_number("console=ttyS4,115200n8 root=/dev/ram"), Some(4));
        assert_eq!(console_number("console=ttyS4 console=ttyAMA1"), Some(1));
        assert_eq!(console_number("console=ttyS4 console=tty0"), Some(4));
        assert_eq!(console_number("xconsole=ttyS4 console=ttyS"), None);
    }
}
