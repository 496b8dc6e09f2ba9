//! What boot arguments mean, and that no line of text panics.

use mm::page_alloc::{Policies, ReservePolicy};
use mm::testing::scaled;
use proptest::prelude::*;

use super::*;

fn parse(line: &str) -> BootArgs<'_> {
    BootArgs::parse(line)
}

fn outcome(line: &str) -> Vec<(&str, Outcome)> {
    let mut scratch = BootArgs::new();
    Tokens::new(line).map(|token| (token.name, scratch.take(token))).collect()
}

#[test]
fn an_empty_line_gives_the_defaults() {
    assert_eq!(parse(""), BootArgs::new());
    assert_eq!(Tokens::new("  \t ").next(), None);
}

#[test]
fn sizes_have_suffixes_and_bases() {
    for (text, bytes) in [
        ("4096", Some(4096)),
        ("0x10", Some(16)),
        ("010", Some(8)),
        ("0", Some(0)),
        ("16k", Some(16 << 10)),
        ("512M", Some(512 << 20)),
        ("0x20M", Some(32 << 20)),
        ("3G", Some(3 << 30)),
        ("1T", Some(1 << 40)),
        ("1p", Some(1 << 50)),
        ("1E", Some(1 << 60)),
        ("0xe", Some(14)),
        ("16E", None),
        ("", None),
        ("M", None),
        ("0x", None),
        ("09", None),
        ("+1", None),
        ("-1", None),
        ("1MB", None),
        ("1 M", None),
        ("99999999999999999999", None),
    ] {
        assert_eq!(memparse(text), bytes, "{text:?}");
    }
}

#[test]
fn mem_is_repeatable_and_may_have_a_start() {
    let args = parse("mem=512M mem=0x1000000@0x90000000");
    let at = |start| Some(PhysAddr::new(start));
    assert_eq!(
        args.mem.as_slice(),
        [MemArg { size: 512 << 20, start: None }, MemArg { size: 1 << 24, start: at(0x9000_0000) }]
    );
}

#[test]
fn nonsense_in_mem_leaves_ram_as_it_is() {
    for value in ["0", "x", "", "1", "-5M", "512M@", "@0x80000000", "512M@y", "20E"] {
        let line = format!("mem={value}");
        assert_eq!(parse(&line).mem, MemArgs::default(), "{line}");
        assert_eq!(outcome(&line), [("mem", Outcome::BadValue)]);
    }
    assert_eq!(outcome("mem"), [("mem", Outcome::BadValue)]);
}

#[test]
fn a_ninth_mem_is_refused() {
    let line = "mem=1M@1M ".repeat(9);
    assert_eq!(parse(&line).mem.as_slice().len(), MemArgs::MAX);
    assert_eq!(outcome(&line)[8].1, Outcome::BadValue);
}

#[test]
fn cma_has_a_size_a_start_and_an_end() {
    let at = |start| Some(PhysAddr::new(start));
    assert_eq!(parse("cma=16M").cma, Some(CmaArg { size: 16 << 20, start: None, end: None }));
    assert_eq!(parse("cma=0").cma, Some(CmaArg { size: 0, start: None, end: None }));
    assert_eq!(
        parse("cma=16M@0x90000000-0x98000000").cma,
        Some(CmaArg { size: 16 << 20, start: at(0x9000_0000), end: at(0x9800_0000) })
    );
    assert_eq!(parse("cma=1M@2G").cma, Some(CmaArg { size: 1 << 20, start: at(2 << 30), end: None }));
    assert_eq!(outcome("cma=16M@0x90000000-0x90000001"), [("cma", Outcome::BadValue)]);
    assert_eq!(outcome("cma=x"), [("cma", Outcome::BadValue)]);
}

#[test]
fn core_sizes_are_bytes_or_percent_and_kernelcore_may_be_the_mirror() {
    assert_eq!(parse("kernelcore=256M").kernelcore, Some(CoreArg::Bytes(256 << 20)));
    assert_eq!(parse("movablecore=30%").movablecore, Some(CoreArg::Percent(30)));
    assert_eq!(parse("kernelcore=mirror").kernelcore, Some(CoreArg::Mirror));
    assert_eq!(outcome("movablecore=mirror kernelcore=101%").map_bad(), 2);
}

