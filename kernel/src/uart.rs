//! Which UART the console gets: the tree's, else what the machine number stands for.

use boot::head::HeadInfo;
use boot::info::Stdout;
use mm::addr::PhysAddr;
use mm::layout::FixmapSlot;
use mm::paging::Prot;

use crate::console;
use crate::drivers::pl011::Pl011;
use crate::machine::ArmMachine;

/// Machine numbers of the ARM machine registry and their UARTs, for the line that says why there is no device tree.
/// vexpress: the A15 core tile's map, and the A9's.
const VEXPRESS: u32 = 0x8e0;
const VEXPRESS_RS1_UART: u32 = 0x1c09_0000;
const VEXPRESS_LEGACY_UART: u32 = 0x1000_9000;
const BCM2709: u32 = 0xc42;
const BCM2709_UART: u32 = 0x3f20_1000;
/// MIDR's part number of a Cortex-A9.
const CORTEX_A9: u32 = 0xc09;

/// Gives the console the UART that `stdout` names, or the machine's.
pub fn attach(machine: &ArmMachine, head: &HeadInfo, stdout: Option<&Stdout<'_>>) {
    let registers = match stdout {
        Some(stdout) if stdout.compatible.has("arm,pl011") => Some(stdout.reg.start),
        Some(stdout) => {
            log::warn!("console: {} is no PL011, which is what this image drives", stdout.path);
            None
        }
        None => known_uart(head).map(|address| PhysAddr::new(u64::from(address))),
    };
    let Some(registers) = registers else { return };
    match machine.window(FixmapSlot::EarlyConsole, registers, Prot::DEVICE_RW) {
        // SAFETY: the tree (or the machine's number) says that a PL011 lies there; the slot is the console's alone.
        Ok(pointer) => console::attach(unsafe { Pl011::new(pointer) }),
        Err(error) => log::error!("console: {registers} cannot be mapped: {error}"),
    }
}

fn known_uart(head: &HeadInfo) -> Option<u32> {
    match head.machine {
        VEXPRESS if crate::machine::part_number() == CORTEX_A9 => Some(VEXPRESS_LEGACY_UART),
        VEXPRESS => Some(VEXPRESS_RS1_UART),
        BCM2709 => Some(BCM2709_UART),
        _ => None,
    }
}
