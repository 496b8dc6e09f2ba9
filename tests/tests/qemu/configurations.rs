//! The table of boots: board, memory, CPUs, image, way in.

/// Which image.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    /// Optimised.
    Release,
    /// With every check.
    Debug,
}

impl Profile {
    /// Its folder under `build/`.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "debug",
        }
    }
}

/// One boot.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    /// How it is called in the list of tests.
    pub(crate) name: &'static str,
    /// A board of `scripts/boards.sh`.
    pub(crate) board: &'static str,
    /// QEMU's `-m`.
    pub(crate) mem: &'static str,
    /// QEMU's `-smp`.
    pub(crate) smp: u32,
    /// Which image.
    pub(crate) profile: Profile,
    /// Arguments for the image, after `semihosting=`.
    pub(crate) append: &'static str,
    /// Put behind the machine's name.
    pub(crate) machine_option: &'static str,
    /// With a uImage header for this address in place of the raw image.
    pub(crate) load_at: Option<u32>,
    /// Whether the image may call the host; without it, it tells its verdict on the UART alone.
    pub(crate) semihosting: bool,
    /// Each self-test in it is listed by name.
    pub(crate) list: bool,
    /// A file of `tests/reference/` that its log must match.
    pub(crate) reference: Option<&'static str>,
    /// Texts that must stand in its log.
    pub(crate) says: &'static [&'static str],
    /// Seconds after which it hangs.
    pub(crate) limit: u32,
    /// Only in long runs.
    pub(crate) long: bool,
}

/// The primary board in its usual state: what every row of the table changes.
const USUAL: Configuration = Configuration {
    name: "",
    board: "ast2500",
    mem: "512M",
    smp: 1,
    profile: Profile::Release,
    append: "",
    machine_option: "",
    load_at: None,
    semihosting: true,
    list: false,
    reference: None,
    says: &[],
    limit: 60,
    long: false,
};
const LISTED: Configuration = Configuration { list: true, ..USUAL };
const VEXPRESS: Configuration = Configuration { board: "vexpress-a15", ..USUAL };
const VIRT: Configuration = Configuration { board: "virt", ..USUAL };
const DEBUG: Profile = Profile::Debug;
const TWO_NODES: &[&str] = &[
    "NUMA: Adding memblock [0x50000000 - 0x5fffffff] on node 1",
    "NUMA: nodes: online 0-1, has_cpu 0-1, has_memory 0-1, has_normal_memory 0-1, has_high_memory 0-1",
    "Initmem setup node 1 [mem 0x0000000050000000-0x000000005fffffff]",
    "Built 2 zonelists in Zone order, mobility grouping on.",
    "Policy zone: Normal",
    "node 0 is full: node 1 helps out",
];
const MORE_HIGHMEM: &[&str] = &[
    "  Normal   [mem 0x0000000080000000-0x00000000bfffffff]",
    "  HighMem  [mem 0x00000000c0000000-0x00000000ffffffff]",
    "16384K cma-reserved, 1032192K highmem)",
];
const LESS_LOWMEM: &[&str] = &[
    "  Normal   [mem 0x0000000080000000-0x00000000deffffff]",
    "  HighMem  [mem 0x00000000df000000-0x00000000ffffffff]",
    "16384K cma-reserved, 524288K highmem)",
    "vmalloc : 0xdf800000 - 0xff800000   ( 512 MB)",
];
const IN_HYP: &[&str] = &["entered in HYP"];
const IN_SVC: &[&str] = &["entered in SVC"];

/// All of them.
pub(crate) fn configurations() -> Vec<Configuration> {
    [boards(), transcripts(), entries(), places(), torture(), long()].concat()
}

/// Boards, memory sizes, CPUs, images: every self-test listed by name.
fn boards() -> Vec<Configuration> {
    vec![
        Configuration { name: "ast2500/512M/release", reference: Some("ast2500.txt"), ..LISTED },
        Configuration { name: "ast2500/512M/debug", reference: Some("ast2500.txt"), profile: DEBUG, ..LISTED },
        Configuration { name: "vexpress-a15/64M/release", board: "vexpress-a15", mem: "64M", ..LISTED },
        Configuration {
            name: "vexpress-a15/2G/release",
            board: "vexpress-a15",
            mem: "2G",
            reference: Some("vexpress-a15-2G.txt"),
            ..LISTED
        },
        Configuration { name: "virt/512M/release", board: "virt", ..LISTED },
        Configuration { name: "virt/512M/debug", board: "virt", profile: DEBUG, ..LISTED },
        Configuration { name: "virt-numa/512M/release", board: "virt-numa", smp: 2, says: TWO_NODES, ..LISTED },
        Configuration {
            name: "virt-numa/512M/1cpu-debug",
            board: "virt-numa",
            profile: DEBUG,
            says: &["NUMA: nodes: online 0-1, has_cpu 0, has_memory 0-1"],
            ..LISTED
        },
        Configuration { name: "raspi2b/1G/release", board: "raspi2b", mem: "1G", smp: 4, limit: 120, ..LISTED },
        // Four CPUs, every check, and most lowmem of all boards.
        Configuration {
            name: "raspi2b/1G/debug",
            board: "raspi2b",
            mem: "1G",
            smp: 4,
            profile: DEBUG,
            limit: 180,
            ..LISTED
        },
        Configuration { name: "ast2500/512M/2cpus", smp: 2, ..USUAL },
        Configuration {
            name: "policies/kept-blocks-and-fair-batches",
            append: "page_alloc.reserve=blocks page_alloc.fair_zones=on sysctl.vm.watermark_boost_factor=15000",
            ..USUAL
        },
        Configuration {
            name: "policies/what-is-known-of-full-zones",
            board: "virt-numa",
            smp: 2,
            append: "page_alloc.zonelist_cache=on sysctl.vm.zone_reclaim_mode=1 page_alloc.check_context=on",
            ..USUAL
        },
        Configuration { name: "ast2500/512M/4cpus", smp: 4, ..USUAL },
    ]
}

