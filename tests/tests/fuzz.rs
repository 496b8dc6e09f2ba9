//! The fuzz targets as plain tests: generated inputs, and every input that once broke something.
//!
//! `QUIRE_TEST_SCALE` multiplies the inputs; `QUIRE_TEST_SEED` takes others. A failure writes its input to
//! `build/tests/`; once it is mended, the input moves to `fuzz/regressions/TARGET/`.

use std::panic::catch_unwind;

use mm::testing::scaled;
use tests::fuzz::{Random, TARGETS, Target};

fn from_environment(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}

/// Seeds as they are, then spoilt ones, or bytes of any sort where there are none.
fn inputs(target: &Target) -> impl Iterator<Item = Vec<u8>> {
    let seeds = (target.seeds)();
    // Miri is a thousand times slower.
    let (inputs, longest) = if cfg!(miri) { (3, 16) } else { (target.inputs, target.longest) };
    let count = scaled(inputs);
    let mut random = Random::new(u64::from(from_environment("QUIRE_TEST_SEED").unwrap_or(1)));
    seeds.clone().into_iter().chain((0..count).map(move |_| {
        if seeds.is_empty() || random.below(16) == 0 {
            return random.bytes(longest);
        }
        let mut bytes = seeds[random.below(seeds.len())].clone();
        random.spoil(&mut bytes);
        bytes
    }))
}

/// Whether the target survives `input`.
fn survives(target: &Target, input: &[u8]) -> bool {
    catch_unwind(|| (target.body)(input)).is_ok()
}

/// Runs the target over everything.
fn holds(name: &str) -> Result<(), String> {
    let target = TARGETS.iter().find(|target| target.name == name).ok_or("no such target")?;
    let folder = tests::root().join("fuzz/regressions").join(name);
    for path in std::fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
        let input = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if !survives(target, &input) {
            return Err(format!("{} breaks it again", path.display()));
        }
    }
    let mut count = 0;
    for (at, input) in inputs(target).enumerate() {
        count += 1;
        if !survives(target, &input) {
            let file = tests::scratch_file(&format!("fuzz-{name}-{at}"), &input)?;
            return Err(format!("input {at} breaks it: {}", file.display()));
        }
    }
    println!("fuzz {name}: {count} inputs");
    Ok(())
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() -> Result<(), String> { holds(stringify!($name)) })*

        #[test]
        fn every_target_is_a_test() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets! { device_tree boot_args memblock buddy page_alloc mapper vmalloc }
