//! Zonelists: for each node, all zones in the order in which its allocations try them.
//!
//! Theory.      Nodes are ordered by distance from the node itself, which comes first. Among equally far ones a number
//!              above its own and having no CPUs are an advantage, and a load that earlier lists left behind spreads
//!              the nodes' first choices. Then either every zone of a node comes before the next node
//!              (node order: locality first) or every zone of a type before the next lower type (zone order: lowmem is
//!              saved, which is what 32 bit needs). A second list has the node's own zones only.
//! Invariants.  1. The general list has each populated zone exactly once, the own list those of the node. 2. In node
//!              order a node's zones are neighbours, highest first, and the own node leads; in zone order types never
//!              rise. 3. No list has a zone without present pages.
//! Source.      Linux 4.1 mm/page_alloc.c: build_zonelists, find_next_best_node, default_zonelist_order,
//!              mm/mm_init.c: mminit_verify_zonelist.
#![forbid(unsafe_code)]

use crate::addr::NodeId;
use crate::zone::plan::Sink;
use crate::zone::{NodePlan, NodeSet, ZoneRef, ZoneType, Zonelist};

#[cfg(test)]
mod tests;

/// Number of migrate types that grouping by mobility must find blocks for (Linux 4.1: `MIGRATE_TYPES`).
pub const MIGRATE_TYPES: u32 = 6;
/// Distance of a node to itself.
pub const LOCAL_DISTANCE: u8 = 10;
/// Distance of two nodes that nothing is known of.
pub const REMOTE_DISTANCE: u8 = 20;

/// The order of the zones of several nodes (`numa_zonelist_order=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ZonelistOrder {
    /// Whatever suits the machine.
    #[default]
    Default,
    /// All zones of a node before the next node.
    Node,
    /// All zones of a type before the next type.
    Zone,
}

impl ZonelistOrder {
    /// The order that `text` asks for: its first letter counts, as in Linux; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.bytes().next()? {
            b'd' | b'D' => Some(Self::Default),
            b'n' | b'N' => Some(Self::Node),
            b'z' | b'Z' => Some(Self::Zone),
            _ => None,
        }
    }

    /// The order itself, where "default" means zone order on a machine of 32 bits and node order on one of 64.
    #[must_use]
    pub const fn resolve(self, address_bits: u32) -> Self {
        match self {
            Self::Default if address_bits > 32 => Self::Node,
            Self::Default => Self::Zone,
            chosen => chosen,
        }
    }

    /// Linux's name of the order.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "Default",
            Self::Node => "Node",
            Self::Zone => "Zone",
        }
    }
}

/// How far nodes are from each other, and which have CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topology {
    distance: [[u8; NodeId::MAX_NODES]; NodeId::MAX_NODES],
    with_cpus: NodeSet,
}

impl Topology {
    /// Nodes at the default distances, of which `with_cpus` have CPUs.
    #[must_use]
    pub fn new(with_cpus: NodeSet) -> Self {
        let mut distance = [[REMOTE_DISTANCE; NodeId::MAX_NODES]; NodeId::MAX_NODES];
        for node in NodeSet::ALL.iter() {
            distance[node.index()][node.index()] = LOCAL_DISTANCE;
        }
        Self { distance, with_cpus }
    }

    /// The nodes that have CPUs.
    #[must_use]
    pub const fn with_cpus(&self) -> NodeSet {
        self.with_cpus
    }

    /// Sets the distance as seen from `from`.
    pub fn set_distance(&mut self, from: NodeId, to: NodeId, distance: u8) {
        self.distance[from.index()][to.index()] = distance;
    }

    /// The distance as seen from `from`.
    #[must_use]
    pub const fn distance(&self, from: NodeId, to: NodeId) -> u8 {
        self.distance[from.index()][to.index()]
    }
}

/// The two lists of a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeZonelists {
    /// Every zone of the machine.
    pub general: Zonelist,
    /// The node's own zones.
    pub this_node: Zonelist,
}

/// Which promise a set of zonelists does not keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZonelistBroken {
    /// A list of this node has the zone twice, or has one that is not populated or not its own.
    Extra(NodeId, ZoneRef),
    /// A list of this node lacks the zone.
    Missing(NodeId, ZoneRef),
    /// In a list of this node the zone stands in front of one that should come first.
    Order(NodeId, ZoneRef),
}

/// The zonelists of every node.
#[derive(Clone, Copy, Debug)]
pub struct Zonelists {
    lists: [NodeZonelists; NodeId::MAX_NODES],
    online: NodeSet,
    order: ZonelistOrder,
}

