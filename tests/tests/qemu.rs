//! Boots the image under QEMU and lists every in-kernel self-test by name, configuration by configuration.
//!
//! Names.       `ast2500/512M/release::boot` the run as a whole; `…::NAME` one self-test in it; `…::transcript` its log
//!              held against `reference/`; `malformed::NAME` one wrong device tree; `report/release::NAME` one fault
//!              that nobody expects.
//! Images.      Built by `scripts/build.sh`, unless `QUIRE_IMAGES` names a folder with `release/quire.bin` and
//!              `debug/quire.bin`. `QUIRE_LONG` set: more configurations.
//! Order.       Which self-tests there are is known only after a boot, so the configurations run before the list is
//!              made, two at a time; the malformed trees run as ordinary tests, two at a time.

#[path = "qemu/configurations.rs"]
mod configurations;
#[path = "qemu/reports.rs"]
mod reports;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use configurations::{Configuration, Profile, configurations};
use libtest_mimic::{Arguments, Failed, Trial};
use tests::malformed::{Case, Fate, Given};
use tests::qemu::{Board, End, Outcome, Run};
use tests::{malformed, place, scratch_file, transcript};

/// Runs at a time.
const PARALLEL: usize = 2;
/// What every run ends with: the last tables are those that the CPU translates by.
const TABLES_AGREE: &str = "entries agree with the CPU's translation";
/// The number of the vexpress machines in r1.
const VEXPRESS: u32 = 0x8e0;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(PARALLEL);
    let images = match images() {
        Ok(images) => images,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = boot_all(&chosen(&arguments), &images);
    trials.extend(malformed_trials(&images));
    trials.extend(faulting_bus_trials(&images));
    trials.extend(sparse_node_trials(&images));
    trials.extend(reports::trials(|profile| image(&images, profile)));
    trials.extend(planted_trials(&images));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The images' folder, with both built.
fn images() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("QUIRE_IMAGES") {
        return Ok(folder.into());
    }
    let script = tests::root().join("scripts/build.sh");
    for profile in [&[][..], &["--debug"]] {
        let status = Command::new(&script).args(profile).status().map_err(|e| format!("{}: {e}", script.display()))?;
        if !status.success() {
            return Err("the image does not build".to_owned());
        }
    }
    Ok(tests::root().join("build"))
}

fn image(images: &Path, profile: Profile) -> PathBuf {
    images.join(profile.folder()).join("quire.bin")
}

/// The configurations that the filter may be about: it can name one, a part of one, or a self-test in any.
fn chosen(arguments: &Arguments) -> Vec<Configuration> {
    let long = std::env::var_os("QUIRE_LONG").is_some();
    let wanted = |name: &str| match &arguments.filter {
        Some(filter) if ["malformed", "report/", "planted::"].iter().any(|own| filter.contains(own)) => false,
        Some(filter) if filter.contains('/') => name.contains(filter.as_str()) || filter.starts_with(name),
        _ => true,
    };
    configurations().into_iter().filter(|c| wanted(c.name) && (long || !c.long)).collect()
}

