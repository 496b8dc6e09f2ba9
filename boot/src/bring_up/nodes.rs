//! The machine's nodes: which have CPUs, which one the boot runs on, how far they are from each other.
//!
//! Theory.      The tree gives a node to each memory node and to each CPU, and to pairs of nodes a distance. Numbers
//!              can be missing. Whatever has none belongs to the lowest node with memory. A node can have CPUs alone:
//!              it is there, but its zones are empty.
//! Not here.    What the numbers do to the fallback order (`mm::zone::zonelist`).
//! Source.      Linux drivers/of/of_numa.c: `of_numa_parse_distance_map_v1`; drivers/base/arch_numa.c:
//!              `numa_set_distance`, `early_map_cpu_to_node`.

use mm::addr::NodeId;
use mm::memblock::Memblock;
use mm::zone::plan::MachinePlan;
use mm::zone::zonelist::{LOCAL_DISTANCE, Topology};
use mm::zone::{NodeSet, NodeStates};

use super::Given;
use crate::info::Distance;

/// MPIDR's affinity fields.
const AFFINITY: u32 = 0x00ff_ffff;

/// What the zones' plan and the zonelists need to know.
#[derive(Debug)]
pub(super) struct Nodes {
    /// Distances, and which nodes have CPUs.
    pub(super) topology: Topology,
    /// The node of the CPU that boots.
    pub(super) local: NodeId,
}

impl Nodes {
    /// Logs what each node has, where there are several.
    pub(super) fn log_states(&self, plan: &MachinePlan) {
        if plan.nodes().len() > 1 {
            log::info!("NUMA: nodes: {}", NodeStates::of(plan.nodes(), self.topology.with_cpus()));
        }
    }

    /// Reads them from the tree; a machine of several nodes gets a line for each of its banks.
    pub(super) fn find<M>(memblock: &Memblock<'_>, given: &Given<'_, M>) -> Self {
        let with_memory: NodeSet = memblock.memory().iter().map(|region| region.node()).collect();
        let first = with_memory.iter().next().unwrap_or_default();
        let cpus = given.info.cpus.as_slice();
        let with_cpus: NodeSet = cpus.iter().map(|cpu| cpu.node.unwrap_or(first)).collect();
        let boot_cpu = cpus.iter().find(|cpu| cpu.mpidr == given.mpidr & AFFINITY);
        let local = boot_cpu.and_then(|cpu| cpu.node).unwrap_or(first);
        let with_cpus = with_cpus.with(local);
        let mut topology = Topology::new(with_cpus);
        if with_memory.union(with_cpus).len() > 1 {
            for region in memblock.memory().iter() {
                let (start, last) = (region.range().start, region.range().end.raw().saturating_sub(1));
                log::info!("NUMA: Adding memblock [{start} - {last:#010x}] on node {}", region.node().raw());
            }
            set_distances(&mut topology, given.info.distances);
        }
        Self { topology, local }
    }
}

/// Enters the tree's distances. One that is told for a pair in one direction only counts in both; one that cannot be
/// is left out, with a line.
fn set_distances(topology: &mut Topology, entries: impl Iterator<Item = Distance>) {
    for Distance { from, to, distance } in entries {
        let (Some(a), Some(b)) = (NodeId::new(from), NodeId::new(to)) else {
            log::warn!("NUMA: Warning: node ids are out of bound, from={from} to={to} distance={distance}");
            continue;
        };
        let fits = u8::try_from(distance).ok();
        let valid =
            fits.filter(|distance| if a == b { *distance == LOCAL_DISTANCE } else { *distance > LOCAL_DISTANCE });
        let Some(distance) = valid else {
            log::warn!("NUMA: Invalid distance[node{from} -> node{to}] = {distance}");
            continue;
        };
        topology.set_distance(a, b, distance);
        if b > a {
            topology.set_distance(b, a, distance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm::testing::with_log;

    fn node(raw: u32) -> NodeId {
        NodeId::new(raw).unwrap()
    }

    fn distances(entries: &[[u32; 3]]) -> (Topology, Vec<String>) {
        let mut topology = Topology::new(NodeSet::of(NodeId::ZERO));
        let entries = entries.iter().map(|[from, to, distance]| Distance { from: *from, to: *to, distance: *distance });
        let ((), log) = with_log(|| set_distances(&mut topology, entries));
        (topology, log)
    }

    #[test]
    fn a_distance_in_one_direction_counts_in_both_until_the_other_is_told() {
        let (topology, log) = distances(&[[0, 1, 15], [1, 2, 30], [2, 1, 40]]);
        assert_eq!(
            [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2)].map(|(a, b)| topology.distance(node(a), node(b))),
            [15, 15, 30, 40, 20]
        );
        assert!(log.is_empty());
    }

    #[test]
    fn a_distance_that_cannot_be_is_named_and_left_out() {
        let (topology, log) = distances(&[[0, 0, 20], [0, 1, 10], [1, 0, 256], [4, 0, 20], [1, 1, 10]]);
        assert_eq!(topology, Topology::new(NodeSet::of(NodeId::ZERO)));
        assert_eq!(
            log,
            [
                "NUMA: Invalid distance[node0 -> node0] = 20",
                "NUMA: Invalid distance[node0 -> node1] = 10",
                "NUMA: Invalid distance[node1 -> node0] = 256",
                "NUMA: Warning: node ids are out of bound, from=4 to=0 distance=20",
            ]
        );
    }
}