/// Logs held against their reference, beside those above.
fn transcripts() -> Vec<Configuration> {
    let reference = Some("ast2500-highmem-off.txt");
    vec![
        Configuration { name: "highmem-off/release", append: "highmem=off", reference, ..USUAL },
        Configuration { name: "highmem-off/debug", append: "highmem=off", reference, profile: DEBUG, ..USUAL },
        Configuration {
            name: "page-tables/ast2500",
            append: "dump=pagetables selftest=the_identity",
            reference: Some("ast2500-page-tables.txt"),
            ..USUAL
        },
        Configuration { name: "without-semihosting", semihosting: false, ..USUAL },
        Configuration {
            name: "followed/zeroed-and-owned",
            append: "init_on_alloc=1 init_on_free=1 page_owner=on",
            limit: 120,
            ..USUAL
        },
        Configuration { name: "followed/poisoned", append: "debug_pagealloc=on page_poison=1", limit: 120, ..USUAL },
        Configuration {
            name: "highmem-size/2G",
            mem: "2G",
            append: "highmem=1G selftest=highmem,vmalloc",
            says: MORE_HIGHMEM,
            ..VEXPRESS
        },
        Configuration {
            name: "vmalloc-size/2G",
            mem: "2G",
            append: "vmalloc=512M selftest=highmem,vmalloc",
            says: LESS_LOWMEM,
            ..VEXPRESS
        },
    ]
}

/// The modes that a boot loader may leave the CPU in. vexpress enters in Secure SVC by itself.
fn entries() -> Vec<Configuration> {
    let secure = ",secure=on";
    vec![
        Configuration { name: "entry/secure-svc", says: IN_SVC, ..VEXPRESS },
        Configuration { name: "entry/hyp", machine_option: ",secure=off", says: IN_HYP, ..USUAL },
        Configuration { name: "entry/virt-hyp", machine_option: ",virtualization=on", says: IN_HYP, ..VIRT },
        Configuration { name: "entry/virt-nonsecure-svc", machine_option: secure, says: IN_SVC, ..VIRT },
    ]
}

/// Where a boot loader may leave the image.
fn places() -> Vec<Configuration> {
    vec![
        Configuration { name: "load/text-offset", load_at: Some(0x8000_8000), ..USUAL },
        Configuration { name: "load/over-its-run-address", load_at: Some(0x8001_8000), ..USUAL },
        Configuration { name: "load/odd-megabyte-near", load_at: Some(0x8030_0000), ..USUAL },
        Configuration { name: "load/odd-megabyte", load_at: Some(0x8510_0000), ..USUAL },
        Configuration {
            name: "load/odd-megabyte-hyp",
            load_at: Some(0x8510_0000),
            machine_option: ",secure=off",
            ..USUAL
        },
        Configuration { name: "load/above-128-mib", load_at: Some(0x8a00_0000), ..USUAL },
        Configuration { name: "load/above-256-mib-debug", load_at: Some(0x9350_0000), profile: DEBUG, ..USUAL },
        Configuration { name: "load/virt-above-128-mib", load_at: Some(0x4a00_0000), ..VIRT },
        Configuration {
            name: "load/raspi2b-odd-megabyte",
            board: "raspi2b",
            mem: "1G",
            smp: 4,
            load_at: Some(0x510_0000),
            ..USUAL
        },
    ]
}

/// Random operations of every kind with failures injected; all must be as before at the end.
fn torture() -> Vec<Configuration> {
    const SEED_1: &[&str] = &["torture: 200000 operations of seed 1 ... ok"];
    const SEED_2: &[&str] = &["torture: 200000 operations of seed 2 ... ok"];
    let row = Configuration { limit: 200, ..USUAL };
    vec![
        Configuration {
            name: "torture/ast2500-512M",
            append: "torture=200000,1 selftest=every_invariant_holds",
            says: SEED_1,
            ..row.clone()
        },
        Configuration {
            name: "torture/vexpress-a15-64M",
            board: "vexpress-a15",
            mem: "64M",
            append: "torture=200000,2 selftest=every_invariant_holds",
            says: SEED_2,
            ..row.clone()
        },
        Configuration {
            name: "torture/vexpress-a15-2G-debug",
            board: "vexpress-a15",
            mem: "2G",
            profile: DEBUG,
            append: "torture=200000,2 selftest=every_invariant_holds",
            says: SEED_2,
            limit: 400,
            long: true,
            ..row
        },
    ]
}

/// What a long run adds.
fn long() -> Vec<Configuration> {
    let rows = [
        Configuration { name: "vexpress-a15/128M", mem: "128M", ..VEXPRESS },
        Configuration { name: "vexpress-a15/1G", mem: "1G", ..VEXPRESS },
        Configuration { name: "vexpress-a15/2G/debug", mem: "2G", profile: DEBUG, limit: 120, ..VEXPRESS },
        Configuration { name: "vexpress-a15/2G/highmem-off", mem: "2G", append: "highmem=off", ..VEXPRESS },
        Configuration { name: "virt/2G", mem: "2G", limit: 120, ..VIRT },
        Configuration { name: "virt/3G", mem: "3G", limit: 120, ..VIRT },
        Configuration { name: "virt/512M/4cpus", smp: 4, ..VIRT },
        Configuration { name: "ast2500/256M", mem: "256M", ..USUAL },
        Configuration { name: "ast2500/2G", mem: "2G", ..USUAL },
    ];
    rows.into_iter().map(|row| Configuration { long: true, ..row }).collect()
}
