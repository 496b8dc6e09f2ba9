//! Trees that are wrong, and what the image must make of each.
//!
//! Two sorts. *Damage* is done here to the bytes of our own tree: header, blocks, tokens. *Nonsense* is well formed and
//! says something impossible: one file of device tree source each in `tests/fixtures/malformed/`, which changes our
//! tree, and whose first lines tell the outcome:
//!
//! ```text
//! // bootargs: mem=banana       further arguments for the image (may be left out)
//! // outcome: stops             or: boots, ends
//! // says: /memory | reg        fragments that must stand together in one line, in any case and order
//! ```
//!
//! `stops`: one line that begins with `boot:` and has the fragments, then a failing exit status. `boots`: everything in
//! the image passes, and a line has the fragments. `ends`: either, as long as it is an end and not a panic.
//! A fixture that begins with `/dts-v1/` (after those lines) is a tree of its own and not a change of ours.

use std::path::Path;

use crate::blob::{BEGIN_NODE, Blob, END, END_NODE, Field, NOP, PROP};
use crate::tree;

/// What must become of a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// A stop with a `boot:` line and a failing status.
    Stops,
    /// Everything passes.
    Boots,
    /// Either of the two.
    Ends,
}

/// What r2 holds.
#[derive(Clone, Debug)]
pub enum Given {
    /// The address of these bytes.
    Blob(Vec<u8>),
    /// This number, with nothing loaded.
    Raw(u32),
}

/// One wrong tree.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name in the list of tests.
    pub name: String,
    /// What the image is given.
    pub given: Given,
    /// What must become of it.
    pub fate: Fate,
    /// Fragments of the line that tells.
    pub says: Vec<String>,
}

/// All cases: damage, then nonsense.
///
/// # Errors
///
/// When our own tree or a fixture does not compile or a fixture's first lines are not understood.
pub fn cases(bootargs: &str) -> Result<Vec<Case>, String> {
    let good = Blob(tree::ast2500(bootargs, "")?);
    let mut cases = no_tree();
    cases.extend(header(&good));
    cases.extend(structure(&good).ok_or("the AST2500 tree lacks a token that was to be damaged")?);
    cases.extend(flips(&good));
    cases.extend(fixtures(bootargs)?);
    Ok(cases)
}

fn case(name: &str, blob: Blob, fate: Fate, says: &[&str]) -> Case {
    let says = says.iter().map(|s| (*s).to_owned()).collect();
    Case { name: name.to_owned(), given: Given::Blob(blob.0), fate, says }
}

fn stops(name: &str, blob: Blob, says: &[&str]) -> Case {
    case(name, blob, Fate::Stops, says)
}

/// r2 does not point to a tree.
fn no_tree() -> Vec<Case> {
    let raw = |name: &str, r2| Case {
        name: name.to_owned(),
        given: Given::Raw(r2),
        fate: Fate::Stops,
        says: vec!["device tree".to_owned()],
    };
    vec![
        raw("r2-null", 0),
        raw("r2-to-empty-memory", 0x8800_0000),
        raw("r2-outside-memory", 0x6000_0000),
        raw("r2-not-aligned", 0x8800_0001),
        raw("r2-at-the-last-word", 0xffff_fffc),
    ]
}

/// The header lies.
fn header(good: &Blob) -> Vec<Case> {
    let lie = |name: &str, field, value, says: &str| stops(name, good.clone().with_field(field, value), &[says]);
    let half = good.field(Field::TotalSize) / 2;
    vec![
        lie("magic-one-bit-off", Field::Magic, 0xd00d_feec, "device tree"),
        lie("version-too-old", Field::Version, 1, "version"),
        lie("version-too-new", Field::LastCompVersion, 99, "version"),
        lie("totalsize-zero", Field::TotalSize, 0, "totalsize"),
        lie("totalsize-less-than-header", Field::TotalSize, 39, "totalsize"),
        lie("totalsize-4-gib", Field::TotalSize, u32::MAX, "totalsize"),
        lie("totalsize-larger-than-window", Field::TotalSize, 64 << 20, "totalsize"),
        lie("structure-outside", Field::OffDtStruct, 0x1000_0000, "struct"),
        lie("structure-wraps", Field::OffDtStruct, 0xffff_fffc, "struct"),
        lie("structure-not-aligned", Field::OffDtStruct, 0x41, "struct"),
        lie("structure-size-wraps", Field::SizeDtStruct, u32::MAX - 3, "struct"),
        lie("structure-empty", Field::SizeDtStruct, 0, "struct"),
        lie("strings-outside", Field::OffDtStrings, 0x1000_0000, "strings"),
        lie("strings-size-wraps", Field::SizeDtStrings, u32::MAX, "strings"),
        lie("reserve-map-outside", Field::OffMemRsvmap, 0x1000_0000, "rsvmap"),
        lie("reserve-map-not-aligned", Field::OffMemRsvmap, 0x2c, "rsvmap"),
        stops("truncated-to-half", good.clone().cut(half), &[]),
        stops("truncated-to-header", good.clone().cut(40), &[]),
        stops("truncated-to-magic", good.clone().cut(4), &[]),
    ]
}

