//! Faults that nobody expects: each is raised by `oops=NAME` in a boot of its own, and its report is read line by line.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use tests::qemu::{Board, End, Outcome, Run};
use tests::transcript;

/// A report: its name, and the lines that must come in this order (`…` stands for any text).
type Report = (&'static str, &'static [&'static str]);

const REPORTS: [Report; 13] = [
    (
        "null",
        &[
            "8<--- cut here ---",
            "Unable to handle kernel NULL pointer dereference at virtual address 00000000 when read",
            "pgd = …, DFSR: translation fault, first level",
            "[00000000] *pgd=00000000",
            "  first level: nothing is mapped",
            "0x00000000 lies in no area: above nothing, below modules",
            "   here: nothing is mapped",
            "  above: 0x8…",
            "Internal error: Oops: 5 [#1] SMP ARM",
            "PC is at kernel::oops::read_null+0x…/0x…",
            "LR is at kernel::…",
            "pc : [<…>]    lr : [<…>]    psr: …",
            "r3 : …  r2 : …  r1 : …  r0 : 00000000",
            "Flags: …  IRQs off  FIQs off  Mode SVC_32  ISA ARM",
            "Control: …  Table: …  DAC: 00000001",
            "Code: … (e59…)",
            "Stack: (… to …)",
            "Call trace:",
            " [<…>] kernel::oops::read_null+…",
            " [<…>] kernel::after_boot+…",
            "panic: data abort at pc …, address 0x00000000: translation fault, first level",
        ],
    ),
    (
        "write",
        &[
            "Unable to handle kernel NULL pointer dereference at virtual address 00000000 when write",
            "Internal error: Oops: 805 [#1] SMP ARM",
            "panic: data abort at pc …, address 0x00000000: translation fault, first level",
        ],
    ),
    (
        "execute",
        &[
            "Unable to handle kernel NULL pointer dereference at virtual address 00000000 when execute",
            "pgd = …, IFSR: translation fault, first level",
            "PC is at 0x00000000",
            "LR is at kernel::oops::jump+…",
            "Code: bad PC value",
            " [<00000000>] 0x00000000",
            " [<…>] kernel::oops::jump+…",
            "panic: prefetch abort at pc 0x00000000, address 0x00000000: translation fault, first level",
        ],
    ),
    (
        "text",
        &[
            "Unable to handle kernel paging request at virtual address 80100000 when write",
            "[80100000] *pgd=…, *pte=…, *ppte=…",
            "  first level: table at …, domain 0",
            "  second level: small page 0x80100000, kernel ro, x, MEM/CACHED/WBWA",
            "0x80100000 lies in lowmem, …",
            "0x80100000 lies in the image's text",
            "   here: 0x80100000-…ro x  SHD MEM/CACHED/WBWA",
            "Internal error: Oops: 80f [#1] SMP ARM",
            "panic: data abort at pc …, address 0x80100000: permission fault, second level",
        ],
    ),
    (
        "data",
        &[
            "Unable to handle kernel paging request at virtual address … when execute",
            "  second level: small page …, kernel RW, NX, MEM/CACHED/WBWA",
            "… lies in the image's stack",
            "Internal error: Oops: f [#1] SMP ARM",
            " [<…>] kernel::oops::jump+…",
            "panic: prefetch abort at pc …: permission fault, second level",
        ],
    ),
    (
        "undefined",
        &[
            "Unhandled exception: undefined instruction at pc …",
            "Internal error: Oops - undefined instruction: 0 [#1] SMP ARM",
            "PC is at kernel::oops::undefined+…",
            "Code: … (e7f000f0)",
            "panic: undefined instruction at pc …",
        ],
    ),
    (
        "svc",
        &[
            "Unhandled exception: supervisor call at pc …",
            "Internal error: Oops - bad syscall: 0 [#1] SMP ARM",
            "Code: … (ef000001)",
            "panic: supervisor call at pc …",
        ],
    ),
    (
        "stack",
        &[
            "Insufficient stack space to handle exception!",
            "boot stack: [0x…..0x…], guard page at 0x…",
            "Unable to handle kernel paging request at virtual address … when write",
            "  second level: nothing is mapped",
            "… lies in the image's guard page below a stack",
            "   here: nothing is mapped",
            "Internal error: kernel stack overflow: 807 [#1] SMP ARM",
            "PC is at kernel::oops::run_deep+…",
            "Call trace:",
            " [<…>] kernel::oops::run_deep+…",
            " ... … more of the same",
            " [<…>] kernel::after_boot+…",
            "panic: boot stack overflow: data abort at pc …: translation fault, second level",
        ],
    ),
    (
        "nested",
        &[
            "Unable to handle kernel NULL pointer dereference at virtual address 00000000 when read",
            "PC is at kernel::oops::read_null+…",
            "panic: nested fault: data abort at pc …, in the report of: data abort at pc …, address 0x00000000: …",
        ],
    ),
    (
        "deep",
        &[
            "PC is at kernel::oops::read_null+…",
            "panic: nested fault: data abort at pc …: translation fault, second level (exception stack full), in the report \
             of: data abort at pc …, address 0x00000000: translation fault, first level",
        ],
    ),
    ("caught", &["panic: nested fault: data abort at pc …, address 0x00000000: …, in the report of: panic at line …"]),
    (
        "panic",
        &[
            "Kernel panic - not syncing: oops=panic",
            "Call trace:",
            " [<…>] core::panicking::panic_fmt+…",
            " [<…>] ? kernel::oops::panics+…",
            "panic: oops=panic at kernel/src/oops.rs:…",
        ],
    ),
    ("nonsense", &["boot: oops=nonsense: not one of null, write, execute, …, panic"]),
];

/// One test a report and image.
pub(crate) fn trials(image: impl Fn(super::Profile) -> std::path::PathBuf) -> Vec<Trial> {
    let images = [("release", image(super::Profile::Release)), ("debug", image(super::Profile::Debug))];
    let trial = |(name, lines): Report, (profile, file): &(&str, std::path::PathBuf)| {
        let file = file.clone();
        Trial::test(format!("report/{profile}::{name}"), move || check(name, lines, &file).map_err(Failed::from))
    };
    REPORTS.into_iter().flat_map(|report| images.iter().map(move |image| trial(report, image))).collect()
}

fn check(name: &str, lines: &[&str], image: &Path) -> Result<(), String> {
    let board = Board::new("ast2500", "512M", 1)?;
    let outcome = Run::boot(&board, image, &format!("semihosting=on oops={name}")).semihosting().limit(30).go()?;
    transcript::compare(&lines.join("\n"), &outcome.lines)?;
    last_word(&outcome)
}

/// The report's last line is the run's, and the status is a failure.
fn last_word(outcome: &Outcome) -> Result<(), String> {
    let last = outcome.lines.iter().rfind(|line| !line.is_empty()).map_or("", String::as_str);
    if !last.starts_with("panic: ") && !last.starts_with("boot: ") {
        return Err(outcome.explain("something comes after the last word"));
    }
    if outcome.end == End::Status(1) { Ok(()) } else { Err(outcome.explain(&format!("{:?}", outcome.end))) }
}
