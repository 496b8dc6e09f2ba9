//! Devices.

pub mod pl011;
