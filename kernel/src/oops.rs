//! Faults on demand: `oops=NAME` raises one at the end of the boot, so that its report can be read.

use core::arch::asm;
use core::fmt;

use mm::addr::VirtAddr;

use crate::arch::armv7::fault::catch_fault;
use crate::image;
use crate::panic;

/// A fault, by its name in the boot argument.
struct Oops {
    name: &'static str,
    raise: fn(),
}

const OOPSES: [Oops; 12] = [
    Oops { name: "null", raise: read_null },
    Oops { name: "write", raise: || store(VirtAddr::new(0)) },
    Oops { name: "execute", raise: || jump(VirtAddr::new(0)) },
    Oops { name: "text", raise: || store(image::code().start) },
    Oops { name: "data", raise: execute_data },
    Oops { name: "undefined", raise: undefined },
    Oops { name: "svc", raise: supervisor_call },
    Oops { name: "stack", raise: overflow_stack },
    Oops { name: "nested", raise: nested },
    Oops { name: "deep", raise: deep },
    Oops { name: "caught", raise: caught },
    Oops { name: "panic", raise: || panics(None) },
];

/// Raises the fault `name`, which ends the run; so does a name that no fault has.
pub fn raise(name: &str) -> ! {
    if let Some(oops) = OOPSES.iter().find(|oops| oops.name == name) {
        (oops.raise)();
        panic::stop(format_args!("oops={name}: nothing faulted"));
    }
    panic::refuse(format_args!("oops={name}: not one of {Names}"))
}

/// Displays the names.
struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for oops in &OOPSES {
            write!(f, "{separator}{}", oops.name)?;
            separator = ", ";
        }
        Ok(())
    }
}

#[inline(never)]
fn read_null() {
    // SAFETY: nothing is mapped at 0: the load faults, and its report does not return.
    unsafe { asm!("ldr {0}, [{0}]", inout(reg) 0 => _, options(nostack)) }
}

#[inline(never)]
fn store(va: VirtAddr) {
    // SAFETY: the address cannot be written: the store faults, and its report does not return.
    unsafe { asm!("str {0}, [{0}]", in(reg) va.raw(), options(nostack)) }
}

#[inline(never)]
fn jump(va: VirtAddr) {
    // SAFETY: the address cannot be executed: the fetch faults, and its report does not return.
    unsafe {
        asm!(
            "blx {0}",
            in(reg) va.raw(),
            out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r12") _, out("lr") _,
        );
    }
}

/// `bx lr` on the stack.
fn execute_data() {
    let code = [0xe12f_ff1e_u32];
    jump(VirtAddr::new(core::hint::black_box(&code).as_ptr() as u32));
}

#[inline(never)]
fn undefined() {
    // SAFETY: the report does not return.
    unsafe { asm!("udf #0", options(nostack)) }
}

#[inline(never)]
fn supervisor_call() {
    // SAFETY: the report does not return.
    unsafe { asm!("svc #1", out("lr") _, options(nostack)) }
}

/// Calls itself `depth` times, with a few hundred bytes of stack each time; the sum keeps the compiler from a loop.
#[inline(never)]
pub fn run_deep(depth: u32) -> u32 {
    let block = core::hint::black_box([depth; 64]);
    let below = if depth == 0 { 0 } else { run_deep(depth - 1) };
    below.wrapping_add(core::hint::black_box(&block).iter().fold(0, |sum, word| sum.wrapping_add(*word)))
}

fn overflow_stack() {
    core::hint::black_box(run_deep(u32::MAX));
}

/// A fault whose report faults.
fn nested() {
    if panic::notify(|| store(VirtAddr::new(0))) {
        read_null();
    }
}

/// A fault whose report overflows its own stack.
fn deep() {
    if panic::notify(overflow_stack) {
        read_null();
    }
}

/// A panic where a fault is to be caught, whose report faults: it is no fault of what was to be caught.
fn caught() {
    struct Faulting;

    impl fmt::Display for Faulting {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            read_null();
            Ok(())
        }
    }

    #[expect(clippy::panic, reason = "the panic is what was asked for")]
    fn panics() {
        panic!("{Faulting}");
    }

    // SAFETY: the body owns nothing.
    let outcome = unsafe { catch_fault(panics) };
    log::error!("oops=caught: the panic was taken for what was to be caught: {outcome:?}");
}

#[inline(never)]
#[expect(clippy::expect_used, reason = "the panic is what was asked for")]
fn panics(nothing: Option<()>) {
    core::hint::black_box(nothing).expect("oops=panic");
}
