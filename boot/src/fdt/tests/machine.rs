//! What the machine is: its processors, its firmware, its distances, and how far its buses reach.

use mm::addr::PhysAddr;

use super::info;
use crate::fdt::builder::Builder;
use crate::info::{Conduit, Distance};

#[test]
fn the_dma_limit_is_the_lowest_of_the_ends_that_enabled_buses_reach() {
    let mut tree = Builder::with_root(1, 1);
    info(&mut tree.clone(), |info| assert_eq!(info.dma_limit, None));
    tree.begin("soc").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    // Bus addresses from 0xc000_0000 are RAM from 0: 0 + 0x3f00_0000.
    tree.cells("dma-ranges", &[0xc000_0000, 0, 0x3f00_0000]);
    tree.begin("inner").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    // Through the outer bus: 0xc000_0000 is 0, so this reaches 0x1000_0000 + 0x1000_0000.
    tree.cells("dma-ranges", &[0, 0xc000_0000, 0x800_0000, 0x4000_0000, 0xd000_0000, 0x1000_0000]).end();
    tree.begin("off").text("status", "disabled").cells("dma-ranges", &[0, 0, 1]).end();
    tree.begin("one-to-one").prop("dma-ranges", &[]).end();
    tree.end();
    info(&mut tree.clone(), |info| assert_eq!(info.dma_limit, Some(PhysAddr::new(0x2000_0000))));
    tree.begin("pcie").cells("#address-cells", &[3]).cells("#size-cells", &[2]);
    tree.cells("dma-ranges", &[0x200_0000, 0, 0, 0, 0, 0x800_0000]).end();
    info(&mut tree, |info| assert_eq!(info.dma_limit, Some(PhysAddr::new(0x800_0000))));
}

#[test]
fn processors_firmware_and_distances_are_read() {
    let mut tree = Builder::with_root(1, 1);
    tree.text("model", "V2P-CA15").text("compatible", "arm,vexpress,v2p-ca15\0arm,vexpress");
    tree.begin("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0]).text("enable-method", "psci");
    tree.begin("cpu-map").end();
    tree.begin("cpu@0").text("device_type", "cpu").cells("reg", &[0]).end();
    tree.begin("other").text("device_type", "cpu").cells("reg", &[0x101]).text("enable-method", "spin-table");
    tree.cells("cpu-release-addr", &[0, 0x8000_0000]).end();
    tree.begin("cpu@2").cells("reg", &[2]).text("status", "fail-core").end();
    tree.begin("cpu@3").cells("reg", &[0xff00_0000]).end();
    tree.end();
    tree.begin("psci")
        .text("compatible", "arm,psci-0.2\0arm,psci")
        .text("method", "hvc")
        .cells("cpu_on", &[0x95c1_ba60]);
    tree.end();
    tree.begin("distance-map").cells("distance-matrix", &[0, 0, 10, 0, 1, 20, 7]).end();
    info(&mut tree, |info| {
        assert_eq!(info.model, "V2P-CA15");
        assert!(info.compatible.has("arm,vexpress"));
        let cpus: Vec<_> = info.cpus.as_slice().iter().map(|cpu| (cpu.mpidr, cpu.enable_method)).collect();
        assert_eq!(cpus, [(0, "psci"), (0x101, "spin-table")]);
        assert_eq!(info.cpus.as_slice()[1].release, Some(PhysAddr::new(0x8000_0000)));
        let psci = info.psci.unwrap();
        assert_eq!((psci.conduit, psci.standard), (Conduit::Hvc, true));
        assert_eq!((psci.cpu_on, psci.cpu_off), (Some(0x95c1_ba60), Some(0x8400_0002)));
        let distances: Vec<_> = info.distances.collect();
        let entry = |from, to, distance| Distance { from, to, distance };
        assert_eq!(distances, [entry(0, 0, 10), entry(0, 1, 20)]);
    });
}

#[test]
fn before_psci_0_2_only_the_tree_knows_the_numbers() {
    let mut tree = Builder::with_root(1, 1);
    tree.begin("psci").text("compatible", "arm,psci").text("method", "smc").cells("cpu_on", &[0x95c1_ba60]).end();
    info(&mut tree, |info| {
        let psci = info.psci.unwrap();
        assert_eq!(
            (psci.conduit, psci.standard, psci.cpu_on, psci.cpu_off),
            (Conduit::Smc, false, Some(0x95c1_ba60), None)
        );
    });
}

#[test]
fn more_processors_than_are_kept_are_counted() {
    let mut tree = Builder::with_root(1, 1);
    tree.begin("cpus").cells("#address-cells", &[1]);
    for id in 0..12 {
        tree.begin(&format!("cpu@{id}")).cells("reg", &[id]).end();
    }
    tree.end();
    info(&mut tree, |info| assert_eq!((info.cpus.found(), info.cpus.as_slice().len()), (12, 8)));
}