trait MapBad {
    fn map_bad(self) -> usize;
}

impl MapBad for Vec<(&str, Outcome)> {
    fn map_bad(self) -> usize {
        self.iter().filter(|(_, outcome)| *outcome == Outcome::BadValue).count()
    }
}

#[test]
fn every_name_of_the_list_is_known() {
    let line = "mem=64M vmalloc=128M cma=8M kernelcore=32M movablecore=10% memblock=debug numa_zonelist_order=z \
                debug_guardpage_minorder=2 debug_pagealloc=on init_on_alloc=1 init_on_free=y movable_node \
                page_poison=on page_owner=on fail_page_alloc=1,100,0,-1 percpu_alloc=page highmem=off selftest=buddy \
                bench=all torture=200000,0x7 torture_trace=/tmp/x monitor dump=pagetables oops=null semihosting=off";
    assert!(outcome(line).iter().all(|(_, outcome)| *outcome == Outcome::Taken), "{:?}", outcome(line));
    let args = parse(line);
    assert_eq!(args.vmalloc, Some(128 << 20));
    assert!(args.memblock_debug && args.debug_pagealloc && args.init_on_alloc && args.init_on_free);
    assert!(args.movable_node && args.page_poison && args.page_owner && args.monitor && !args.highmem);
    assert_eq!(args.zonelist_order, ZonelistOrder::Zone);
    assert_eq!(args.guardpage_minorder, 2);
    assert_eq!(args.fail_page_alloc, Some(FailArg { interval: 1, probability: 100, space: 0, times: -1 }));
    assert_eq!(args.percpu_alloc, FirstChunk::Page);
    assert_eq!((args.selftest, args.bench, args.dump), (Some("buddy"), Some("all"), Some("pagetables")));
    assert_eq!(args.semihosting, Some(false));
    assert_eq!(args.torture, Some(TortureArg { operations: 200_000, seed: 7 }));
    assert_eq!(args.torture_trace, Some("/tmp/x"));
    assert_eq!(parse("torture=5").torture, Some(TortureArg { operations: 5, seed: 1 }));
}

#[test]
fn policies_have_the_names_of_sysctl_or_ours() {
    let line = "sysctl.vm.zone_reclaim_mode=1 sysctl.vm.watermark_boost_factor=15000 page_alloc.fair_zones=on \
                page_alloc.zonelist_cache=1 page_alloc.dirty_spread=off page_alloc.check_context=y \
                page_alloc.reserve=blocks sysctl.vm.compaction_proactiveness=100";
    assert!(outcome(line).iter().all(|(_, outcome)| *outcome == Outcome::Taken), "{:?}", outcome(line));
    let asked = Policies {
        fair_zones: true,
        zonelist_cache: true,
        zone_reclaim: true,
        dirty_spread: false,
        check_context: true,
        reserve: ReservePolicy::Blocks,
        watermark_boost: 15_000,
        compaction_proactiveness: 100,
    };
    assert_eq!(parse(line).policies, asked);
    let line = "sysctl.vm.zone_reclaim_mode=8 sysctl.vm.watermark_boost_factor=-1 page_alloc.fair_zones=2 \
                page_alloc.reserve=some page_alloc.reserve sysctl.vm.compaction_proactiveness=101";
    assert_eq!(outcome(line).map_bad(), 6);
    assert_eq!(parse(line).policies, Policies::default());
}

#[test]
fn bad_values_leave_the_defaults() {
    let line = "vmalloc=0 vmalloc=8G memblock=x numa_zonelist_order=q debug_guardpage_minorder=6 debug_pagealloc=? \
                fail_page_alloc=1,2,3 fail_page_alloc=0,1,1,1 fail_page_alloc=1,101,0,0 percpu_alloc=both highmem= \
                dump= semihosting=perhaps page_owner torture=0 torture=1,0 torture=1,2,3 torture=lots torture=4294967296 \
                torture_trace= torture_trace";
    assert_eq!(outcome(line).map_bad(), 21);
    assert_eq!(BootArgs { line: "", ..parse(line) }, BootArgs::new());
}

#[test]
fn a_dash_in_a_name_is_an_underscore() {
    assert!(parse("init-on-alloc=1").init_on_alloc);
    assert_eq!(outcome("init-on-alloc2=1"), [("init-on-alloc2", Outcome::Unknown)]);
}

