//! Address spaces: going from one to another, and the kernel's ways to user memory.

use core::hint::black_box;

use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::paging::Prot;
use mm::platform::PhysMap;

use super::{Wanted, count};
use crate::ram::RAM;
use crate::space::{UserSpace, copy_from_user, copy_to_user, get_user, put_user, switch_to_kernel};
use crate::system::System;

const TIMES: u32 = 1000;
const AT: VirtAddr = VirtAddr::new(0x0001_0000);

/// Prints the rows of address spaces: a switch, a word, a page.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    let names = ["space_switch", "get_user", "put_user", "copy_from_user_4K", "copy_to_user_4K"];
    if !names.iter().any(|name| wanted.has(name)) {
        return;
    }
    let zones = system.booted.mm.allocator();
    let (Ok(user), Ok(own)) = (zones.alloc_page(GfpFlags::GFP_KERNEL), zones.alloc_page(GfpFlags::GFP_KERNEL)) else {
        return log::error!("bench: no page");
    };
    let (Ok(one), Ok(other), Some(bytes)) = (UserSpace::new(), UserSpace::new(), RAM.frames_ptr(own, 1)) else {
        return log::error!("bench: no space");
    };
    if let Err(error) = one.map(AT, u64::from(PAGE_SIZE), (user.base(), Prot::USER_RW)) {
        return log::error!("bench: {error}");
    }
    // SAFETY: the page was just allocated from lowmem: nobody else uses its bytes.
    let buffer = unsafe { core::slice::from_raw_parts_mut(bytes.as_ptr(), PAGE_SIZE as usize) };
    let row = |name: &str, total: u32| {
        if wanted.has(name) {
            wanted.row(format_args!("{name}"), total, TIMES);
        }
    };
    // Once before, so that both have their numbers.
    let switches = || (0..TIMES / 2).all(|_| black_box(&other).switch_to() && black_box(&one).switch_to());
    let (mut done, total) = (switches(), count(|| _ = black_box(switches())));
    row("space_switch", total);
    row("get_user", count(|| done &= (0..TIMES).all(|_| get_user::<u32>(black_box(AT)).is_ok())));
    row("put_user", count(|| done &= (0..TIMES).all(|_| put_user(black_box(AT), 1_u32).is_ok())));
    row(
        "copy_from_user_4K",
        count(|| done &= (0..TIMES).all(|_| copy_from_user(black_box(buffer), black_box(AT)).is_ok())),
    );
    row(
        "copy_to_user_4K",
        count(|| done &= (0..TIMES).all(|_| copy_to_user(black_box(AT), black_box(buffer)).is_ok())),
    );
    if !done {
        log::error!("bench: an access to user memory failed");
    }
    switch_to_kernel();
    drop((one, other));
    for page in [user, own] {
        if let Err(error) = zones.free_pages(page, Order::ZERO) {
            log::error!("bench: {error}");
        }
    }
}
