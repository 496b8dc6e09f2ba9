//! The fuzz targets as plain tests: generated inputs, and every input that once broke something.
//!
//! `QUIRE_TEST_SCALE` multiplies the inputs; `QUIRE_TEST_SEED` takes others. A failure writes its input to
//! `build/tests/`; once it is mended, the input moves to `fuzz/regressions/TARGET/`.

use std::panic::catch_unwind;
use std::path::Path;

use tests::fuzz::{Random, TARGETS, Target};

fn from_environment(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}

/// Seeds as they are, then spoilt ones, or bytes of any sort where there are none.
fn inputs(target: &Target) -> impl Iterator<Item = Vec<u8>> {
    let seeds = (target.seeds)();
    let count = target.inputs * from_environment("QUIRE_TEST_SCALE").unwrap_or(1);
    let mut random = Random::new(u64::from(from_environment("QUIRE_TEST_SEED").unwrap_or(1)));
    let longest = target.longest;
    seeds.clone().into_iter().chain((0..count).map(move |_| {
        if seeds.is_empty() || random.below(16) == 0 {
            return random.bytes(longest);
        }
        let mut bytes = seeds[random.below(seeds.len())].clone();
        random.spoil(&mut bytes);
        bytes
    }))
}

fn try_one(target: &Target, input: &[u8], told: &str) {
    if catch_unwind(|| (target.body)(input)).is_err() {
        panic!("{}: {told} breaks it", target.name);
    }
}

/// Runs the target over everything.
fn holds(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let folder = tests::root().join("fuzz/regressions").join(name);
    for path in std::fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
        try_one(target, &std::fs::read(&path).unwrap(), &path.display().to_string());
    }
    let mut count = 0;
    for (at, input) in inputs(target).enumerate() {
        count += 1;
        if catch_unwind(|| (target.body)(&input)).is_err() {
            let file = tests::scratch_file(&format!("fuzz-{name}-{at}"), &input);
            panic!("{name}: input {at} breaks it; it is in {:?}", file.as_deref().map(Path::display));
        }
    }
    println!("fuzz {name}: {count} inputs");
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { holds(stringify!($name)); })*

        #[test]
        fn every_target_is_a_test() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets! { device_tree boot_args memblock buddy page_alloc mapper vmalloc }
