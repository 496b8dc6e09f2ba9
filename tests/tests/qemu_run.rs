//! `qemu-run.sh` itself: what it refuses, its verdicts on every way to end, and the figures of its bench.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as the test does")]

use std::process::{Command, Output};

use tests::dummy::{Ending, image};
use tests::scratch_file;

/// Instructions from entry to the `Memory:` line that a boot may take, and instructions a page.
const LIMITS: [(&str, f64); 2] = [("boot_512M", 4e6), ("boot_2G", 12e6)];
const PAGE_LIMIT: f64 = 16.0;

fn qemu_run(args: &[&str]) -> Output {
    Command::new(tests::root().join("qemu-run.sh")).args(args).output().unwrap()
}

/// Runs a stand-in image; its status and the last line of its output.
fn verdict_on(name: &str, text: &str, ending: Ending, args: &[&str]) -> (Option<i32>, String) {
    let file = scratch_file(&format!("{name}.bin"), &image(text, ending)).unwrap();
    let output = qemu_run(&[&["--image", file.to_str().unwrap(), "--timeout", "10"], args].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    (output.status.code(), text.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn a_wrong_call_is_told_in_one_line_and_ends_with_status_2() {
    let wrong: [&[&str]; 13] = [
        &["frobnicate"],
        &["--frobnicate"],
        &["--board", "toaster"],
        &["--board"],
        &["--mem", "lots"],
        &["--mem=0"],
        &["--board", "raspi2b", "--mem", "512M"],
        &["--smp", "0"],
        &["--smp", "5"],
        &["--timeout", "soon"],
        &["--dtb", "/nowhere"],
        &["boot", "bench"],
        &["monitor"],
    ];
    for args in wrong {
        let output = qemu_run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn help_is_a_page_that_names_every_option() {
    let output = qemu_run(&["--help"]);
    let page = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    for option in
        ["--board", "--smp", "--mem", "--dtb", "--initrd", "--append", "--debug", "--core", "--icount", "--timeout"]
    {
        assert!(page.contains(option), "{option}");
    }
}

#[test]
fn a_passing_image_gives_status_0() {
    let text = "[    0.000001] hello\nselftest a ... ok\n1 passed, 0 failed\n";
    assert_eq!(verdict_on("passes", text, Ending::Success, &[]), (Some(0), "1 passed, 0 failed".to_owned()));
}

#[test]
fn each_failure_gives_its_reason_in_the_last_line() {
    let passed = "1 passed, 0 failed\n";
    let cases = [
        ("fails", "selftest a ... FAILED\n0 passed, 1 failed\n", Ending::Failure, 1, "0 passed, 1 failed"),
        ("panics", "[    0.5] panic: at the disco\n", Ending::Failure, 1, "panic: at the disco"),
        ("panics-and-stays", "panic: at the disco\n", Ending::Hang, 1, "panic: at the disco"),
        ("panics-late", "1 passed, 0 failed\npanic: late\n", Ending::Success, 1, "panic: late"),
        ("stops", "boot: no memory\n", Ending::Failure, 1, "boot: no memory"),
        ("stops-and-stays", "boot: no memory\n", Ending::Hang, 1, "boot: no memory"),
        ("silent", "", Ending::Success, 1, "no verdict"),
        ("dies", "", Ending::Failure, 1, "status 1"),
        ("passes-and-fails", passed, Ending::Failure, 1, "status 1"),
        ("passes-and-stays", passed, Ending::Hang, 1, "did not end"),
        ("hangs", "hello\n", Ending::Hang, 124, "10 s"),
    ];
    for (name, text, ending, status, reason) in cases {
        let (code, last) = verdict_on(name, text, ending, &[]);
        assert_eq!(code, Some(status), "{name}: {last}");
        assert!(last.starts_with("FAILED: ") && last.contains(reason), "{name}: {last}");
    }
}

#[test]
fn a_qemu_that_does_not_start_gives_its_own_reason() {
    let manifest = tests::root().join("Cargo.toml");
    let (code, last) = verdict_on("no-start", "", Ending::Success, &["--dtb", manifest.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(last.contains("dtb"), "{last}");
}

#[test]
fn without_semihosting_the_closing_line_is_the_verdict() {
    let args = ["--append", "semihosting=off"];
    let (code, last) = verdict_on("uart-only", "3 passed, 0 failed\n", Ending::Hang, &args);
    assert_eq!((code, last.as_str()), (Some(0), "3 passed, 0 failed"));
}

#[test]
fn the_default_run_boots_the_ast2500_board_and_passes() {
    let output = qemu_run(&[]);
    let log = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{log}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(log.trim_end().ends_with(" passed, 0 failed"), "{log}");
}

#[test]
fn the_bench_stays_within_its_limits_and_repeats_exactly() {
    let first = figures();
    for (name, limit) in LIMITS {
        let (_, count) = first.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name} in {first:?}"));
        assert!(*count <= limit, "{name}: {count} > {limit}");
    }
    let of = |name: &str| first.iter().find(|(n, _)| n == name).map(|(_, count)| *count);
    let memmap = of("memmap_page").unwrap();
    for handover in ["handover_page", "handover_highmem_page"] {
        let sum = memmap + of(handover).unwrap();
        assert!(sum <= PAGE_LIMIT, "memmap_page + {handover}: {sum} > {PAGE_LIMIT}");
    }
    assert_eq!(first, figures());
}

/// The bench's lines as names and counts.
fn figures() -> Vec<(String, f64)> {
    let output = qemu_run(&["bench", "--icount"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let figure = |line: &str| {
        let mut words = line.split('\t');
        assert_eq!(words.next(), Some("bench"), "{line}");
        (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap())
    };
    text.lines().map(figure).collect()
}