/// The structure block is not one.
fn structure(good: &Blob) -> Option<Vec<Case>> {
    let with = |at, value| good.clone().with(at, value);
    let reg = good.property("memory@80000000", "reg")?;
    let end = good.token(END)?;
    let loops = 0_u32.wrapping_sub(u32::try_from(reg.value - good.field(Field::OffDtStruct)).ok()?);
    let root = [BEGIN_NODE, 0];
    let named_a = [BEGIN_NODE, u32::from_be_bytes(*b"a\0\0\0")];
    let deep: Vec<u32> = [root.to_vec(), named_a.repeat(499), vec![END_NODE; 500], vec![END]].concat();
    let endless: Vec<u32> = [&root[..], &[NOP; 4096]].concat();
    Some(vec![
        stops("first-token-is-no-node", with(good.token(BEGIN_NODE)?, END_NODE), &[]),
        stops("unknown-token", with(reg.token, 7), &["token"]),
        stops("end-missing", with(end, NOP), &[]),
        stops("end-node-missing", with(good.token(END_NODE)?, NOP), &[]),
        stops("end-node-too-many", with(reg.token, END_NODE).with(reg.token + 4, END_NODE), &[]),
        stops("ends-inside-a-node", with(reg.token, END), &[]),
        stops("property-before-the-root", with(good.token(BEGIN_NODE)?, PROP), &[]),
        stops("property-length-wraps-to-a-loop", with(reg.token + 4, loops), &["memory@80000000"]),
        stops("property-length-2^32-1", with(reg.token + 4, u32::MAX), &["memory@80000000"]),
        stops("property-longer-than-block", with(reg.token + 4, 0x10_0000), &["memory@80000000"]),
        stops("property-name-outside-strings", with(reg.token + 8, 0x10_0000), &["memory@80000000"]),
        stops("node-name-unterminated", good.clone().with_structure(&[BEGIN_NODE, 0x6162_6364, 0x6566_6768]), &[]),
        stops("strings-unterminated", unterminated_strings(good), &[]),
        stops("reserve-map-unterminated", unterminated_reserve_map(good), &["reserve"]),
        stops("nested-500-deep", good.clone().with_structure(&deep), &["dep"]),
        stops("nothing-but-nops", good.clone().with_structure(&endless), &[]),
        stops("two-roots", good.clone().with_structure(&[1, 0, 2, 1, 0, 2, END]), &[]),
        stops("an-empty-root", good.clone().with_structure(&[BEGIN_NODE, 0, END_NODE, END]), &["memory"]),
    ])
}

/// The last string has no NUL: the block is made to end inside it.
fn unterminated_strings(good: &Blob) -> Blob {
    let shorter = good.get(Field::SizeDtStrings as usize).saturating_sub(1);
    good.clone().with_field(Field::SizeDtStrings, shorter)
}

/// Entries without end: the map is moved onto the structure block's texts, which hold no pair of zeros in a row.
fn unterminated_reserve_map(good: &Blob) -> Blob {
    let mut blob = good.clone();
    let start = blob.0.len().next_multiple_of(8);
    blob.0.resize(start, 0);
    blob.0.resize(start + 160, 0x11);
    let (start, total) = (u32::try_from(start).unwrap_or(0), u32::try_from(blob.0.len()).unwrap_or(0));
    blob.with_field(Field::OffMemRsvmap, start).with_field(Field::TotalSize, total)
}

/// Bits that flipped: the image may stop or boot, but it must do one of the two.
fn flips(good: &Blob) -> Vec<Case> {
    let one = |seed: u32| {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut blob = good.clone();
        for _ in 0..=seed % 4 {
            // xorshift32: the same flips on every machine.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let at = state as usize % blob.0.len().max(1);
            if let Some(byte) = blob.0.get_mut(at) {
                *byte ^= 1 << (state >> 29);
            }
        }
        case(&format!("bits-flipped-{seed}"), blob, Fate::Ends, &[])
    };
    (1..=8).map(one).collect()
}

/// The nonsense of `tests/fixtures/malformed/`.
fn fixtures(bootargs: &str) -> Result<Vec<Case>, String> {
    let folder = crate::root().join("tests/fixtures/malformed");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .map_err(|e| format!("{}: {e}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "dts"))
        .collect();
    paths.sort();
    paths.iter().map(|path| fixture(path, bootargs).map_err(|e| format!("{}: {e}", path.display()))).collect()
}

fn fixture(path: &Path, bootargs: &str) -> Result<Case, String> {
    let source = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let told = |key: &str| source.lines().find_map(|line| line.strip_prefix("// ")?.strip_prefix(key)).map(str::trim);
    let fate = match told("outcome:") {
        Some("stops") => Fate::Stops,
        Some("boots") => Fate::Boots,
        Some("ends") => Fate::Ends,
        other => return Err(format!("outcome is stops, boots or ends, not {other:?}")),
    };
    let says = told("says:").map(|s| s.split('|').map(|f| f.trim().to_owned()).collect()).unwrap_or_default();
    let bootargs = [bootargs, told("bootargs:").unwrap_or_default()].join(" ");
    let blob = if source.contains("/dts-v1/") {
        tree::compile(&format!("{source}\n/ {{ chosen {{ bootargs = \"{bootargs}\"; }}; }};\n"))?
    } else {
        tree::ast2500(&bootargs, &source)?
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Case { name, given: Given::Blob(blob), fate, says })
}
