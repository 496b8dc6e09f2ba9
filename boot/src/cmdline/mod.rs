//! Boot arguments: Linux's names and meaning, and a few of ours.
//!
//! Theory.      [`BootArgs::parse`] is pure: it can run before there is a console (which `semihosting=` may decide on).
//!              A bad value leaves the default; [`BootArgs::report`] goes over the line once more and tells of those,
//!              and of the names that are nobody's here, in one line.
//! Invariants.  No line of text makes it panic. Of a name given twice the last good value counts, but for `mem=`, which
//!              adds up.
//! Not here.    Limits that depend on the machine (how large `vmalloc=` may be): their users know them.
//! Source.      Linux Documentation/admin-guide/kernel-parameters.txt; lib/cmdline.c and kernel/params.c for what is
//!              accepted.
#![forbid(unsafe_code)]

mod policy;
mod token;
mod value;

#[cfg(test)]
mod tests;

use mm::addr::PhysAddr;
use mm::page_alloc::{FailPageAlloc, Policies};
use mm::percpu::layout::FirstChunk;
use mm::zone::movable::{CoreSize, MovableRequest};
use mm::zone::zonelist::ZonelistOrder;

use crate::shown::Shown;
pub use token::{Token, Tokens};
use value::{memparse, number, switch};

/// `mem=SIZE` or `mem=SIZE@START`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemArg {
    /// Bytes; never 0.
    pub size: u64,
    /// Where they begin; `None`: RAM is cut to `size`.
    pub start: Option<PhysAddr>,
}

/// The `mem=` arguments, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemArgs {
    args: [MemArg; Self::MAX],
    len: usize,
}

impl MemArgs {
    /// How many are kept; a further one is a bad value.
    pub const MAX: usize = 8;

    /// The arguments.
    #[must_use]
    pub fn as_slice(&self) -> &[MemArg] {
        self.args.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, arg: MemArg) -> Option<()> {
        *self.args.get_mut(self.len)? = arg;
        self.len += 1;
        Some(())
    }
}

/// `cma=SIZE[@START[-END]]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CmaArg {
    /// Bytes; 0 switches the default area off.
    pub size: u64,
    /// The lowest address it may have.
    pub start: Option<PhysAddr>,
    /// One past the highest address it may have. Without it an area that has a start lies exactly there.
    pub end: Option<PhysAddr>,
}

/// `kernelcore=` or `movablecore=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoreArg {
    /// So many bytes.
    Bytes(u64),
    /// So much of all memory: 0 to 100.
    Percent(u8),
    /// `kernelcore=mirror`: what is mirrored is the kernel's.
    Mirror,
}

/// `fail_page_alloc=INTERVAL,PROBABILITY,SPACE,TIMES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailArg {
    /// Only each so-many-th allocation may fail.
    pub interval: u32,
    /// How likely it fails, in percent: 0 to 100.
    pub probability: u32,
    /// Pages that may be allocated before anything fails.
    pub space: i32,
    /// How often at most; −1: always.
    pub times: i32,
}

impl FailArg {
    /// What it asks of the allocator. As in Linux, requests that can wait or may have highmem, and single pages, are
    /// let through until somebody changes that.
    #[must_use]
    pub fn attributes(self) -> FailPageAlloc {
        FailPageAlloc {
            interval: self.interval,
            probability: self.probability,
            space: u32::try_from(self.space).unwrap_or(0),
            times: u32::try_from(self.times).ok(),
            ..FailPageAlloc::default()
        }
    }
}

/// `torture=N[,SEED]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TortureArg {
    /// Operations; never 0.
    pub operations: u32,
    /// Where chance begins; never 0.
    pub seed: u32,
}

