//! Sets of frames below 4 GiB as a byte of marks a frame: slow, plain, and shared with nothing that is tested.
#![forbid(unsafe_code)]

use mm::addr::{Pfn, PfnRange, PhysRange};

/// Frames below 4 GiB.
const FRAMES: usize = 1 << 20;

/// Marks of each frame.
pub(super) struct Marks(Vec<u8>);

impl Marks {
    /// No mark anywhere.
    pub(super) fn new() -> Self {
        Self(vec![0; FRAMES])
    }

    /// The marks of `frames`, as far as they are below 4 GiB.
    fn slice(&mut self, frames: PfnRange) -> &mut [u8] {
        let clip = |pfn: Pfn| (pfn.raw() as usize).min(FRAMES);
        self.0.get_mut(clip(frames.start)..clip(frames.end)).unwrap_or_default()
    }

    /// Adds `mark` to each of `frames`.
    pub(super) fn add(&mut self, frames: PfnRange, mark: u8) {
        self.slice(frames).iter_mut().for_each(|marks| *marks |= mark);
    }

    /// Takes `mark` from each of `frames`.
    pub(super) fn remove(&mut self, frames: PfnRange, mark: u8) {
        self.slice(frames).iter_mut().for_each(|marks| *marks &= !mark);
    }

    /// The marks of one frame.
    pub(super) fn of(&self, frame: Pfn) -> u8 {
        self.0.get(frame.raw() as usize).copied().unwrap_or(0)
    }

    /// Every frame with its marks.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Pfn, u8)> + '_ {
        (0..).map(Pfn::new).zip(self.0.iter().copied())
    }
}

/// The whole frames of `ranges` below 4 GiB, sorted, those that touch joined.
pub(super) fn joined(ranges: &[PhysRange]) -> Vec<PhysRange> {
    let mut frames: Vec<PfnRange> = ranges.iter().map(|range| range.whole_frames()).collect();
    frames.sort_by_key(|range| range.start);
    let mut joined: Vec<PfnRange> = Vec::new();
    let end = Pfn::new(1 << 20);
    for mut range in frames {
        range.end = range.end.min(end);
        match joined.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ if range.is_empty() => {}
            _ => joined.push(range),
        }
    }
    joined.into_iter().map(PfnRange::bytes).collect()
}