/// Boots every configuration, two at a time, and makes its tests.
fn boot_all(configurations: &[Configuration], images: &Path) -> Vec<Trial> {
    let queue = Mutex::new(configurations.iter().enumerate());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                let next = || queue.lock().ok().and_then(|mut queue| queue.next());
                while let Some((at, configuration)) = next() {
                    let outcome = boot(configuration, images);
                    if let Ok(mut done) = done.lock() {
                        done.push((at, configuration, outcome));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(at, ..)| *at);
    done.into_iter().flat_map(|(_, configuration, outcome)| trials_of(configuration, outcome)).collect()
}

/// One boot as the configuration asks for.
fn boot(configuration: &Configuration, images: &Path) -> Result<Outcome, String> {
    let board = Board::new(configuration.board, configuration.mem, configuration.smp)?;
    let mut file = image(images, configuration.profile);
    if let Some(address) = configuration.load_at {
        let bytes = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let name = format!("quire-{}-{address:x}.uimage", configuration.profile.folder());
        file = scratch_file(&name, &place::uimage(&bytes, address)?)?;
    }
    let switch = if configuration.semihosting { "on" } else { "off" };
    let bootargs = format!("semihosting={switch} {}", configuration.append);
    let run = Run::boot(&board, &file, bootargs.trim_end()).machine_option(configuration.machine_option);
    let run = if configuration.semihosting { run.semihosting() } else { run.until(ends_the_story) };
    run.limit(configuration.limit).go()
}

/// Tests that leave the tables as no test may: the run must fail, and say why.
fn planted_trials(images: &Path) -> Vec<Trial> {
    const UNSOUND: &str = "leaves tables that are not sound";
    const DIFFER: &str = "page tables: not those that the CPU translates by ... FAILED";
    let cases = [
        ("a_planted_section_is_writable_and_executable", UNSOUND, "0xff700000 is writable and executable"),
        ("a_planted_alias_makes_text_writable", UNSOUND, "is writable and executable: once at 0xff700000"),
        ("a_planted_manager_domain_makes_all_rights_void", DIFFER, "the tables say"),
    ];
    let file = image(images, Profile::Release);
    let trial = |(name, verdict, why): (&'static str, &'static str, &'static str)| {
        let file = file.clone();
        let run = move || check_planted(name, [verdict, why], &file).map_err(Failed::from);
        Trial::test(format!("planted::{name}"), run)
    };
    cases.into_iter().map(trial).collect()
}

fn check_planted(name: &str, says: [&str; 2], image: &Path) -> Result<(), String> {
    let board = Board::new("ast2500", "512M", 1)?;
    let args = format!("semihosting=on selftest={name}");
    let outcome = Run::boot(&board, image, &args).semihosting().limit(30).go()?;
    for wanted in says {
        if outcome.line_with(&[wanted.to_owned()]).is_none() {
            return Err(outcome.explain(&format!("no line with \"{wanted}\"")));
        }
    }
    let is_failure = outcome.verdict().is_some_and(|(_, failed)| failed > 0) && outcome.end == End::Status(1);
    if is_failure { Ok(()) } else { Err(outcome.explain("the run did not fail")) }
}

/// The line after which an image without semihosting has nothing more to say.
fn ends_the_story(line: &str) -> bool {
    tests::qemu::verdict(line).is_some() || line.starts_with("panic:")
}

/// The tests that one boot has decided.
fn trials_of(configuration: &Configuration, outcome: Result<Outcome, String>) -> Vec<Trial> {
    let name = configuration.name;
    let decided = |what: &str, result: Result<(), String>| {
        Trial::test(format!("{name}::{what}"), move || result.map_err(Failed::from))
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(reason) => return vec![decided("boot", Err(reason))],
    };
    let mut trials = vec![decided("boot", check_boot(configuration, &outcome))];
    if let Some(reference) = configuration.reference {
        trials.push(decided("transcript", check_transcript(reference, &outcome)));
    }
    if configuration.list {
        trials.extend(outcome.selftests().into_iter().map(|test| {
            let reason = format!("selftest {}", test.name);
            decided(&test.name, if test.passed { Ok(()) } else { Err(outcome.explain(&reason)) })
        }));
    }
    trials
}

fn check_boot(configuration: &Configuration, outcome: &Outcome) -> Result<(), String> {
    outcome.check_passed()?;
    let listed = outcome.selftests().len();
    let counted = outcome.verdict().map_or(0, |(passed, failed)| (passed + failed) as usize);
    if listed != counted {
        return Err(outcome.explain(&format!("{listed} self-tests listed, {counted} counted")));
    }
    for said in configuration.says.iter().chain(&[TABLES_AGREE]) {
        if outcome.line_with(&[(*said).to_owned()]).is_none() {
            return Err(outcome.explain(&format!("no line with \"{said}\"")));
        }
    }
    Ok(())
}

fn check_transcript(reference: &str, outcome: &Outcome) -> Result<(), String> {
    let path = tests::root().join("tests/reference").join(reference);
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    transcript::compare(&text, &outcome.lines)?;
    transcript::compare_page_tables(&text, &outcome.lines)
}

/// One test a wrong tree; one that fails when the trees cannot be made.
fn malformed_trials(images: &Path) -> Vec<Trial> {
    let cases = match malformed::cases("semihosting=on selftest=every_invariant_holds") {
        Ok(cases) => cases,
        Err(reason) => return vec![Trial::test("malformed::cases", move || Err(Failed::from(reason)))],
    };
    let file = image(images, Profile::Release);
    let trial = |case: Case| {
        let file = file.clone();
        Trial::test(format!("malformed::{}", case.name), move || run_case(&case, &file).map_err(Failed::from))
    };
    cases.into_iter().map(trial).collect()
}

/// Absent RAM on a machine whose bus answers it with an abort, where vexpress swallows the access.
fn faulting_bus_trials(images: &Path) -> Vec<Trial> {
    /// Where the image runs: the bank that is there.
    const THERE: &str = "memory@40000000 { device_type = \"memory\"; reg = <0x40000000 0x20000000>; };";
    let bank = |name: &str, range: &str| format!("memory@{name} {{ device_type = \"memory\"; reg = <{range}>; }};");
    let cases = [
        (
            "bank-above",
            format!("{THERE} {}", bank("80000000", "0x80000000 0x10000000")),
            Fate::Boots,
            "memory@80000000",
        ),
        (
            "bank-below",
            format!("{} {THERE}", bank("b000000", "0x0b000000 0x01000000")),
            Fate::Boots,
            "Ignoring memory block 0xb000000 - 0xc000000",
        ),
        ("bank-longer", bank("40000000", "0x40000000 0x30000000"), Fate::Boots, "it ends at 0x60000000"),
        ("r2-into-the-void", String::new(), Fate::Stops, "device tree"),
    ];
    let file = image(images, Profile::Release);
    let trial = |(name, banks, fate, says): (&str, String, Fate, &str)| {
        let title = format!("faulting-bus::{name}");
        let (file, name, says) = (file.clone(), name.to_owned(), says.to_owned());
        let run = move || {
            let given = if banks.is_empty() {
                Given::Raw(0x1000_0000)
            } else {
                Given::Blob(virt_tree(&banks, "every_invariant_holds")?)
            };
            run_on_virt(&Case { name, given, fate, says: vec![says] }, &file)
        };
        Trial::test(title, move || run().map_err(Failed::from))
    };
    cases.into_iter().map(trial).collect()
}

/// Nodes with numbers that QEMU would not give: its own trees count from 0 without gaps.
fn sparse_node_trials(images: &Path) -> Vec<Trial> {
    let cpu = |node: u32| {
        format!(
            "cpus {{ #address-cells = <1>; #size-cells = <0>;
             cpu@0 {{ device_type = \"cpu\"; reg = <0>; numa-node-id = <{node}>; }}; }};"
        )
    };
    let bank = |start: &str, size: &str, node: u32| {
        format!("memory@{start} {{ device_type = \"memory\"; reg = <0x{start} {size}>; numa-node-id = <{node}>; }};")
    };
    let distances = |matrix: &str| {
        format!("distance-map {{ compatible = \"numa-distance-map-v1\"; distance-matrix = <{matrix}>; }};")
    };
    // Node 3 is nearer than node 0, which comes first in memory and by number.
    let banks = |first: u32| {
        [bank("40000000", "0x0a000000", first), bank("4a000000", "0x0a000000", 0), bank("54000000", "0x0c000000", 3)]
            .concat()
    };
    let cases = [
        (
            "helps-by-distance",
            banks(1) + &cpu(1) + &distances("1 0 40 1 3 15 0 3 25"),
            "node 1 is full: node 3 helps out",
        ),
        ("higher-number-first", banks(1) + &cpu(1), "node 1 is full: node 3 helps out"),
        ("without-memory", banks(0) + &cpu(2) + &distances("2 0 40 2 3 15"), "node 2 has no memory: node 3 helps out"),
        ("memoryless", banks(0) + &cpu(2), "Initmem setup node 2 as memoryless"),
    ];
    let file = image(images, Profile::Release);
    let trial = |(name, nodes, says): (&str, String, &str)| {
        let title = format!("sparse-nodes/{name}");
        let (file, name, says) = (file.clone(), format!("nodes-{name}"), says.to_owned());
        let run = move || {
            let given = Given::Blob(virt_tree(&nodes, "node,every_invariant_holds")?);
            run_on_virt(&Case { name, given, fate: Fate::Boots, says: vec![says] }, &file)
        };
        Trial::test(title, move || run().map_err(Failed::from))
    };
    cases.into_iter().map(trial).collect()
}

/// The least tree for QEMU's `virt` machine, with these banks.
fn virt_tree(banks: &str, selftests: &str) -> Result<Vec<u8>, String> {
    tests::tree::compile(&format!(
        "/dts-v1/; / {{ #address-cells = <1>; #size-cells = <1>; model = \"virt\"; {banks}
         chosen {{ stdout-path = \"/uart@9000000\"; bootargs = \"semihosting=on selftest={selftests}\"; }};
         uart@9000000 {{ compatible = \"arm,pl011\"; reg = <0x09000000 0x1000>; }}; }};"
    ))
}

fn run_on_virt(case: &Case, image: &Path) -> Result<(), String> {
    // QEMU puts a tree of its own at the start of RAM.
    const IMAGE: u32 = 0x4201_0000;
    const TREE: u32 = 0x4800_0000;
    const STUB: u32 = 0x4700_0000;
    let board = Board::new("virt", "512M", 1)?;
    let run = Run::on(&board).semihosting().limit(30).load(image, IMAGE).start_at(STUB);
    let (run, r2) = match &case.given {
        Given::Blob(bytes) => (run.load(&scratch_file(&format!("virt-{}.dtb", case.name), bytes)?, TREE), TREE),
        Given::Raw(r2) => (run, *r2),
    };
    let stub = scratch_file(&format!("virt-{}.stub", case.name), &place::stub(u32::MAX, r2, IMAGE))?;
    check_case(case, &run.load(&stub, STUB).go()?)
}

/// Boots a wrong tree through loader and stub: QEMU itself would refuse it, or mend it.
fn run_case(case: &Case, image: &Path) -> Result<(), String> {
    const IMAGE: u32 = 0x8001_0000;
    const TREE: u32 = 0x8800_0000;
    const STUB: u32 = 0x8000_0000;
    let board = Board::new("ast2500", "512M", 1)?;
    let run = Run::on(&board).semihosting().limit(30).load(image, IMAGE).start_at(STUB);
    let (run, r2) = match &case.given {
        Given::Blob(bytes) => (run.load(&scratch_file(&format!("{}.dtb", case.name), bytes)?, TREE), TREE),
        Given::Raw(r2) => (run, *r2),
    };
    let stub = scratch_file(&format!("{}.stub", case.name), &place::stub(VEXPRESS, r2, IMAGE))?;
    check_case(case, &run.load(&stub, STUB).go()?)
}

fn check_case(case: &Case, outcome: &Outcome) -> Result<(), String> {
    if let Some(line) = outcome.panicked() {
        return Err(outcome.explain(line));
    }
    if outcome.line_with(&case.says).is_none() {
        return Err(outcome.explain(&format!("no line with all of {:?}", case.says)));
    }
    match case.fate {
        Fate::Stops => check_stopped(case, outcome),
        Fate::Boots => outcome.check_passed(),
        Fate::Ends if outcome.verdict().is_some() => outcome.check_passed(),
        Fate::Ends => check_stopped(case, outcome),
    }
}

/// A stop is a line that begins with `boot:` and tells the fault, and status 1.
fn check_stopped(case: &Case, outcome: &Outcome) -> Result<(), String> {
    let mut wanted = vec!["boot:".to_owned()];
    wanted.extend_from_slice(&case.says);
    match (outcome.line_with(&wanted), outcome.end) {
        (None, _) => Err(outcome.explain(&format!("no 'boot:' line with all of {:?}", case.says))),
        (Some(line), _) if !line.starts_with("boot:") => Err(outcome.explain("'boot:' does not begin its line")),
        (Some(_), End::Status(1)) if outcome.verdict().is_none() => Ok(()),
        (Some(_), end) => Err(outcome.explain(&format!("not a stop with status 1: {end:?}"))),
    }
}