/// The boot arguments, typed. Strings are as given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootArgs<'a> {
    line: &'a str,
    /// `mem=`.
    pub mem: MemArgs,
    /// `vmalloc=`: bytes of vmalloc space; `None`: 240 MiB.
    pub vmalloc: Option<u32>,
    /// `cma=`: the default area.
    pub cma: Option<CmaArg>,
    /// `kernelcore=`: what is not for movable pages alone.
    pub kernelcore: Option<CoreArg>,
    /// `movablecore=`: what is for movable pages alone.
    pub movablecore: Option<CoreArg>,
    /// `memblock=debug`: each change of memblock is logged.
    pub memblock_debug: bool,
    /// `numa_zonelist_order=`.
    pub zonelist_order: ZonelistOrder,
    /// `debug_guardpage_minorder=`: blocks below this order are guarded; 0: none. At most 5.
    pub guardpage_minorder: u8,
    /// `debug_pagealloc=`: free pages are unmapped where the machine can do that, and poisoned.
    pub debug_pagealloc: bool,
    /// `init_on_alloc=`: pages are zeroed when allocated.
    pub init_on_alloc: bool,
    /// `init_on_free=`: pages are zeroed when freed.
    pub init_on_free: bool,
    /// `movable_node`: hotpluggable nodes hold movable pages only.
    pub movable_node: bool,
    /// `page_poison=`: free pages are poisoned.
    pub page_poison: bool,
    /// `page_owner=`: each page remembers who allocated it.
    pub page_owner: bool,
    /// `fail_page_alloc=`.
    pub fail_page_alloc: Option<FailArg>,
    /// `percpu_alloc=`.
    pub percpu_alloc: FirstChunk,
    /// `sysctl.vm.zone_reclaim_mode=`, `sysctl.vm.watermark_boost_factor=`, `sysctl.vm.compaction_proactiveness=`, and
    /// ours, `page_alloc.NAME=`.
    pub policies: Policies,
    /// Ours, `highmem=off`: RAM above lowmem is not used.
    pub highmem: bool,
    /// `highmem=`: so many bytes at the end of RAM are highmem.
    pub highmem_bytes: Option<u64>,
    /// Ours, `selftest=`: which self-tests run (`all`, `none`, a name, names with commas).
    pub selftest: Option<&'a str>,
    /// Ours, `torture=`: so many random operations run before the self-tests.
    pub torture: Option<TortureArg>,
    /// Ours, `torture_trace=`: the debugger's file that gets what the page allocator does meanwhile. The boot makes the
    /// ring for it.
    pub torture_trace: Option<&'a str>,
    /// Ours, `bench=`: which benches run.
    pub bench: Option<&'a str>,
    /// Ours, `monitor`: the console's monitor runs after boot.
    pub monitor: bool,
    /// Ours, `dump=`: what is printed at the end of boot.
    pub dump: Option<&'a str>,
    /// Ours, `oops=`: a fault that is raised at the end of the boot, so that its report can be read.
    pub oops: Option<&'a str>,
    /// Ours, `semihosting=`: whether a debugger answers; `None`: not said.
    pub semihosting: Option<bool>,
}

/// What became of one argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Taken,
    BadValue,
    Unknown,
}

