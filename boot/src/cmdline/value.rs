//! Values of boot arguments: sizes, switches, and the few composed ones. `None` is a bad value.

use mm::addr::{PAGE_SIZE, PhysAddr};

use super::{CmaArg, CoreArg, FailArg, MemArg, TortureArg};

/// A number: decimal, `0x` hexadecimal, or octal with a leading 0; nothing may follow.
pub(super) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', _, ..] => (text.get(1..)?, 8),
        _ => (text, 10),
    };
    // `from_str_radix` would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| u64::from_str_radix(digits, radix).ok())?
}

/// A size: a number with one of the suffixes K, M, G, T, P, E, in either case (Linux: `memparse`).
pub(super) fn memparse(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (text.get(..text.len() - 1)?, 10),
        b'M' | b'm' => (text.get(..text.len() - 1)?, 20),
        b'G' | b'g' => (text.get(..text.len() - 1)?, 30),
        b'T' | b't' => (text.get(..text.len() - 1)?, 40),
        b'P' | b'p' => (text.get(..text.len() - 1)?, 50),
        // A hexadecimal number may end in the digit e.
        b'E' | b'e' if !text.starts_with("0x") && !text.starts_with("0X") => (text.get(..text.len() - 1)?, 60),
        _ => (text, 0),
    };
    number(digits)?.checked_mul(1 << shift)
}

/// A switch (Linux: `kstrtobool`).
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.as_bytes() {
        [b'y' | b'Y' | b't' | b'T' | b'1', ..] | [b'o' | b'O', b'n' | b'N', ..] => Some(true),
        [b'n' | b'N' | b'f' | b'F' | b'0', ..] | [b'o' | b'O', b'f' | b'F', ..] => Some(false),
        _ => None,
    }
}

/// `NN%`.
pub(super) fn percent(text: &str) -> Option<u8> {
    number(text.strip_suffix('%')?).and_then(|percent| u8::try_from(percent).ok()).filter(|&percent| percent <= 100)
}

/// `SIZE[@START]`, at least a page.
pub(super) fn mem(text: &str) -> Option<MemArg> {
    let (size, start) = match text.split_once('@') {
        Some((size, start)) => (size, Some(PhysAddr::new(memparse(start)?))),
        None => (text, None),
    };
    let size = memparse(size).filter(|&size| size >= u64::from(PAGE_SIZE))?;
    Some(MemArg { size, start })
}

/// `SIZE[@START[-END]]`.
pub(super) fn cma(text: &str) -> Option<CmaArg> {
    let Some((size, place)) = text.split_once('@') else {
        return Some(CmaArg { size: memparse(text)?, start: None, end: None });
    };
    let size = memparse(size)?;
    let (start, end) = match place.split_once('-') {
        Some((start, end)) => (memparse(start)?, Some(memparse(end)?)),
        None => (memparse(place)?, None),
    };
    let enough = start.checked_add(size)? <= end.unwrap_or(u64::MAX);
    enough.then_some(CmaArg { size, start: Some(PhysAddr::new(start)), end: end.map(PhysAddr::new) })
}

/// `SIZE` or `NN%`.
pub(super) fn core(text: &str) -> Option<CoreArg> {
    if text.ends_with('%') { percent(text).map(CoreArg::Percent) } else { memparse(text).map(CoreArg::Bytes) }
}

/// `INTERVAL,PROBABILITY,SPACE,TIMES`.
pub(super) fn fail(text: &str) -> Option<FailArg> {
    let mut fields = text.split(',');
    let interval = fields.next()?.parse().ok().filter(|&interval| interval > 0)?;
    let probability = fields.next()?.parse().ok().filter(|&probability| probability <= 100)?;
    let space = fields.next()?.parse().ok()?;
    let times = fields.next()?.parse().ok().filter(|&times| times >= -1)?;
    fields.next().is_none().then_some(FailArg { interval, probability, space, times })
}

/// `N[,SEED]`, neither of them 0; the seed is 1 where there is none.
pub(super) fn torture(text: &str) -> Option<TortureArg> {
    let (operations, seed) = text.split_once(',').unwrap_or((text, "1"));
    let [operations, seed] =
        [operations, seed].map(|text| number(text).and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0));
    Some(TortureArg { operations: operations?, seed: seed? })
}
