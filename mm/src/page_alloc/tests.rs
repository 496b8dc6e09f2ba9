//! The allocator's tests, over each free core.

pub(crate) mod classic;
mod compact;