impl<'a> BootArgs<'a> {
    /// The defaults: what counts where the line is silent.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            line: "",
            mem: MemArgs { args: [MemArg { size: 0, start: None }; MemArgs::MAX], len: 0 },
            vmalloc: None,
            cma: None,
            kernelcore: None,
            movablecore: None,
            memblock_debug: false,
            zonelist_order: ZonelistOrder::Default,
            guardpage_minorder: 0,
            debug_pagealloc: false,
            init_on_alloc: false,
            init_on_free: false,
            movable_node: false,
            page_poison: false,
            page_owner: false,
            fail_page_alloc: None,
            percpu_alloc: FirstChunk::Auto,
            policies: Policies::new(),
            highmem: true,
            highmem_bytes: None,
            selftest: None,
            torture: None,
            torture_trace: None,
            bench: None,
            monitor: false,
            dump: None,
            oops: None,
            semihosting: None,
        }
    }

    /// Reads a command line. Says nothing: see [`Self::report`].
    #[must_use]
    pub fn parse(line: &'a str) -> Self {
        let mut args = Self { line, ..Self::new() };
        for token in Tokens::new(line) {
            args.take(token);
        }
        args
    }

    /// What `kernelcore=`, `movablecore=` and `movable_node` ask of the zones. `kernelcore=mirror` asks for nothing: no
    /// tree marks mirrored memory (Linux says the same of a machine without any).
    #[must_use]
    pub fn movable(&self) -> MovableRequest {
        let size = |arg: CoreArg| match arg {
            CoreArg::Bytes(bytes) => Some(CoreSize::Bytes(bytes)),
            CoreArg::Percent(percent) => Some(CoreSize::Percent(u32::from(percent))),
            CoreArg::Mirror => {
                log::warn!("The system has no mirror memory, ignore kernelcore=mirror.");
                None
            }
        };
        MovableRequest {
            kernelcore: self.kernelcore.and_then(size),
            movablecore: self.movablecore.and_then(size),
            movable_node: self.movable_node,
        }
    }

    /// Logs each bad value in one line with name and value, all unknown arguments in one more, and in one each what
    /// guards ask for and which known arguments nothing answers to yet.
    pub fn report(&self) {
        let mut scratch = Self::new();
        let mut unknown = false;
        for token in Tokens::new(self.line) {
            match scratch.take(token) {
                Outcome::Taken => {}
                Outcome::BadValue => {
                    let (name, value) = (token.name, token.value.unwrap_or_default());
                    log::warn!("Malformed early option '{0}': {0}={1} is ignored", Shown(name), Shown(value));
                }
                Outcome::Unknown => unknown = true,
            }
        }
        if unknown {
            log::info!("Unknown kernel command line parameters \"{}\", ignoring them.", Unknown(self.line));
        }
        if self.guardpage_minorder > 0 {
            log::info!("Setting debug_guardpage_minorder to {}", self.guardpage_minorder);
        }
        if self.without_effect().next().is_some() {
            log::warn!("Boot arguments without effect yet: {}", WithoutEffect(self));
        }
    }

    /// The arguments that ask for something that is not there yet.
    fn without_effect(&self) -> impl Iterator<Item = &'static str> {
        let asked = [("percpu_alloc=page", self.percpu_alloc == FirstChunk::Page), ("monitor", self.monitor)];
        asked.into_iter().filter_map(|(name, asked)| asked.then_some(name))
    }

    /// Takes one argument.
    fn take(&mut self, token: Token<'a>) -> Outcome {
        let known = match token.value {
            Some(value) => self.take_value(token, value),
            None => self.take_flag(token),
        };
        match known {
            Some(Some(())) => Outcome::Taken,
            Some(None) => Outcome::BadValue,
            None => Outcome::Unknown,
        }
    }

    /// An argument without a value: `None` when it is nobody's, `Some(None)` when it needs a value.
    fn take_flag(&mut self, token: Token<'a>) -> Option<Option<()>> {
        if token.is("movable_node") {
            self.movable_node = true;
        } else if token.is("monitor") {
            self.monitor = true;
        } else if token.is("selftest") {
            self.selftest = Some("all");
        } else if token.is("bench") {
            self.bench = Some("all");
        } else {
            return VALUED.iter().chain(&policy::NAMES).any(|name| token.is(name)).then_some(None);
        }
        Some(Some(()))
    }

    /// An argument with a value: `None` when it is nobody's, `Some(None)` when the value is bad.
    fn take_value(&mut self, token: Token<'a>, value: &'a str) -> Option<Option<()>> {
        let switches: [(&str, &mut bool); 6] = [
            ("debug_pagealloc", &mut self.debug_pagealloc),
            ("init_on_alloc", &mut self.init_on_alloc),
            ("init_on_free", &mut self.init_on_free),
            ("page_poison", &mut self.page_poison),
            ("page_owner", &mut self.page_owner),
            ("highmem", &mut self.highmem),
        ];
        for (name, field) in switches {
            // `highmem=` is a switch, or a size: a switch looks at the first letter alone.
            let is_size = name == "highmem" && memparse(value).is_some_and(|size| size > 1);
            if token.is(name) && !is_size {
                return Some(set(field, switch(value)));
            }
        }
        let texts: [(&str, &mut Option<&'a str>); 5] = [
            ("selftest", &mut self.selftest),
            ("bench", &mut self.bench),
            ("dump", &mut self.dump),
            ("oops", &mut self.oops),
            ("torture_trace", &mut self.torture_trace),
        ];
        for (name, field) in texts {
            if token.is(name) {
                return Some(set(field, (!value.is_empty()).then_some(Some(value))));
            }
        }
        self.take_size(token, value)
            .or_else(|| self.take_choice(token, value))
            .or_else(|| policy::take(&mut self.policies, token, value))
    }

    /// Sizes and numbers.
    fn take_size(&mut self, token: Token<'a>, value: &'a str) -> Option<Option<()>> {
        Some(if token.is("highmem") {
            set(&mut self.highmem_bytes, memparse(value).map(Some))
        } else if token.is("mem") {
            value::mem(value).and_then(|arg| self.mem.push(arg))
        } else if token.is("vmalloc") {
            let size = memparse(value).and_then(|size| u32::try_from(size).ok()).filter(|&size| size > 0);
            set(&mut self.vmalloc, size.map(Some))
        } else if token.is("cma") {
            set(&mut self.cma, value::cma(value).map(Some))
        } else if token.is("kernelcore") {
            let core = if value == "mirror" { Some(CoreArg::Mirror) } else { value::core(value) };
            set(&mut self.kernelcore, core.map(Some))
        } else if token.is("movablecore") {
            set(&mut self.movablecore, value::core(value).map(Some))
        } else if token.is("debug_guardpage_minorder") {
            let order = number(value).and_then(|order| u8::try_from(order).ok());
            set(&mut self.guardpage_minorder, order.filter(|&order| usize::from(order) <= mm::order::MAX_ORDER / 2))
        } else if token.is("fail_page_alloc") {
            set(&mut self.fail_page_alloc, value::fail(value).map(Some))
        } else if token.is("torture") {
            set(&mut self.torture, value::torture(value).map(Some))
        } else {
            return None;
        })
    }

    /// Words.
    fn take_choice(&mut self, token: Token<'a>, value: &'a str) -> Option<Option<()>> {
        Some(if token.is("memblock") {
            set(&mut self.memblock_debug, (value == "debug").then_some(true))
        } else if token.is("numa_zonelist_order") {
            let order = match value.as_bytes().first() {
                Some(b'd' | b'D') => Some(ZonelistOrder::Default),
                Some(b'n' | b'N') => Some(ZonelistOrder::Node),
                Some(b'z' | b'Z') => Some(ZonelistOrder::Zone),
                _ => None,
            };
            set(&mut self.zonelist_order, order)
        } else if token.is("percpu_alloc") {
            let kind = match value {
                "embed" => Some(FirstChunk::Embed),
                "page" => Some(FirstChunk::Page),
                _ => None,
            };
            set(&mut self.percpu_alloc, kind)
        } else if token.is("semihosting") {
            set(&mut self.semihosting, switch(value).map(Some))
        } else if token.is("monitor") {
            set(&mut self.monitor, switch(value))
        } else if token.is("movable_node") {
            set(&mut self.movable_node, switch(value))
        } else {
            return None;
        })
    }
}

