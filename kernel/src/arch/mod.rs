//! The machine's instructions, one folder an architecture.

pub mod armv7;
