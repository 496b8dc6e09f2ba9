//! Which UART the console gets: the tree's, else what the machine number stands for.

use boot::fdt::ValidFdt;
use boot::head::HeadInfo;
use boot::info::Stdout;
use mm::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
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

/// Gives the console the UART that `stdout` names, or else the machine's.
pub fn attach(machine: &ArmMachine, head: &HeadInfo, stdout: Option<(&Stdout<'_>, &ValidFdt<'_>)>) {
    let named = stdout.and_then(|(stdout, fdt)| named_uart(stdout, fdt));
    let known = known_uart(head).map(|address| PhysAddr::new(u64::from(address)));
    for registers in named.into_iter().chain(known) {
        match machine.window(FixmapSlot::EarlyConsole, registers, Prot::DEVICE_RW) {
            Ok(pointer) if Pl011::is_there(VirtAddr::new(pointer.as_ptr() as u32)) => {
                // SAFETY: the registers name themselves as a PrimeCell where the tree or the machine's number says
                // that a PL011 lies; the slot is the console's alone.
                return console::attach(unsafe { Pl011::new(pointer) });
            }
            Ok(_) => log::warn!("console: no PL011 answers at {registers}"),
            Err(error) => log::error!("console: {registers} cannot be mapped: {error}"),
        }
    }
}

/// The address of the PL011 that the tree names; `None`, with a line, for another UART or an impossible address.
fn named_uart(stdout: &Stdout<'_>, fdt: &ValidFdt<'_>) -> Option<PhysAddr> {
    let registers = stdout.reg.start;
    if !stdout.compatible.has("arm,pl011") {
        log::warn!("console: {} is no PL011, which is what this image drives", stdout.path);
        return None;
    }
    let in_ram = fdt.memory_banks().any(|bank| bank.range.contains(registers));
    if in_ram || !registers.is_aligned(u64::from(PAGE_SIZE)) {
        log::warn!("console: {}: reg {registers} is {}", stdout.path, if in_ram { "in RAM" } else { "no page" });
        return None;
    }
    Some(registers)
}

fn known_uart(head: &HeadInfo) -> Option<u32> {
    match head.machine {
        VEXPRESS if crate::machine::part_number() == CORTEX_A9 => Some(VEXPRESS_LEGACY_UART),
        VEXPRESS => Some(VEXPRESS_RS1_UART),
        BCM2709 => Some(BCM2709_UART),
        _ => None,
    }
}
