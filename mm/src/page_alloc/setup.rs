//! Builds the allocator from the plan of nodes and zones, in storage that the caller provides.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, AtomicU32};

use crate::addr::{NodeId, PfnRange};
use crate::buddy::{CoreOptions, FreeCore, ZoneFrames};
use crate::gfp::GfpFlags;
use crate::memmap::{FrameRun, MemMap, Usemap, ZoneTag, write_front};
use crate::migrate::MigrateType;
use crate::page_alloc::compaction::Background;
use crate::page_alloc::route::{LANES, Routes};
use crate::page_alloc::slow::Pressure;
use crate::page_alloc::watch::Watch;
use crate::page_alloc::{PageAllocator, Pageset, Policies, ReservePolicy, SetupError, Zone};
use crate::platform::PhysMap;
use crate::sync::CurrentCpu;
use crate::trace::TraceRing;
use crate::vmstat::Counters;
use crate::zone::{NodePlan, ZoneRef, ZoneSize, ZoneType, Zonelist};

/// Memory that an allocator for certain plans asks of its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Zones.
    pub zones: usize,
    /// Bytes of all usemaps.
    pub usemap_bytes: usize,
    /// Words of all free cores.
    pub core_words: usize,
}

impl Needs {
    /// What an allocator for `plans` with cores of type `C` needs.
    #[must_use]
    pub fn of<'m, C: FreeCore<'m>>(plans: &[NodePlan]) -> Self {
        existing(plans).fold(Self::default(), |sum, (_, size)| Self {
            zones: sum.zones + 1,
            usemap_bytes: sum.usemap_bytes + Usemap::bytes_for(size.span),
            core_words: sum.core_words + C::words_for(size.span),
        })
    }
}

/// The memory itself, written by [`PageAllocator::new`].
#[derive(Debug)]
pub struct Storage<'m, M: CurrentCpu, C> {
    /// [`Needs::zones`] places or more.
    pub zones: &'m mut [MaybeUninit<Zone<'m, C, M>>],
    /// [`Needs::usemap_bytes`] places or more.
    pub usemap_bytes: &'m mut [MaybeUninit<AtomicU8>],
    /// [`Needs::core_words`] places or more.
    pub core_words: &'m mut [MaybeUninit<u32>],
}

/// What is decided at boot.
#[derive(Clone, Copy, Default)]
pub struct Options<'m> {
    /// Switches of the free cores.
    pub core: CoreOptions,
    /// Don't keep migrate types apart: too few pageblocks (Linux: `page_group_by_mobility_disabled`).
    pub grouping_off: bool,
    /// What the walk prefers and keeps back.
    pub policies: Policies,
    /// The node whose zonelist serves requests that name none: the boot CPU's. `None`, or a node that no plan has: the
    /// first one.
    pub local: Option<NodeId>,
    /// Reaches pages that are to be zeroed; without it requests with `ZERO` fail.
    pub ram: Option<&'m (dyn PhysMap + Sync)>,
    /// Where events are written while [`Hooks::TRACE`](super::Hooks::TRACE) is on.
    pub trace: Option<&'m TraceRing<'m>>,
}

impl core::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Options")
            .field("core", &self.core)
            .field("grouping_off", &self.grouping_off)
            .field("policies", &self.policies)
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// The zones that have frames, by node and type.
fn existing(plans: &[NodePlan]) -> impl Iterator<Item = (ZoneRef, &ZoneSize)> {
    let zones = |plan: &'_ NodePlan| {
        let node = plan.node;
        ZoneType::ALL.map(|zone| ZoneRef { node, zone })
    };
    plans
        .iter()
        .flat_map(move |plan| zones(plan).into_iter().zip(&plan.zones))
        .filter(|(_, size)| !size.span.is_empty())
}

