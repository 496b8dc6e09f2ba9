//! The generator of the benches: the same numbers in every run, here and on other systems.

/// Marsaglia's xorshift with 32 bits, shifts 13, 17, 5.
#[derive(Debug)]
pub(crate) struct Xorshift32(u32);

impl Xorshift32 {
    /// From the seed that all figures are made with.
    pub(crate) const fn new() -> Self {
        Self(0x1234_5678)
    }

    /// From another seed, which is not 0.
    pub(crate) const fn from(seed: u32) -> Self {
        Self(seed)
    }

    /// A number below `bound`, nearly evenly; `bound` is not 0.
    pub(crate) const fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    /// The next number.
    pub(crate) const fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Puts `list` in an order of chance (Fisher-Yates).
    pub(crate) fn shuffle(&mut self, list: &mut [u32]) {
        for last in (1..list.len()).rev() {
            let other = self.next() as usize % (last + 1);
            list.swap(last, other);
        }
    }
}
