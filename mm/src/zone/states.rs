//! What each node has: memory, and of which kind; CPUs.
//!
//! Source.      Linux 4.1: `enum node_states`, `/sys/devices/system/node/`.
#![forbid(unsafe_code)]

use core::fmt;

use crate::zone::{NodePlan, NodeSet, ZoneType};

/// The nodes by what they have (Linux: `node_states`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeStates {
    /// Those that are there, also without memory (Linux: `N_ONLINE`).
    pub online: NodeSet,
    /// With memory that is always mapped (Linux: `N_NORMAL_MEMORY`).
    pub normal_memory: NodeSet,
    /// With any memory but Movable's (Linux: `N_HIGH_MEMORY`).
    pub high_memory: NodeSet,
    /// With any memory at all (Linux: `N_MEMORY`).
    pub memory: NodeSet,
    /// With CPUs (Linux: `N_CPU`).
    pub cpu: NodeSet,
}

impl NodeStates {
    /// The states of the planned nodes, of which `with_cpus` have CPUs.
    #[must_use]
    pub fn of(plans: &[NodePlan], with_cpus: NodeSet) -> Self {
        let with = |kinds: &[ZoneType]| {
            let has = |plan: &&NodePlan| kinds.iter().any(|kind| plan.zone(*kind).present > 0);
            plans.iter().filter(has).map(|plan| plan.node).collect()
        };
        let low = [ZoneType::Dma, ZoneType::Normal];
        Self {
            online: plans.iter().map(|plan| plan.node).collect(),
            normal_memory: with(&low),
            high_memory: with(&[low[0], low[1], ZoneType::HighMem]),
            memory: with(&ZoneType::ALL),
            cpu: with_cpus,
        }
    }
}

impl fmt::Display for NodeStates {
    /// The sets by the names of Linux's files: `online 0-1, has_cpu 0, …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { online, normal_memory, high_memory, memory, cpu } = self;
        write!(
            f,
            "online {online}, has_cpu {cpu}, has_memory {memory}, has_normal_memory {normal_memory}, has_high_memory \
             {high_memory}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::NodeId;
    use crate::buddy::model::range;
    use crate::zone::ZoneSize;

    #[test]
    fn each_node_is_in_the_sets_of_what_it_has() {
        let node = |raw| NodeId::new(raw).unwrap();
        let plan = |raw, kinds: &[ZoneType]| {
            let mut zones = [ZoneSize::default(); 4];
            for kind in kinds {
                zones[kind.index()] = ZoneSize { span: range(0, 1), present: 1, real_size: 1 };
            }
            NodePlan { node: node(raw), span: range(0, 1), zones }
        };
        let plans = [
            plan(0, &[ZoneType::Normal, ZoneType::HighMem]),
            plan(1, &[]),
            plan(2, &[ZoneType::HighMem]),
            plan(3, &[ZoneType::Movable]),
        ];
        let states = NodeStates::of(&plans, NodeSet::of(node(0)).with(node(1)));
        assert_eq!(
            states.to_string(),
            "online 0-3, has_cpu 0-1, has_memory 0,2-3, has_normal_memory 0, has_high_memory 0,2"
        );
        assert_eq!(NodeStates::default().to_string().matches("(none)").count(), 5);
    }
}
