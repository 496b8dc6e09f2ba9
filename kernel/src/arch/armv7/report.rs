//! The report of a fault that nobody expected: all that a kernel author needs, then the end of the run.
//!
//! Theory.      Lines that Linux has are Linux's; what it lacks (the walk in words, what is mapped around the address)
//!              stands between them. The report is made on the exception stack, so a stack overflow can be reported
//!              too. A fault in the report itself gives one line that names both, a further one nothing any more.
//! Source.      Linux `arch/arm/mm/fault.c` (`__do_kernel_fault`, `show_pte`), `arch/arm/kernel/traps.c` (`__die`,
//!              `handle_bad_stack`), `arch/arm/kernel/process.c` (`__show_regs`).

use aarch32_cpu::register::{Dacr, Sctlr, SysRegRead, Ttbr0};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::unwind::Registers;
use mm::fault::{Mode, Neighbours};

use super::backtrace::{self, Place, Start};
use super::fault::{Fault, live_tables};
use super::vectors::{Exception, Frame, Kind};
use crate::image::{self, Stack};
use crate::panic::{self, Depth, Origin};

/// Prints the report and ends the run with a failing status.
#[cold]
pub(super) fn die(frame: &Frame, exception: &Exception) -> ! {
    let fault = Fault::new(frame, exception);
    match panic::enter(Origin::Fault(fault)) {
        Depth::First => {}
        Depth::Nested(first) => {
            let full = if exception.no_room { " (exception stack full)" } else { "" };
            panic::stop(format_args!("nested fault: {fault}{full}, in the report of: {first}"));
        }
        Depth::Hopeless => panic::halt_failed(),
    }
    let overflow = overflown(frame, &fault);
    log::error!("8<--- cut here ---");
    what(&fault, overflow.as_ref());
    if fault.is_abort() {
        walk(&fault);
        around(fault.address);
    }
    oops(&fault, overflow.is_some());
    registers(frame, &fault);
    panic::tell();
    code(frame.pc);
    stack(frame, overflow.as_ref());
    let entering = fault.kind == Kind::PrefetchAbort;
    backtrace::print(&of_frame(frame), if entering { Start::Entering } else { Start::Executing });
    match overflow {
        Some(stack) => panic::stop(format_args!("{} stack overflow: {fault}", stack.name)),
        None => panic::stop(format_args!("{fault}")),
    }
}

/// The stack whose guard page was hit, or that the stack pointer has left.
fn overflown(frame: &Frame, fault: &Fault) -> Option<Stack> {
    let in_guard = |stack: &Stack, va: VirtAddr| stack.guard <= va && va < stack.bottom;
    let hit = |stack: &Stack| {
        let by_access = fault.kind == Kind::DataAbort && in_guard(stack, fault.address);
        let by_pointer = fault.psr.mode() == Mode::Supervisor && in_guard(stack, VirtAddr::new(frame.sp));
        by_access || by_pointer
    };
    image::stacks().into_iter().find(hit)
}

/// What happened, in Linux's words.
fn what(fault: &Fault, overflow: Option<&Stack>) {
    let address = fault.address.raw();
    if let Some(stack) = overflow {
        log::error!("Insufficient stack space to handle exception!");
        let Stack { name, bottom, top, guard } = stack;
        log::error!("{name} stack: [{bottom}..{top}], guard page at {guard}");
    }
    match fault.kind {
        Kind::DataAbort | Kind::PrefetchAbort if fault.status.is_translation() || fault.status.is_permission() => {
            let whom = if address < PAGE_SIZE { "NULL pointer dereference" } else { "paging request" };
            let how = match (fault.kind, fault.write) {
                (Kind::PrefetchAbort, _) => "execute",
                (_, true) => "write",
                (_, false) => "read",
            };
            log::error!("Unable to handle kernel {whom} at virtual address {address:08x} when {how}");
        }
        Kind::DataAbort => log::error!("Unhandled fault: {} ({:#05x}) at {address:#010x}", fault.status, fault.fsr),
        Kind::PrefetchAbort => {
            log::error!("Unhandled prefetch abort: {} ({:#05x}) at {address:#010x}", fault.status, fault.fsr);
        }
        Kind::Undefined | Kind::SupervisorCall | Kind::Unexpected(_) => log::error!("Unhandled exception: {fault}"),
    }
}

/// Both levels of the tables, raw and in words.
fn walk(fault: &Fault) {
    log::error!("pgd = {:08x}, {}: {}", Ttbr0::read_raw() & !0x3fff, register_of(fault.kind), fault.status);
    let Some(trace) = fault.trace else {
        return log::error!("[{:08x}] the tables cannot be read", fault.address.raw());
    };
    log::error!("{trace}");
    log::error!("  first level: {}", trace.first_in_words());
    if let Some(second) = trace.second_in_words() {
        log::error!("  second level: {second}");
    }
}

