//! The machine besides its memory: processors, the power firmware, distances between nodes; and [`BootInfo`] whole.
//!
//! Source.      Devicetree Specification 3.8; Linux arch/arm/kernel/devtree.c `arm_dt_init_cpu_maps`,
//!              drivers/firmware/psci, drivers/of/of_numa.c for the bindings.
#![forbid(unsafe_code)]

use mm::addr::{NodeId, PhysAddr};

use super::ValidFdt;
use super::cells::{number, take};
use super::chosen::console;
use super::tree::{Node, StrList};
use crate::info::{BootInfo, Conduit, Cpu, CpuList, Distance, Distances, Psci};
use crate::shown::Shown;

/// The affinity bits of an MPIDR: a `reg` with others is no ARMv7 processor.
const MPIDR_AFFINITY: u64 = 0x00ff_ffff;

impl<'a> BootInfo<'a> {
    /// Reads everything that the boot sequence needs besides memory. To be called once: it logs, one line each, what it
    /// leaves out of the console's path, `/cpus`, the firmware's node and the distance map.
    #[must_use]
    pub fn parse(fdt: &ValidFdt<'a>) -> Self {
        let root = fdt.root();
        let named = fdt.named_stdout();
        let survey = fdt.survey(named.is_none());
        Self {
            model: root.text("model").or_else(|| root.text("compatible")).unwrap_or_default(),
            compatible: StrList(root.property("compatible").unwrap_or_default()),
            bootargs: fdt.bootargs(),
            initrd: fdt.initrd(),
            stdout: named.or_else(|| survey.uart.and_then(|trail| console(&trail, ""))),
            usable_memory: fdt.usable_memory(),
            dma_limit: survey.dma_limit.map(PhysAddr::new),
            cpus: fdt.cpus(),
            psci: survey.psci.and_then(|node| psci(&node)),
            distances: fdt.distances(),
        }
    }
}

impl<'a> ValidFdt<'a> {
    /// The children of `/cpus` that are processors; a disabled one can still be started, a failed one cannot.
    fn cpus(&self) -> CpuList<'a> {
        let mut list = CpuList::default();
        let Some(cpus) = self.node(self.landmarks.cpus) else { return list };
        let method = cpus.text("enable-method");
        let cells = cpus.cell("#address-cells").unwrap_or(1);
        for node in cpus.children() {
            let is_cpu = node.is_called("cpu") || node.text("device_type") == Some("cpu");
            if !is_cpu || node.text("status").is_some_and(|status| status.starts_with("fail")) {
                continue;
            }
            match node.property("reg").and_then(|mut reg| take(&mut reg, cells)) {
                Some(id) if id & !MPIDR_AFFINITY == 0 => list.push(Cpu {
                    mpidr: u32::try_from(id).unwrap_or_default(),
                    enable_method: node.text("enable-method").or(method).unwrap_or_default(),
                    release: node.property("cpu-release-addr").and_then(number).map(PhysAddr::new),
                    node: cpu_node(&node),
                }),
                Some(id) => log::warn!("OF: fdt: /cpus/{}: reg {id:#x} is no MPIDR, ignoring", node.name()),
                None => log::warn!("OF: fdt: /cpus/{}: no reg, ignoring", node.name()),
            }
        }
        if list.found() > list.as_slice().len() {
            log::warn!("OF: fdt: /cpus: {} processors, only the first {} count", list.found(), CpuList::MAX);
        }
        list
    }

    /// The entries of `/distance-map`.
    fn distances(&self) -> Distances<'a> {
        let map = self.node(self.landmarks.distance_map);
        let matrix = map.and_then(|node| node.property("distance-matrix")).unwrap_or_default();
        if !matrix.len().is_multiple_of(12) {
            log::warn!(
                "NUMA: /distance-map: distance-matrix of {} bytes is not in threes, ignoring the last {}",
                matrix.len(),
                matrix.len() % 12
            );
        }
        Distances::new(matrix)
    }
}

/// The NUMA node of a processor; a number that no node can have is told of.
fn cpu_node(cpu: &Node<'_>) -> Option<NodeId> {
    let id = cpu.cell("numa-node-id")?;
    let node = NodeId::new(id);
    if node.is_none() {
        log::warn!(
            "NUMA: Node id {id} exceeds maximum value (/cpus/{} numa-node-id): the first node instead",
            cpu.name()
        );
    }
    node
}

/// Reads the firmware's node; a conduit that is missing or unknown leaves it out, with a line.
fn psci(node: &Node<'_>) -> Option<Psci> {
    let conduit = match node.text("method") {
        Some("hvc") => Conduit::Hvc,
        Some("smc") => Conduit::Smc,
        method => {
            log::warn!(
                "psci: /{}: method \"{}\" is neither hvc nor smc, ignoring",
                node.name(),
                Shown(method.unwrap_or(""))
            );
            return None;
        }
    };
    let standard = StrList(node.property("compatible").unwrap_or_default()).any(|name| name != "arm,psci");
    // From 0.2 on the numbers are the specification's; before that only the tree knows them.
    let id = |name, fixed| node.cell(name).or(standard.then_some(fixed));
    Some(Psci {
        conduit,
        standard,
        cpu_suspend: id("cpu_suspend", 0x8400_0001),
        cpu_off: id("cpu_off", 0x8400_0002),
        cpu_on: id("cpu_on", 0x8400_0003),
        system_off: standard.then_some(0x8400_0008),
        system_reset: standard.then_some(0x8400_0009),
    })
}

impl Iterator for Distances<'_> {
    type Item = Distance;

    fn next(&mut self) -> Option<Distance> {
        let mut cell = || take(&mut self.0, 1).and_then(|cell| u32::try_from(cell).ok());
        Some(Distance { from: cell()?, to: cell()?, distance: cell()? })
    }
}
