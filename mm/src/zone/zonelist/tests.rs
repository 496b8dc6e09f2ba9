//! Zonelists of one node and of several.

use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::addr::{Pfn, PfnRange};
use crate::testing::scaled;
use crate::zone::{PerZone, ZoneSize};

fn id(raw: u32) -> NodeId {
    NodeId::new(raw).unwrap()
}

/// A node whose zones have these present pages.
fn node(raw: u32, present: PerZone<u32>) -> NodePlan {
    let zones = present.map(|present| {
        let span = PfnRange::new(Pfn::new(0), Pfn::new(present));
        ZoneSize { span, present, real_size: present }
    });
    NodePlan { node: id(raw), span: PfnRange::default(), zones }
}

/// The names of a list: `1:Normal 0:Normal`.
fn names(list: &Zonelist) -> String {
    format!("{}", Shown(list, ZoneType::Movable)).trim_end().into()
}

fn build(nodes: &[NodePlan], topology: &Topology, order: ZonelistOrder) -> Zonelists {
    let built = Zonelists::build(nodes, topology, order);
    assert_eq!(built.validate(nodes), Ok(()));
    built
}

fn summary(lists: &Zonelists, total: u64) -> Vec<String> {
    let mut lines = Vec::new();
    lists.write_summary(total, 1024, &mut |line| lines.push(format!("{line}")));
    lines
}

fn debug_lines(lists: &Zonelists, nodes: &[NodePlan]) -> Vec<String> {
    let mut lines = Vec::new();
    lists.write_lists(nodes, &mut |line| lines.push(format!("{line}")));
    lines
}

#[test]
fn one_node_falls_back_from_highmem_to_dma_as_on_the_reference_board() {
    let nodes = [node(0, [126_720, 0, 4352, 0])];
    let lists = build(&nodes, &Topology::new(NodeSet::ALL), ZonelistOrder::Default);
    assert_eq!(
        debug_lines(&lists, &nodes),
        ["mminit::zonelist general 0:DMA = 0:DMA ", "mminit::zonelist general 0:HighMem = 0:HighMem 0:DMA "]
    );
    assert_eq!(summary(&lists, 129_958), ["Built 1 zonelists, mobility grouping on.  Total pages: 129958"]);
}

#[test]
fn the_board_without_highmem_prints_the_notes_line() {
    let lists = build(&[node(0, [0, 126_464, 0, 0])], &Topology::new(NodeSet::ALL), ZonelistOrder::Default);
    assert_eq!(summary(&lists, 125_476), ["Built 1 zonelists, mobility grouping on.  Total pages: 125476"]);
}

#[test]
fn a_machine_of_fewer_blocks_than_types_does_not_group() {
    let lists = build(&[node(0, [0, 6143, 0, 0])], &Topology::new(NodeSet::ALL), ZonelistOrder::Default);
    assert_eq!(summary(&lists, 6143), ["Built 1 zonelists, mobility grouping off.  Total pages: 6143"]);
    assert!(mobility_grouping(6144, 1024));
}

#[test]
fn zone_order_takes_every_highmem_before_any_lowmem() {
    let nodes = [node(0, [10, 10, 0, 0]), node(1, [0, 0, 10, 10])];
    let lists = build(&nodes, &Topology::new(NodeSet::ALL), ZonelistOrder::Default);
    assert_eq!(names(&lists.node(id(0)).unwrap().general), "1:Movable 1:HighMem 0:Normal 0:DMA");
    assert_eq!(lists.order(), ZonelistOrder::Zone);
    assert_eq!(
        summary(&lists, 9000),
        ["Built 2 zonelists in Zone order, mobility grouping on.  Total pages: 9000", "Policy zone: HighMem"]
    );
}