impl Default for BootArgs<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Names that mean nothing without a value.
const VALUED: [&str; 21] = [
    "mem",
    "vmalloc",
    "cma",
    "kernelcore",
    "movablecore",
    "memblock",
    "numa_zonelist_order",
    "debug_guardpage_minorder",
    "debug_pagealloc",
    "init_on_alloc",
    "init_on_free",
    "page_poison",
    "page_owner",
    "fail_page_alloc",
    "percpu_alloc",
    "highmem",
    "dump",
    "oops",
    "torture",
    "torture_trace",
    "semihosting",
];

/// Sets `field` if the value is good.
fn set<T>(field: &mut T, value: Option<T>) -> Option<()> {
    *field = value?;
    Some(())
}

/// Displays the arguments that nothing answers to yet, one comma between them.
struct WithoutEffect<'a>(&'a BootArgs<'a>);

impl core::fmt::Display for WithoutEffect<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut separator = "";
        for name in self.0.without_effect() {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Displays the unknown arguments of a line, one space between them.
struct Unknown<'a>(&'a str);

impl core::fmt::Display for Unknown<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut scratch = BootArgs::new();
        let mut separator = "";
        for token in Tokens::new(self.0) {
            if scratch.take(token) == Outcome::Unknown {
                write!(f, "{separator}{}", Shown(token.name))?;
                if let Some(value) = token.value {
                    write!(f, "={}", Shown(value))?;
                }
                separator = " ";
            }
        }
        Ok(())
    }
}
