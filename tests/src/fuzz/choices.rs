//! Choices read from bytes, and bytes made up.

/// A sequence of choices in bytes; when they run out, every choice is 0.
#[derive(Clone, Debug)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// The choices that `bytes` hold.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all are made.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u32 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                u32::from(*first)
            }
            [] => 0,
        }
    }

    /// 0 to `bound` − 1, from as few bytes as that takes.
    pub fn below(&mut self, bound: u32) -> u32 {
        let mut value = self.byte();
        let mut reach = 256_u64;
        while reach < u64::from(bound) {
            value = value << 8 | self.byte();
            reach <<= 8;
        }
        value % bound.max(1)
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of `from`, which is not empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }
}

/// Xorshift: the same bytes on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From `seed`; any will do.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to `bound` − 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 20) & 0x7fff_ffff) as usize % bound.max(1)
    }

    /// Up to `longest` bytes of any sort.
    #[must_use]
    pub fn bytes(&mut self, longest: usize) -> Vec<u8> {
        (0..=self.below(longest)).map(|_| self.below(256) as u8).collect()
    }

    /// Spoils `bytes` in a few places: flipped bits, other bytes, big-endian words at which arithmetic goes wrong, a
    /// word from elsewhere, a cut.
    pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
        const WORDS: [u32; 12] =
            [0, 1, 2, 4, 8, 0x1000, 0x7fff_ffff, 0x8000_0000, 0xffff_f000, 0xffff_fffc, 0xffff_fffe, u32::MAX];
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            let word = at & !3;
            match self.below(8) {
                0 | 1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 | 3 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                4 | 5 if word + 4 <= bytes.len() => {
                    bytes[word..word + 4].copy_from_slice(&WORDS[self.below(WORDS.len())].to_be_bytes());
                }
                6 if word + 4 <= bytes.len() => {
                    let from = self.below(bytes.len() / 4) * 4;
                    bytes.copy_within(from..from + 4, word);
                }
                7 if self.below(8) == 0 => bytes.truncate(at),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_stay_below_their_bound_and_end_in_zeros() {
        let mut choices = Choices::new(&[7, 1, 2, 255]);
        assert_eq!(choices.below(5), 2);
        assert_eq!(choices.below(1000), 0x102);
        assert!(choices.flag() && choices.is_empty());
        assert_eq!(choices.pick(&[9, 8]), 9);
    }
}