impl Zonelists {
    /// Builds the lists of all of `nodes` (Linux: `build_all_zonelists`).
    ///
    /// `order` is resolved for 32 bits.
    #[must_use]
    pub fn build(nodes: &[NodePlan], topology: &Topology, order: ZonelistOrder) -> Self {
        let online = nodes.iter().map(|plan| plan.node).collect();
        let mut built = Self { lists: [NodeZonelists::default(); NodeId::MAX_NODES], online, order: order.resolve(32) };
        let mut load = Load::default();
        for node in online.iter() {
            let (sequence, len) = load.node_sequence(node, nodes, topology);
            let sequence = sequence.get(..len).unwrap_or(&[]);
            let lists = &mut built.lists[node.index()];
            match built.order {
                ZonelistOrder::Node => {
                    for &other in sequence {
                        push_node(&mut lists.general, nodes, other);
                    }
                }
                ZonelistOrder::Zone | ZonelistOrder::Default => {
                    for kind in ZoneType::ALL.into_iter().rev() {
                        for &other in sequence {
                            push_zone(&mut lists.general, nodes, ZoneRef { node: other, zone: kind });
                        }
                    }
                }
            }
            push_node(&mut lists.this_node, nodes, node);
        }
        built
    }

    /// The lists of `node`; `None` when it is not online.
    #[must_use]
    pub const fn node(&self, node: NodeId) -> Option<&NodeZonelists> {
        if self.online.contains(node) { Some(&self.lists[node.index()]) } else { None }
    }

    /// The nodes that have lists.
    #[must_use]
    pub const fn online(&self) -> NodeSet {
        self.online
    }

    /// The order that was chosen; never `Default`.
    #[must_use]
    pub const fn order(&self) -> ZonelistOrder {
        self.order
    }

    /// Checks the module's invariants against the nodes that the lists were built from.
    ///
    /// # Errors
    /// The first promise that does not hold.
    pub fn validate(&self, nodes: &[NodePlan]) -> Result<(), ZonelistBroken> {
        for node in self.online.iter() {
            let lists = &self.lists[node.index()];
            check_members(node, &lists.general, nodes, self.online)?;
            check_members(node, &lists.this_node, nodes, NodeSet::of(node))?;
            check_order(node, &lists.general, self.order)?;
            check_order(node, &lists.this_node, ZonelistOrder::Node)?;
        }
        Ok(())
    }

    /// Writes Linux's debugging lines of every list, one for each populated zone that an allocation can ask for:
    /// `mminit::zonelist general 0:HighMem = 0:HighMem 0:Normal` (Linux: `mminit_verify_zonelist`).
    pub fn write_lists(&self, nodes: &[NodePlan], sink: Sink<'_>) {
        for node in self.online.iter() {
            let lists = &self.lists[node.index()];
            self.write_list("general", node, &lists.general, nodes, sink);
            if self.online.len() > 1 {
                self.write_list("thisnode", node, &lists.this_node, nodes, sink);
            }
        }
    }

    /// The debugging lines of one list.
    fn write_list(&self, name: &str, node: NodeId, list: &Zonelist, nodes: &[NodePlan], sink: Sink<'_>) {
        for kind in ZoneType::ALL {
            if populated(nodes, ZoneRef { node, zone: kind }) {
                let id = node.raw();
                sink(format_args!("mminit::zonelist {name} {id}:{} = {}", kind.name(), Shown(list, kind)));
            }
        }
    }

    /// Writes `Built N zonelists …` to `sink`: Linux's wording for one node, and its longer one for several.
    ///
    /// `total_pages`: the plan's total. `pageblock_pages`: pages of a pageblock.
    pub fn write_summary(&self, total_pages: u64, pageblock_pages: u32, sink: Sink<'_>) {
        let grouping = if mobility_grouping(total_pages, pageblock_pages) { "on" } else { "off" };
        let (count, order) = (self.online.len(), self.order.name());
        if count > 1 {
            sink(format_args!(
                "Built {count} zonelists in {order} order, mobility grouping {grouping}.  Total pages: {total_pages}"
            ));
            sink(format_args!("Policy zone: {}", self.policy_zone().name()));
        } else {
            sink(format_args!("Built {count} zonelists, mobility grouping {grouping}.  Total pages: {total_pages}"));
        }
    }

    /// The debugging lines and the summary into the kernel's log.
    pub fn log(&self, nodes: &[NodePlan], total_pages: u64, pageblock_pages: u32) {
        self.write_lists(nodes, &mut |line| log::debug!("{line}"));
        self.write_summary(total_pages, pageblock_pages, &mut |line| log::info!("{line}"));
    }

    /// The highest zone type in any list that a memory policy governs: all but Movable.
    fn policy_zone(&self) -> ZoneType {
        let general = self.online.iter().filter_map(|node| self.node(node)).map(|lists| &lists.general);
        let kinds = general.flat_map(|list| list.up_to(ZoneType::HighMem)).map(|entry| entry.zone);
        kinds.max().unwrap_or(ZoneType::Dma)
    }
}