/// The status register of an abort.
fn register_of(kind: Kind) -> &'static str {
    if kind == Kind::PrefetchAbort { "IFSR" } else { "DFSR" }
}

/// The area of the address, and what is mapped around it.
fn around(address: VirtAddr) {
    if let Some(layout) = crate::system::LAYOUT.get() {
        let areas = layout.areas();
        let (below, above) = (areas.iter().rfind(|area| area.last < address), areas.iter().find(|a| a.start > address));
        match areas.iter().find(|area| area.start <= address && address <= area.last) {
            Some(area) => log::error!("{address} lies in {}, {}-{}", area.name, area.start, area.last),
            None => {
                let name = |area: Option<&mm::paging::Area>| area.map_or("nothing", |area| area.name);
                log::error!("{address} lies in no area: above {}, below {}", name(below), name(above));
            }
        }
    }
    if let Some(part) = image::part_of(address) {
        log::error!("{address} lies in the image's {part}");
    }
    if let Some(tables) = live_tables() {
        for line in Neighbours::of(&tables, address).lines() {
            log::error!("  {line}");
        }
    }
}

/// Linux's line of the kind and its code.
fn oops(fault: &Fault, overflow: bool) {
    match fault.kind {
        _ if overflow => log::error!("Internal error: kernel stack overflow: {:x} [#1] SMP ARM", fault.fsr),
        Kind::Undefined => log::error!("Internal error: Oops - undefined instruction: 0 [#1] SMP ARM"),
        Kind::SupervisorCall => log::error!("Internal error: Oops - bad syscall: 0 [#1] SMP ARM"),
        Kind::DataAbort | Kind::PrefetchAbort => log::error!("Internal error: Oops: {:x} [#1] SMP ARM", fault.fsr),
        Kind::Unexpected(vector) => log::error!("Internal error: Oops - bad mode: {vector} [#1] SMP ARM"),
    }
}

/// All registers, as Linux lays them out.
fn registers(frame: &Frame, fault: &Fault) {
    let [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, fp, ip] = frame.r;
    let Frame { sp, lr, pc, cpsr, .. } = *frame;
    log::error!("PC is at {}", Place(VirtAddr::new(pc)));
    log::error!("LR is at {}", Place(VirtAddr::new(lr)));
    log::error!("pc : [<{pc:08x}>]    lr : [<{lr:08x}>]    psr: {cpsr:08x}");
    log::error!("sp : {sp:08x}  ip : {ip:08x}  fp : {fp:08x}");
    log::error!("r10: {r10:08x}  r9 : {r9:08x}  r8 : {r8:08x}");
    log::error!("r7 : {r7:08x}  r6 : {r6:08x}  r5 : {r5:08x}  r4 : {r4:08x}");
    log::error!("r3 : {r3:08x}  r2 : {r2:08x}  r1 : {r1:08x}  r0 : {r0:08x}");
    log::error!("{}", fault.psr);
    let (sctlr, ttbr, dacr) = (Sctlr::read_raw(), Ttbr0::read_raw(), Dacr::read_raw());
    log::error!("Control: {sctlr:08x}  Table: {ttbr:08x}  DAC: {dacr:08x}");
}

/// The instruction, in brackets, and the four before it.
fn code(pc: u32) {
    let word = |back: u32| backtrace::word(pc.wrapping_sub(back * 4));
    let words = [word(4), word(3), word(2), word(1)];
    match (words, word(0)) {
        ([Some(a), Some(b), Some(c), Some(d)], Some(at)) => {
            log::error!("Code: {a:08x} {b:08x} {c:08x} {d:08x} ({at:08x})");
        }
        _ => log::error!("Code: bad PC value"),
    }
}

/// The top of the stack that was in use.
fn stack(frame: &Frame, overflow: Option<&Stack>) {
    const LINES: u32 = 4;
    let on = |stack: &Stack| stack.bottom.raw() <= frame.sp && frame.sp < stack.top.raw();
    let Some(stack) = image::stacks().into_iter().find(on).or(overflow.copied()) else {
        return log::error!("sp {:08x} lies on no stack", frame.sp);
    };
    log::error!("Stack: ({:#010x} to {})", frame.sp, stack.top);
    let start = frame.sp.max(stack.bottom.raw()) & !0x1f;
    for line in (start..stack.top.raw()).step_by(32).take(LINES as usize) {
        let words = [0, 4, 8, 12, 16, 20, 24, 28].map(|offset| backtrace::word(line + offset).unwrap_or(0));
        let [a, b, c, d, e, f, g, h] = words;
        log::error!("{:04x}: {a:08x} {b:08x} {c:08x} {d:08x} {e:08x} {f:08x} {g:08x} {h:08x}", line & 0xffff);
    }
}

/// The frame as an unwinder starts from it.
fn of_frame(frame: &Frame) -> Registers {
    let [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12] = frame.r;
    Registers([r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, frame.sp, frame.lr, frame.pc])
}