#[test]
fn quotes_hold_spaces_and_are_taken_off() {
    let tokens: Vec<_> = Tokens::new(r#"a="b c" "d=e f" "g h" i"j k"l m=n"o p" =q "r"#).collect();
    let token = |name, value| Token { name, value };
    assert_eq!(
        tokens,
        [
            token("a", Some("b c")),
            token("d", Some("e f")),
            token("g h", None),
            token(r#"i"j k"l"#, None),
            token("m", Some(r#"n"o p""#)),
            token("=q", None),
            token("r", None),
        ]
    );
}

#[test]
fn two_dashes_end_the_kernels_part() {
    assert_eq!(outcome("monitor -- mem=1M"), [("monitor", Outcome::Taken)]);
}

#[test]
fn unknown_arguments_are_listed_in_one_line() {
    let line = "console=ttyAMA0 mem=64M root=/dev/ram0 earlycon rw mem=x";
    assert_eq!(Unknown(line).to_string(), "console=ttyAMA0 root=/dev/ram0 earlycon rw");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scaled(256)))]

    #[test]
    fn no_line_panics(line in "\\PC*") {
        let args = parse(&line);
        args.report();
        let _ = Unknown(&line).to_string();
    }

    #[test]
    fn no_line_of_names_and_broken_values_panics(
        words in prop::collection::vec(("(mem|cma|vmalloc|kernelcore|fail_page_alloc|highmem|dump)", "[-=@%,\"0-9xXeEkKmM ]{0,24}"), 0..12)
    ) {
        let line: String = words.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let args = parse(&line);
        args.report();
        prop_assert!(args.mem.as_slice().iter().all(|arg| arg.size >= 4096));
    }

    #[test]
    fn bytes_of_any_kind_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let line = String::from_utf8_lossy(&bytes);
        parse(&line).report();
    }
}

#[test]
fn bad_values_and_unknown_arguments_are_told_in_one_line_each() {
    let line = "mem=banana console=ttyS4 vmalloc cma=8M root=/dev/ram0 mem=-1";
    let lines = mm::testing::capture_log(|| parse(line).report());
    assert_eq!(
        lines,
        [
            "Malformed early option 'mem': mem=banana is ignored",
            "Malformed early option 'vmalloc': vmalloc= is ignored",
            "Malformed early option 'mem': mem=-1 is ignored",
            "Unknown kernel command line parameters \"console=ttyS4 root=/dev/ram0\", ignoring them.",
        ]
    );
    assert!(mm::testing::capture_log(|| parse("selftest=all cma=8M").report()).is_empty());
}

#[test]
fn what_is_asked_for_and_not_there_yet_is_told_in_one_line() {
    let told = |line: &'static str| mm::testing::capture_log(|| parse(line).report());
    assert_eq!(told("monitor"), ["Boot arguments without effect yet: monitor"]);
    assert_eq!(told("page_owner=off init_on_alloc=0 percpu_alloc=embed monitor=off"), [""; 0]);
    assert_eq!(told("debug_pagealloc=on init_on_alloc=1 init_on_free=1 page_poison=1 page_owner=on"), [""; 0]);
    let all = "fail_page_alloc=1,100,0,-1 percpu_alloc=page monitor";
    assert_eq!(told(all), ["Boot arguments without effect yet: percpu_alloc=page, monitor"]);
}

#[test]
fn the_order_below_which_blocks_are_guarded_is_told() {
    let told = |line: &'static str| mm::testing::capture_log(|| parse(line).report());
    assert_eq!(told("debug_guardpage_minorder=2"), ["Setting debug_guardpage_minorder to 2"]);
    assert_eq!(told("debug_guardpage_minorder=0"), [""; 0]);
}

#[test]
fn highmem_is_a_switch_or_a_size() {
    let parsed = |line: &'static str| {
        let args = parse(line);
        (args.highmem, args.highmem_bytes)
    };
    assert_eq!(parsed("highmem=off"), (false, None));
    assert_eq!(parsed("highmem=0"), (false, None));
    assert_eq!(parsed("highmem=512M"), (true, Some(512 << 20)));
    assert_eq!(parsed("highmem=lots"), (true, None));
}
