//! What is mapped at an address, just below it and just above it: often the fault's whole story.

use core::fmt;

use crate::addr::VirtAddr;
use crate::paging::{DumpLine, Tables};
use crate::platform::PhysMap;

/// The runs of equal mappings around an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Neighbours {
    /// The highest that ends at or below the address.
    pub below: Option<DumpLine>,
    /// The one that holds the address.
    pub here: Option<DumpLine>,
    /// The lowest that begins above it.
    pub above: Option<DumpLine>,
}

impl Neighbours {
    /// Of `va` in `tables`. Stops at the first broken descriptor. Cost: one pass up to the address.
    #[must_use]
    pub fn of<P: PhysMap + ?Sized>(tables: &Tables<'_, P>, va: VirtAddr) -> Self {
        let mut found = Self::default();
        for line in tables.dump(&[]) {
            match line {
                DumpLine::Range { end, .. } if end <= u64::from(va.raw()) => found.below = Some(line),
                DumpLine::Range { start, .. } if start <= va => found.here = Some(line),
                DumpLine::Range { .. } => {
                    found.above = Some(line);
                    break;
                }
                DumpLine::Marker(_) => {}
                DumpLine::Broken(_) => break,
            }
        }
        found
    }

    /// The three, lowest first, each as one line.
    pub fn lines(&self) -> impl Iterator<Item = impl fmt::Display> {
        [("below", self.below, "nothing"), ("here", self.here, "nothing is mapped"), ("above", self.above, "nothing")]
            .into_iter()
            .map(|(place, line, nothing)| Line { place, line, nothing })
    }
}

struct Line {
    place: &'static str,
    line: Option<DumpLine>,
    nothing: &'static str,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5}: ", self.place)?;
        match self.line {
            Some(line) => line.fmt(f),
            None => f.write_str(self.nothing),
        }
    }
}
