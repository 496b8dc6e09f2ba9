//! The Quire image: ARM instructions behind the traits of `mm` and `boot`, and the order in which they are put to use.
#![no_std]
#![no_main]
#![allow(unreachable_pub, reason = "nothing of a binary is reachable from outside: `pub` says what a module offers")]

mod arch;
mod bench;
mod console;
mod drivers;
mod image;
mod initmem;
mod logger;
mod machine;
mod oops;
mod panic;
mod percpu;
mod ram;
mod ranks;
mod selftest;
mod semihost;
mod space;
mod system;
mod torture;
mod uart;
mod vm;

use core::cell::UnsafeCell;

use boot::bring_up::{Booted, Given, bring_up};
use boot::cmdline::BootArgs;
use boot::fdt::{self, ValidFdt};
use boot::head::HeadInfo;
use boot::info::BootInfo;
use mm::addr::{PhysAddr, PhysRange};
use mm::layout::{DTB_BASE, DTB_SIZE};
use mm::memblock::Region;
use mm::paging::Tables;
use mm::sync::InitOnce;

use arch::armv7::irq::ArmIrq;
use arch::armv7::{clock, vectors};
use machine::ArmMachine;
use panic::{halt, refuse};
use system::System;

/// Memblock's first arrays (Linux: `INIT_MEMBLOCK_REGIONS`).
const REGIONS: usize = 128;

struct FirstArrays(UnsafeCell<([Region; REGIONS], [Region; REGIONS])>);

// SAFETY: only `quire_main` uses it, once, on the boot CPU.
unsafe impl Sync for FirstArrays {}

#[unsafe(link_section = ".init.bss")]
static FIRST_ARRAYS: FirstArrays = FirstArrays(UnsafeCell::new(([Region::EMPTY; REGIONS], [Region::EMPTY; REGIONS])));

/// What the boot left, for as long as the machine runs.
static BOOTED: InitOnce<Booted<ArmIrq>> = InitOnce::new();

/// The first Rust code at its linked address; `start.S` calls it once.
#[unsafe(no_mangle)]
extern "C" fn quire_main(head: &'static HeadInfo) -> ! {
    clock::start();
    percpu::leave();
    vectors::install();
    semihost::detect();
    logger::install();
    let facts = machine::cpu_facts(head);
    facts.log();
    let image = image::layout(head);
    // SAFETY: this is the boot CPU, and nothing has used the tables before.
    let machine = match unsafe { ArmMachine::new(head, image) } {
        Ok(machine) => machine,
        Err(error) => refuse(format_args!("the first tables cannot be written: {error}")),
    };
    let fdt = device_tree(head, &machine);
    let info = BootInfo::parse(&fdt);
    uart::attach(&machine, head, info.stdout.as_ref().map(|stdout| (stdout, &fdt)));
    fdt.report();
    if let Err(unfit) = facts.check() {
        refuse(format_args!("{unfit}"));
    }
    let args = BootArgs::parse(info.bootargs);
    if args.semihosting == Some(false) {
        semihost::forbid();
    }
    // SAFETY: this function runs once, and nobody else refers to the arrays.
    let arrays = unsafe { &mut *FIRST_ARRAYS.0.get() };
    let given = Given {
        machine: &machine,
        head,
        image,
        sizes: image::sizes(),
        fdt,
        info,
        args,
        mpidr: facts.mpidr,
        percpu: image::percpu_template(),
        arrays: (&mut arrays.0, &mut arrays.1),
        aliasing_cache: facts.vipt_aliasing(),
    };
    match bring_up(given) {
        Ok(booted) => {
            if let Err(error) = machine.end_early_io() {
                refuse(format_args!("early_ioremap: {error}"));
            }
            after_boot(head, booted, &args, fdt.total_size())
        }
        Err(error) => refuse(format_args!("{error}")),
    }
}

/// The device tree that the head mapped, checked; without one there is nothing to boot from.
fn device_tree(head: &'static HeadInfo, machine: &ArmMachine) -> ValidFdt<'static> {
    let give_up = |why: core::fmt::Arguments<'_>| -> ! {
        uart::attach(machine, head, None);
        refuse(why)
    };
    if head.dtb == 0 {
        give_up(format_args!("r2 = {:#010x} points to no device tree; ATAGs are not read", head.dtb_given));
    }
    let offset = head.dtb & (mm::addr::SECTION_SIZE - 1);
    let start = DTB_BASE.raw() + offset;
    let window = (DTB_SIZE - offset) as usize;
    let bytes = window.min(head.dtb_size as usize);
    // SAFETY: the head mapped two sections from the one that holds the tree, read-only, and found `dtb_size` bytes
    // below the end of the address space; nobody writes them.
    let blob = unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(start as usize), bytes) };
    match fdt::validate(blob) {
        Ok(fdt) => fdt,
        Err(error) => give_up(format_args!("{error}")),
    }
}

/// Checks everything once, then does what the boot arguments ask for. From here on the boot's own code is not called.
#[inline(never)]
fn after_boot(head: &'static HeadInfo, mut booted: Booted<ArmIrq>, args: &BootArgs<'_>, dtb_bytes: u32) -> ! {
    let layout = booted.mm.layout();
    layout.log(&image::sections());
    // Set here alone, once.
    let _ = system::LAYOUT.set(layout);
    if !percpu::enter(&booted.percpu, &layout.linear, 0) {
        refuse(format_args!("the per-CPU area {} is not mapped", booted.percpu.chunk));
    }
    ranks::start();
    // SAFETY: `quire_main` does not go on, and what runs from here on is none of the boot's own; the tables are
    // nobody's yet.
    if let Err(error) = unsafe { initmem::free(head, &mut booted) } {
        refuse(format_args!("{error}"));
    }
    let Ok(booted) = BOOTED.set(booted) else { refuse(format_args!("this CPU has booted already")) };
    let root = PhysAddr::new(u64::from(head.table));
    // SAFETY: the boot is over: this value reads words, as the MMU does, while `vm` changes them.
    let tables = match unsafe { Tables::new(&ram::RAM, root) } {
        Ok(tables) => tables,
        Err(error) => refuse(format_args!("the tables cannot be read: {error}")),
    };
    // SAFETY: the boot is over.
    let vm = match unsafe { vm::start(head, layout, booted) } {
        Ok(vm) => vm,
        Err(error) => refuse(format_args!("virtual memory cannot be set up: {error}")),
    };
    if let Err(error) = space::start(head, booted.mm.allocator()) {
        refuse(format_args!("address spaces cannot be set up: {error}"));
    }
    // Set here alone, once.
    let _ = booted.mm.allocator().set_page_access(vm);
    let start = PhysAddr::new(u64::from(head.dtb));
    let dtb = PhysRange::new(start, start.saturating_add(u64::from(dtb_bytes)));
    let system = System { head, image: image::layout(head), layout, tables, dtb, booted, vm };
    if let Some(views) = args.dump {
        system.dump(views);
    }
    if !system.validate() {
        refuse(format_args!("an invariant does not hold at the end of the boot"));
    }
    log::info!("mm: every invariant holds");
    if let Some(name) = args.oops {
        oops::raise(name);
    }
    if let Some(names) = args.bench {
        bench::run(&system, names);
    }
    let held = args.torture.is_none_or(|arg| torture::run(&system, arg, args.torture_trace));
    let failed = selftest::run(&system, selftest::Filter::new(args.selftest));
    halt(i32::from(failed > 0 || !held))
}
