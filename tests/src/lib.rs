//! The host side of the proof.

pub mod dtb;
