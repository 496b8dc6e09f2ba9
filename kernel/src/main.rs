//! The Quire image: ARM instructions behind the traits of `mm`, and the order in which they are put to use.
#![no_std]
#![no_main]

mod arch;
mod console;
mod drivers;
mod logger;
mod panic;
mod ram;
mod semihost;

use arch::armv7::vectors;
use boot::head::HeadInfo;

#[unsafe(no_mangle)]
extern "C" fn quire_main(info: &'static HeadInfo) -> ! {
    vectors::install();
    semihost::detect();
    logger::install();
    log::info!("hello {:#x?} semi {}", info, semihost::present());
    panic::refuse(format_args!("that is all"));
}