/// Cuts memory (frames and their node, lowest first) at the borders of the zones, for `MemMap::init`. Memory outside
/// every zone is left out, which makes it a hole.
pub fn frame_runs<'a>(
    plans: &'a [NodePlan],
    memory: impl IntoIterator<Item = (PfnRange, NodeId)> + 'a,
) -> impl Iterator<Item = FrameRun> + 'a {
    memory.into_iter().flat_map(move |(frames, node)| {
        existing(plans).filter(move |(zone, _)| zone.node == node).filter_map(move |(zone, size)| {
            let frames = frames.intersection(size.span);
            (!frames.is_empty()).then_some(FrameRun { frames, zone: ZoneTag::from(zone) })
        })
    })
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// An allocator over `map` with the zones of `plans`, all of whose frames are still reserved.
    ///
    /// `zonelists` are by node number. Linux: the parts of `free_area_init` and `build_all_zonelists`.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(
        map: MemMap<'m>,
        plans: &[NodePlan],
        zonelists: &[Zonelist],
        storage: Storage<'m, M, C>,
        options: Options<'m>,
    ) -> Result<Self, SetupError> {
        let needs = Needs::of::<C>(plans);
        if storage.zones.len() < needs.zones {
            return Err(SetupError::Storage { what: "zones", needed: needs.zones });
        }
        if storage.usemap_bytes.len() < needs.usemap_bytes {
            return Err(SetupError::Storage { what: "usemap bytes", needed: needs.usemap_bytes });
        }
        if storage.core_words.len() < needs.core_words {
            return Err(SetupError::Storage { what: "core words", needed: needs.core_words });
        }
        let cover = map.span();
        if let Some((zone, _)) = existing(plans).find(|(_, size)| cover.intersection(size.span) != size.span) {
            return Err(SetupError::NotMapped(zone));
        }
        let keeps_reserve = options.policies.reserve == ReservePolicy::HighAtomic;
        let core = CoreOptions { keeps_reserve, ..options.core };
        let kind = if options.grouping_off { MigrateType::Unmovable } else { MigrateType::Movable };
        let mut types: &'m [AtomicU8] =
            write_front(storage.usemap_bytes, (0..needs.usemap_bytes).map(|_| AtomicU8::new(0)));
        let mut core_words: &'m mut [u32] = write_front(storage.core_words, (0..needs.core_words).map(|_| 0));
        let zones = write_front(
            storage.zones,
            existing(plans).map_while(|(zone, size)| {
                let (ours, rest) = types.split_at_checked(Usemap::bytes_for(size.span))?;
                types = rest;
                let usemap = Usemap::new(ours, size.span, kind)?;
                let frames =
                    ZoneFrames { map, zone: ZoneTag::from(zone), span: size.span, usemap, trace: options.trace };
                let (own, rest) = core::mem::take(&mut core_words).split_at_mut_checked(C::words_for(size.span))?;
                core_words = rest;
                Some(Zone::new(frames, size.present, C::new(frames, core, own)?))
            }),
        );
        let mut by_tag = [u8::MAX; ZoneTag::COUNT];
        for (index, zone) in (0u8..).zip(zones.iter()) {
            by_tag[zone.tag().index()] = index;
        }
        let zonelists = checked_zonelists(plans, zonelists)?;
        let planned = |node: &NodeId| plans.iter().any(|plan| plan.node == *node);
        let first = plans.first().map_or(NodeId::ZERO, |plan| plan.node);
        let local = options.local.filter(planned).unwrap_or(first);
        let policies = options.policies;
        let several_nodes = zones.iter().any(|zone| zone.tag().node() != local);
        let allocator = Self {
            map,
            has_dma: zones.iter().any(|zone| zone.tag().zone() == ZoneType::Dma),
            zones,
            by_tag,
            own_zonelists: core::array::from_fn(|node| own_zones(&zonelists, node)),
            zonelists,
            caches: Default::default(),
            local,
            routes: Routes::default(),
            first_lanes: [None; LANES],
            lanes: [&[]; LANES],
            grouping: !options.grouping_off,
            allowed: AtomicU32::new(GfpFlags::all().bits()),
            several_nodes,
            policies,
            looks_at_misses: policies.zone_reclaim || (policies.zonelist_cache && several_nodes),
            pressure: Pressure::new(),
            counters: Counters::default(),
            hooks: AtomicU32::new(0),
            ram: options.ram,
            watch: Watch { trace: options.trace, background: Background::new(&policies), ..Watch::default() },
        };
        allocator.set_thresholds(1);
        allocator.set_hooks(policies.hooks(), true);
        Ok(allocator)
    }

    /// Gives a zone real pagesets, one a CPU (Linux: `setup_per_cpu_pageset`).
    ///
    /// # Errors
    /// [`SetupError::Pagesets`] when there is no such zone, or its pagesets hold pages; nothing has changed.
    pub fn install_pagesets(&mut self, zone: ZoneRef, pagesets: &'m [Pageset<'m>]) -> Result<(), SetupError> {
        let refused = SetupError::Pagesets(zone);
        let index = usize::from(self.by_tag[ZoneTag::from(zone).index()]);
        let found = self.zones.get_mut(index).ok_or(refused)?;
        let hold_pages = |sets: &[Pageset<'_>]| sets.iter().any(|set| set.count() > 0);
        if hold_pages(found.pagesets()) || hold_pages(pagesets) {
            return Err(refused);
        }
        found.set_pagesets(pagesets);
        self.set_lane(ZoneTag::from(zone), pagesets);
        Ok(())
    }
}

/// The zones of node number `node` in the order of its zonelist (Linux: `build_thisnode_zonelists`).
fn own_zones(zonelists: &[Zonelist], node: usize) -> Zonelist {
    let mut own = Zonelist::default();
    for zone in zonelists.get(node).map_or(&[][..], Zonelist::refs).iter().filter(|zone| zone.node.index() == node) {
        // It cannot be full: it has no more zones than the list it is made of.
        let _ = own.push(*zone);
    }
    own
}

/// The zonelists by node, each of whose zones exists.
fn checked_zonelists(plans: &[NodePlan], zonelists: &[Zonelist]) -> Result<[Zonelist; NodeId::MAX_NODES], SetupError> {
    let mut checked = [Zonelist::default(); NodeId::MAX_NODES];
    for (place, zonelist) in checked.iter_mut().zip(zonelists) {
        let unknown = |zone: &&ZoneRef| !existing(plans).any(|(known, _)| known == **zone);
        if let Some(zone) = zonelist.refs().iter().find(unknown) {
            return Err(SetupError::UnknownZone(*zone));
        }
        *place = *zonelist;
    }
    match plans.iter().find(|plan| checked[plan.node.index()].refs().is_empty()) {
        Some(plan) => Err(SetupError::NoZonelist(plan.node)),
        None => Ok(checked),
    }
}