#[test]
fn node_order_stays_on_a_node_as_long_as_it_can() {
    let nodes = [node(0, [10, 10, 0, 0]), node(1, [0, 10, 10, 0])];
    let lists = build(&nodes, &Topology::new(NodeSet::ALL), ZonelistOrder::Node);
    assert_eq!(names(&lists.node(id(0)).unwrap().general), "0:Normal 0:DMA 1:HighMem 1:Normal");
    assert_eq!(names(&lists.node(id(1)).unwrap().general), "1:HighMem 1:Normal 0:Normal 0:DMA");
    assert_eq!(names(&lists.node(id(1)).unwrap().this_node), "1:HighMem 1:Normal");
    assert!(debug_lines(&lists, &nodes).contains(&"mminit::zonelist thisnode 1:Normal = 1:Normal ".into()));
    assert!(summary(&lists, 9000)[0].starts_with("Built 2 zonelists in Node order"));
}

#[test]
fn equally_far_nodes_are_taken_in_a_ring_so_that_no_node_is_everyones_second() {
    let nodes = [0, 1, 2, 3].map(|raw| node(raw, [0, 10, 0, 0]));
    let lists = build(&nodes, &Topology::new(NodeSet::ALL), ZonelistOrder::Node);
    let general = [0, 1, 2, 3].map(|raw| names(&lists.node(id(raw)).unwrap().general));
    assert_eq!(general[0], "0:Normal 1:Normal 2:Normal 3:Normal");
    assert_eq!(general[1], "1:Normal 2:Normal 3:Normal 0:Normal");
    // Node 1 carries the load of being node 0's second choice.
    assert_eq!(general[2], "2:Normal 3:Normal 0:Normal 1:Normal");
    assert_eq!(general[3], "3:Normal 0:Normal 1:Normal 2:Normal");
}

#[test]
fn the_load_of_earlier_lists_breaks_ties() {
    // Nodes 1 and 2 have no CPUs. Node 0 loads 1 by 3 (its first choice), node 1 loads 0 by 3, 3 by 2 and 2 by 1.
    let nodes = [0, 1, 2, 3].map(|raw| node(raw, [0, 10, 0, 0]));
    let mut topology = Topology::new(NodeSet::of(id(0)).with(id(3)));
    topology.set_distance(id(1), id(0), 15);
    topology.set_distance(id(1), id(2), 40);
    let lists = build(&nodes, &topology, ZonelistOrder::Node);
    assert_eq!(names(&lists.node(id(0)).unwrap().general), "0:Normal 1:Normal 2:Normal 3:Normal");
    // For node 2, node 1 (no CPUs, but a lower number) and node 3 (CPUs) have equal points: the lesser load leads.
    assert_eq!(names(&lists.node(id(2)).unwrap().general), "2:Normal 3:Normal 1:Normal 0:Normal");
    assert_eq!(names(&lists.node(id(3)).unwrap().general), "3:Normal 2:Normal 1:Normal 0:Normal");
}

#[test]
fn a_nearer_node_comes_first_and_a_node_without_cpus_before_one_with() {
    let nodes = [0, 1, 2, 3].map(|raw| node(raw, [0, 10, 0, 0]));
    let mut topology = Topology::new(NodeSet::of(id(0)).with(id(1)));
    topology.set_distance(id(0), id(3), 15);
    let lists = build(&nodes, &topology, ZonelistOrder::Node);
    assert_eq!(names(&lists.node(id(0)).unwrap().general), "0:Normal 3:Normal 2:Normal 1:Normal");
}

#[test]
fn a_node_without_memory_gets_the_others_zones_and_an_empty_list_of_its_own() {
    let nodes = [node(0, [0, 10, 0, 0]), node(2, [0; 4])];
    let lists = build(&nodes, &Topology::new(NodeSet::ALL), ZonelistOrder::Default);
    assert_eq!(names(&lists.node(id(2)).unwrap().general), "0:Normal");
    assert_eq!(names(&lists.node(id(0)).unwrap().general), "0:Normal");
    assert!(lists.node(id(2)).unwrap().this_node.refs().is_empty());
    assert!(lists.node(id(1)).is_none());
}

