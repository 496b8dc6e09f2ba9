//! Every device tree of a Linux release, read by us, by `dtc` and by the `fdt` crate: all must say the same.
//!
//! `QUIRE_DTB_DIR` names the folder of blobs. Without it the tests show as ignored.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use boot::fdt::builder::Blob;
use boot::fdt::{Node, ValidFdt, validate};
use boot::info::BootInfo;
use boot::testing::Board;
use libtest_mimic::{Arguments, Failed, Trial};
use mm::addr::{PhysAddr, PhysRange};
use tests::blob::{BEGIN_NODE, Blob as Mutable, END_NODE, Field, PROP};
use tests::dtb;

fn main() {
    let arguments = Arguments::from_args();
    let list = match std::env::var_os("QUIRE_DTB_DIR").map(PathBuf::from) {
        Some(folder) => blobs(&folder).map_or_else(|error| vec![broken(error)], |blobs| trials(&blobs)),
        None => trials(&[]).into_iter().map(|trial| trial.with_ignored_flag(true)).collect(),
    };
    if list.iter().any(Trial::has_ignored_flag) {
        eprintln!("real_device_trees: ignored, because QUIRE_DTB_DIR does not name a folder of device trees");
    }
    // The crate panics on some trees: that is counted, and need not fill the screen.
    std::panic::set_hook(Box::new(|_| ()));
    libtest_mimic::run(&arguments, list).exit();
}

type Outcome = Result<(), String>;

/// A test that runs `check` over all blobs, and `last` behind them.
fn trial(
    name: &str,
    blobs: &[PathBuf],
    check: fn(&Path, &ValidFdt<'_>) -> Outcome,
    last: fn(usize) -> Outcome,
) -> Trial {
    let blobs = blobs.to_vec();
    Trial::test(name, move || {
        let mut failures: Vec<String> = blobs.iter().filter_map(|file| with(file, check).err()).collect();
        failures.extend(last(blobs.len()).err());
        if failures.is_empty() {
            return Ok(());
        }
        Err(Failed::from(format!("{} of {} trees:\n{}", failures.len(), blobs.len(), failures.join("\n"))))
    })
}

fn trials(blobs: &[PathBuf]) -> Vec<Trial> {
    vec![
        trial("every_real_tree_is_valid_and_reads_as_dtc_reads_it", blobs, same_tree, |_| Ok(())),
        trial("memory_reservations_and_chosen_of_every_real_tree_are_what_dtc_says", blobs, same_facts, |_| Ok(())),
        trial("every_real_tree_boots_on_its_own_ram_or_says_why_not", blobs, boots, most_boot),
        trial("the_fdt_crate_agrees_on_every_real_tree_that_it_can_read", blobs, same_as_crate, crate_was_of_use),
    ]
}

fn broken(error: String) -> Trial {
    Trial::test("the_folder_of_real_trees_can_be_read", || Err(Failed::from(error)))
}

fn blobs(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut blobs: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "dtb")).collect();
    blobs.sort();
    if blobs.is_empty() { Err(format!("{}: no *.dtb", folder.display())) } else { Ok(blobs) }
}