/// Whether free pages are grouped by migrate type: not on a machine with fewer pageblocks than types.
#[must_use]
pub const fn mobility_grouping(total_pages: u64, pageblock_pages: u32) -> bool {
    total_pages >= pageblock_pages as u64 * MIGRATE_TYPES as u64
}

/// What the lists built so far have put on each node.
#[derive(Default)]
struct Load([u32; NodeId::MAX_NODES]);

impl Load {
    /// All nodes in the order of `local`'s fallback, best first: the nodes and their number.
    fn node_sequence(
        &mut self,
        local: NodeId,
        nodes: &[NodePlan],
        topology: &Topology,
    ) -> ([NodeId; NodeId::MAX_NODES], usize) {
        let mut sequence = [local; NodeId::MAX_NODES];
        let mut len = 1;
        let mut left: NodeSet =
            nodes.iter().filter(|plan| plan.present() != 0 && plan.node != local).map(|plan| plan.node).collect();
        // The local node takes the first, highest load; it never competes for a place in its own list.
        let online = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let mut load = online.saturating_sub(1);
        let mut previous = local;
        while let Some(best) = left.iter().min_by_key(|&node| self.cost(local, node, online, topology)) {
            // The first of a group at one distance is loaded, so that another leads the next node's list.
            if topology.distance(local, best) != topology.distance(local, previous) {
                self.0[best.index()] = load;
            }
            load = load.saturating_sub(1);
            previous = best;
            left = left.without(best);
            if let Some(slot) = sequence.get_mut(len) {
                *slot = best;
                len += 1;
            }
        }
        (sequence, len)
    }

    /// How bad `node` is for `local`: distance, a point for a lower number, one for having CPUs; load breaks ties.
    fn cost(&self, local: NodeId, node: NodeId, online: u32, topology: &Topology) -> u32 {
        let distance = u32::from(topology.distance(local, node));
        let points = distance + u32::from(node < local) + u32::from(topology.with_cpus.contains(node));
        // A load is below the number of nodes, so it never outweighs a point.
        points * online + self.0[node.index()]
    }
}

/// Whether `zone` has present pages.
fn populated(nodes: &[NodePlan], zone: ZoneRef) -> bool {
    nodes.iter().any(|plan| plan.node == zone.node && plan.zone(zone.zone).present != 0)
}

/// Appends `zone` if it is populated.
fn push_zone(list: &mut Zonelist, nodes: &[NodePlan], zone: ZoneRef) {
    if populated(nodes, zone) {
        // A list has room for every zone of every node, and each is pushed once.
        list.push(zone);
    }
}

/// Appends the zones of `node`, highest first.
fn push_node(list: &mut Zonelist, nodes: &[NodePlan], node: NodeId) {
    for zone in ZoneType::ALL.into_iter().rev() {
        push_zone(list, nodes, ZoneRef { node, zone });
    }
}

/// Checks that `list` of `owner` has exactly the populated zones of `of`.
fn check_members(owner: NodeId, list: &Zonelist, nodes: &[NodePlan], of: NodeSet) -> Result<(), ZonelistBroken> {
    for (place, &entry) in list.refs().iter().enumerate() {
        let twice = list.refs().iter().take(place).any(|&earlier| earlier == entry);
        if twice || !of.contains(entry.node) || !populated(nodes, entry) {
            return Err(ZonelistBroken::Extra(owner, entry));
        }
    }
    for node in of.iter() {
        for zone in ZoneType::ALL.map(|zone| ZoneRef { node, zone }) {
            if populated(nodes, zone) && !list.refs().contains(&zone) {
                return Err(ZonelistBroken::Missing(owner, zone));
            }
        }
    }
    Ok(())
}

/// Checks that `list` of `owner` is in `order`.
fn check_order(owner: NodeId, list: &Zonelist, order: ZonelistOrder) -> Result<(), ZonelistBroken> {
    let mut done = NodeSet::EMPTY;
    for pair in list.refs().windows(2) {
        let &[first, second] = pair else { continue };
        let wrong = match order {
            ZonelistOrder::Node if first.node == second.node => first.zone <= second.zone,
            ZonelistOrder::Node => {
                done = done.with(first.node);
                done.contains(second.node) || second.node == owner
            }
            ZonelistOrder::Zone | ZonelistOrder::Default => {
                first.zone < second.zone || (first.zone == second.zone && second.node == owner)
            }
        };
        if wrong {
            return Err(ZonelistBroken::Order(owner, first));
        }
    }
    Ok(())
}

/// A list as the debugging line shows it, for allocations up to a zone type.
struct Shown<'a>(&'a Zonelist, ZoneType);

impl core::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for entry in self.0.up_to(self.1) {
            write!(f, "{}:{} ", entry.node.raw(), entry.zone.name())?;
        }
        Ok(())
    }
}