#[test]
fn a_node_without_memory_takes_no_load() {
    let nodes = [node(0, [0, 10, 0, 0]), node(1, [0; 4]), node(2, [0, 10, 0, 0]), node(3, [0, 10, 0, 0])];
    let lists = build(&nodes, &Topology::new(NodeSet::ALL), ZonelistOrder::Node);
    // Node 2 is node 0's second choice and loaded, so node 1 prefers node 3.
    assert_eq!(names(&lists.node(id(0)).unwrap().general), "0:Normal 2:Normal 3:Normal");
    assert_eq!(names(&lists.node(id(1)).unwrap().general), "3:Normal 2:Normal 0:Normal");
}

#[test]
fn verification_names_what_is_wrong() {
    let nodes = [node(0, [10, 10, 0, 0]), node(1, [0, 10, 0, 0])];
    let good = build(&nodes, &Topology::new(NodeSet::ALL), ZonelistOrder::Node);
    let with_general = |refs: &[(u32, ZoneType)]| {
        let mut list = Zonelist::default();
        for &(raw, zone) in refs {
            assert!(list.push(ZoneRef { node: id(raw), zone }));
        }
        let mut lists = good;
        lists.lists[0].general = list;
        lists.validate(&nodes)
    };
    let (dma, normal) = (ZoneType::Dma, ZoneType::Normal);
    let entry = |raw, zone| ZoneRef { node: id(raw), zone };
    assert_eq!(with_general(&[(0, normal), (0, dma), (1, normal)]), Ok(()));
    assert_eq!(with_general(&[(0, normal), (0, dma)]), Err(ZonelistBroken::Missing(id(0), entry(1, normal))));
    assert_eq!(
        with_general(&[(0, normal), (0, normal), (0, dma), (1, normal)]),
        Err(ZonelistBroken::Extra(id(0), entry(0, normal)))
    );
    let empty = entry(0, ZoneType::HighMem);
    assert_eq!(
        with_general(&[(0, ZoneType::HighMem), (0, normal), (0, dma), (1, normal)]),
        Err(ZonelistBroken::Extra(id(0), empty))
    );
    let mut lists = good;
    lists.lists[0].this_node = lists.lists[0].general;
    assert_eq!(lists.validate(&nodes), Err(ZonelistBroken::Extra(id(0), entry(1, normal))));
    assert_eq!(with_general(&[(0, dma), (0, normal), (1, normal)]), Err(ZonelistBroken::Order(id(0), entry(0, dma))));
    assert_eq!(
        with_general(&[(1, normal), (0, normal), (0, dma)]),
        Err(ZonelistBroken::Order(id(0), entry(1, normal)))
    );
    assert_eq!(
        with_general(&[(0, normal), (1, normal), (0, dma)]),
        Err(ZonelistBroken::Order(id(0), entry(1, normal)))
    );
}

#[test]
fn the_boot_argument_counts_by_its_first_letter() {
    assert_eq!(ZonelistOrder::parse("node"), Some(ZonelistOrder::Node));
    assert_eq!(ZonelistOrder::parse("Z"), Some(ZonelistOrder::Zone));
    assert_eq!(ZonelistOrder::parse("default"), Some(ZonelistOrder::Default));
    assert_eq!((ZonelistOrder::parse(""), ZonelistOrder::parse("1")), (None, None));
    assert_eq!(ZonelistOrder::Default.resolve(64), ZonelistOrder::Node);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scaled(256)))]

    #[test]
    fn lists_of_random_machines_verify(
        present in prop::collection::vec(prop::array::uniform4(0_u32..3), 1..=4),
        distances in prop::array::uniform16(10_u8..40),
        cpus in 0_u32..16,
        order in prop_oneof![Just(ZonelistOrder::Node), Just(ZonelistOrder::Zone)],
    ) {
        let nodes: Vec<NodePlan> = (0..).zip(present).map(|(raw, present)| node(raw, present)).collect();
        let mut topology = Topology::new((0..4).filter(|raw| cpus & (1 << raw) != 0).map(id).collect());
        for (place, distance) in (0..).zip(distances) {
            topology.set_distance(id(place / 4), id(place % 4), distance);
        }
        prop_assert_eq!(Zonelists::build(&nodes, &topology, order).validate(&nodes), Ok(()));
    }
}