/// Validates the blob in `file` and runs `check` on it.
fn with(file: &Path, check: fn(&Path, &ValidFdt<'_>) -> Outcome) -> Outcome {
    let result = std::fs::read(file).map_err(|e| e.to_string()).and_then(|bytes| {
        let blob = Blob::new(&bytes);
        validate(&blob).map_err(|e| e.to_string()).and_then(|fdt| check(file, &fdt))
    });
    result.map_err(|error| format!("{}: {error}", file.display()))
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, theirs: T) -> Outcome {
    if ours == theirs { Ok(()) } else { Err(format!("{what}: ours {ours:x?}, theirs {theirs:x?}")) }
}

fn properties(node: &Node<'_>) -> Vec<(String, Vec<u8>)> {
    node.properties().map(|property| (property.name().to_owned(), property.value.to_vec())).collect()
}

fn same_tree(file: &Path, fdt: &ValidFdt<'_>) -> Outcome {
    same_node(&fdt.root(), &dtb::read(file)?.root)
}

fn same_node(ours: &Node<'_>, theirs: &dtb::Node) -> Outcome {
    equal("name", ours.name(), theirs.name.as_str())?;
    equal(&theirs.name, &properties(ours), &theirs.properties)?;
    let children: Vec<_> = ours.children().collect();
    equal(&theirs.name, children.len(), theirs.children.len())?;
    children.iter().zip(&theirs.children).try_for_each(|(ours, theirs)| same_node(ours, theirs))
}

fn pair(range: PhysRange) -> (u64, u64) {
    (range.start.raw(), range.size())
}

fn same_facts(file: &Path, fdt: &ValidFdt<'_>) -> Outcome {
    let theirs = dtb::read(file)?;
    equal("memory", fdt.memory_banks().map(|bank| pair(bank.range)).collect(), theirs.memory())?;
    equal("memory-reserve map", fdt.reserve_map().map(pair).collect(), theirs.reserve_map.clone())?;
    let reserved = fdt.reserved_memory().map(|node| (node.name.to_owned(), node.reg.map(pair).collect(), node.size));
    equal("reserved-memory", reserved.collect(), theirs.reserved_memory())?;

    let info = BootInfo::parse(fdt);
    let chosen = theirs.root.child("chosen");
    let text = |name| chosen.and_then(|node| node.text(name));
    equal("bootargs", info.bootargs, &text("bootargs").unwrap_or_default())?;
    equal("model", info.model, &theirs.root.text("model").unwrap_or_else(|| info.model.to_owned()))?;
    if let Some(path) = text("stdout-path") {
        let (path, options) = path.split_once(':').unwrap_or((&path, ""));
        let alias = theirs.root.child("aliases").and_then(|node| node.text(path));
        let stdout = info.stdout.ok_or("stdout-path leads to nothing")?;
        equal("stdout", stdout.path.as_str(), alias.as_deref().unwrap_or(path))?;
        equal("options", stdout.options, options)?;
    }
    let cpus = theirs.root.child("cpus").map_or(&[][..], |node| &node.children);
    let is_cpu = |node: &&dtb::Node| node.text("device_type").as_deref() == Some("cpu");
    // A few processors older than ARMv7 have no number.
    let cpus = cpus.iter().filter(is_cpu).filter(|node| node.property("reg").is_some());
    equal("processors", info.cpus.found(), cpus.count())
}

/// The memory of boards that were checked to the last page.
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Trees that did not boot.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Boots the tree on a machine that has the RAM that it names.
fn boots(file: &Path, fdt: &ValidFdt<'_>) -> Outcome {
    let below = PhysRange::new(PhysAddr::ZERO, PhysAddr::new(1 << 32));
    let named = fdt.memory_banks().map(|bank| bank.range.intersection(below));
    let mut ram: Vec<PhysRange> = named.filter(|range| range.size() >= MEBIBYTE).collect();
    let mut bytes = std::fs::read(file).map_err(|e| e.to_string())?;
    if ram.is_empty() {
        // Its loader would fill it in.
        ram = vec![PhysRange::new(PhysAddr::new(0x8000_0000), PhysAddr::new(0xa000_0000))];
        bytes = with_memory(fdt, bytes, 0x8000_0000, 0x2000_0000);
    }
    let run = Board::new(&ram, &bytes).boot().map_err(|refusal| format!("{ram:x?}: {refusal}"))?;
    // Boards of one family share their memory: every page is allocated on the first of them.
    let memory =
        format!("{ram:x?} {:x?}", run.fdt.reserved_memory().map(|node| (node.name, node.reg)).collect::<Vec<_>>());
    let is_new = SEEN.lock().is_ok_and(|mut seen| seen.insert(memory));
    let checked = if is_new { run.check() } else { run.check_state() };
    let checked = checked.map_err(|error| format!("{error}\n{}", run.log.join("\n")));
    let refused = run.outcome.as_ref().err().map(ToString::to_string);
    // SAFETY: only strings and numbers were taken out of it.
    unsafe { run.reclaim() }
    match refused {
        Some(line) if is_plausible(&line, &ram) => {
            eprintln!("{}: {line}", file.display());
            REFUSED.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        _ => checked.map(|_| ()),
    }
}

/// A bank smaller than this is a piece of SRAM or a mistake.
const MEBIBYTE: u64 = 1 << 20;

/// Whether a machine with `ram` may stop with `line`.
fn is_plausible(line: &str, ram: &[PhysRange]) -> bool {
    let total: u64 = ram.iter().map(|range| range.size()).sum();
    total <= 4 * MEBIBYTE && line.starts_with("too little RAM")
}

fn most_boot(trees: usize) -> Outcome {
    let refused = REFUSED.load(Ordering::Relaxed);
    if refused * 20 < trees.max(1) { Ok(()) } else { Err(format!("{refused} of {trees} do not boot")) }
}

/// The blob with one more node of memory, just before the root's end.
fn with_memory(fdt: &ValidFdt<'_>, bytes: Vec<u8>, start: u32, size: u32) -> Vec<u8> {
    let cells = |name| fdt.root().properties().find(|p| p.name() == name).map_or(1, |p| usize::from(p.value[3]));
    let wide = |count: usize, value: u32| [vec![0; count - 1], vec![value]].concat();
    let reg = [wide(cells("#address-cells"), start), wide(cells("#size-cells"), size)].concat();
    let blob = Mutable(bytes);
    let strings = blob.field(Field::OffDtStrings);
    let names = blob.0[strings..strings + blob.field(Field::SizeDtStrings)].to_vec();
    let (device_type, reg_name) = (names.len(), names.len() + "device_type\0".len());
    let names = [&names[..], b"device_type\0reg\0"].concat();
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let word = u32::from_be_bytes;
    let node = [word(*b"memo"), word(*b"ry@8"), word(*b"0000"), word(*b"000\0")];
    let memory = [word(*b"memo"), word(*b"ry\0\0")];
    let mut tokens: Vec<u32> = [&[BEGIN_NODE][..], &node, &[PROP, 7, number(device_type)], &memory].concat();
    tokens.extend([PROP, number(4 * reg.len()), number(reg_name)]);
    tokens.extend(&reg);
    tokens.push(END_NODE);
    let at: Vec<usize> = blob.tokens().collect();
    let first = at[0];
    let last = at[at.len() - 2];
    let words = |range: std::ops::Range<usize>| range.step_by(4).map(|at| blob.get(at)).collect::<Vec<_>>();
    let structure = [words(first..last), tokens, words(last..at[at.len() - 1] + 4)].concat();
    let mut blob = blob.with_structure(&structure);
    let strings = blob.0.len();
    blob.0.extend_from_slice(&names);
    let total = blob.0.len();
    blob.with_field(Field::OffDtStrings, number(strings))
        .with_field(Field::SizeDtStrings, number(names.len()))
        .with_field(Field::TotalSize, number(total))
        .0
}

/// Trees on which the crate panicked.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Compares with the crate's answers; a panic of the crate's is no answer.
fn same_as_crate(file: &Path, fdt: &ValidFdt<'_>) -> Outcome {
    let bytes = std::fs::read(file).map_err(|e| e.to_string())?;
    let theirs = catch_unwind(AssertUnwindSafe(|| crate_reads(&bytes)));
    let Ok(theirs) = theirs else {
        PANICS.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    };
    let theirs = theirs?;
    let mut nodes = Vec::new();
    collect(&fdt.root(), &mut nodes);
    equal("nodes", nodes, theirs.nodes)?;
    equal("memory", fdt.memory_banks().map(|bank| pair(bank.range)).collect(), theirs.memory)?;
    equal("memory-reserve map", fdt.reserve_map().map(pair).collect(), theirs.reserve_map)?;
    equal("bootargs", fdt.bootargs(), &theirs.bootargs)
}

fn crate_was_of_use(trees: usize) -> Outcome {
    let panics = PANICS.load(Ordering::Relaxed);
    if panics * 2 < trees.max(1) { Ok(()) } else { Err(format!("the crate panicked on {panics} of {trees}")) }
}

/// Each node's name and properties, parents first.
type Nodes = Vec<(String, Vec<(String, Vec<u8>)>)>;

fn collect(node: &Node<'_>, nodes: &mut Nodes) {
    nodes.push((node.name().to_owned(), properties(node)));
    for child in node.children() {
        collect(&child, nodes);
    }
}

/// The crate's answers.
struct CrateReading {
    nodes: Nodes,
    memory: Vec<(u64, u64)>,
    reserve_map: Vec<(u64, u64)>,
    bootargs: String,
}

fn crate_reads(bytes: &[u8]) -> Result<CrateReading, String> {
    let tree = fdt::Fdt::new(bytes).map_err(|e| e.to_string())?;
    let properties = |node: fdt::node::FdtNode<'_, '_>| {
        node.properties().map(|property| (property.name.to_owned(), property.value.to_vec())).collect()
    };
    // The crate calls the root by its path.
    let name = |name: &str| if name == "/" { String::new() } else { name.to_owned() };
    let root = tree.find_node("/").ok_or("no root")?;
    let memory = root.children().filter(|node| {
        let says = |name, value: &str| node.property(name).and_then(|p| p.as_str()) == Some(value);
        says("device_type", "memory") && (node.property("status").is_none() || says("status", "okay"))
    });
    let ranges = memory.filter_map(|node| node.reg()).flatten();
    Ok(CrateReading {
        nodes: tree.all_nodes().map(|node| (name(node.name), properties(node))).collect(),
        memory: ranges
            .map(|range| (range.starting_address as u64, range.size.unwrap_or(0) as u64))
            .filter(|&(_, size)| size > 0)
            .collect(),
        reserve_map: tree.memory_reservations().map(|map| (map.address() as u64, map.size() as u64)).collect(),
        bootargs: tree.chosen().bootargs().unwrap_or_default().to_owned(),
    })
}
