//! The allocator's tests, over each free core.

mod build;
mod churn;
pub(crate) mod classic;
mod compact;
mod words;
