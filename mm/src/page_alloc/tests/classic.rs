//! Over the classic core.

pub(crate) type Core = crate::buddy::Classic<'static>;

#[path = "cases.rs"]
pub(crate) mod cases;
