//! Arguments that choose the page allocator's policies.
//!
//! Theory.      Linux sets those that it kept by sysctl, which a command line may hold since 5.8: `sysctl.vm.NAME=`.
//!              Those that it dropped, or decides at build, have the prefix `page_alloc.` here, as a module's
//!              parameters.
//! Not here.    What each is, and its default (`mm::page_alloc::Policies`, docs/policies.md).
//! Source.      Linux Documentation/admin-guide/sysctl/vm.rst.
#![forbid(unsafe_code)]

use mm::page_alloc::{Policies, ReservePolicy};

use super::set;
use super::token::Token;
use super::value::{number, switch};

/// Names that mean nothing without a value.
pub(super) const NAMES: [&str; 8] = [
    "sysctl.vm.zone_reclaim_mode",
    "sysctl.vm.watermark_boost_factor",
    "sysctl.vm.compaction_proactiveness",
    "page_alloc.fair_zones",
    "page_alloc.zonelist_cache",
    "page_alloc.dirty_spread",
    "page_alloc.check_context",
    "page_alloc.reserve",
];

/// Takes one argument: `None` when it is no policy's, `Some(None)` when its value is bad.
pub(super) fn take(policies: &mut Policies, token: Token<'_>, value: &str) -> Option<Option<()>> {
    let switches: [(&str, &mut bool); 4] = [
        ("page_alloc.fair_zones", &mut policies.fair_zones),
        ("page_alloc.zonelist_cache", &mut policies.zonelist_cache),
        ("page_alloc.dirty_spread", &mut policies.dirty_spread),
        ("page_alloc.check_context", &mut policies.check_context),
    ];
    for (name, field) in switches {
        if token.is(name) {
            return Some(set(field, switch(value)));
        }
    }
    Some(if token.is("sysctl.vm.zone_reclaim_mode") {
        // Bits beyond the first say what else reclaim may do; that is the service's matter.
        set(&mut policies.zone_reclaim, number(value).filter(|mode| *mode < 8).map(|mode| mode != 0))
    } else if token.is("sysctl.vm.watermark_boost_factor") {
        set(&mut policies.watermark_boost, number(value).and_then(|factor| u32::try_from(factor).ok()))
    } else if token.is("sysctl.vm.compaction_proactiveness") {
        let percent = number(value).filter(|percent| *percent <= 100).and_then(|percent| u32::try_from(percent).ok());
        set(&mut policies.compaction_proactiveness, percent)
    } else if token.is("page_alloc.reserve") {
        let reserve = match value {
            "off" => Some(ReservePolicy::Off),
            "blocks" => Some(ReservePolicy::Blocks),
            "highatomic" => Some(ReservePolicy::HighAtomic),
            _ => None,
        };
        set(&mut policies.reserve, reserve)
    } else {
        return None;
    })
}
