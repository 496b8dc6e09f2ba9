//! Over the compact core.

pub(crate) type Core = crate::buddy::Compact<'static>;

#[path = "cases.rs"]
#[allow(clippy::duplicate_mod, dead_code, reason = "the same tests, over another core")]
pub(crate) mod cases;
