//! Runs of bits in an array of words.
//!
//! Every function answers for bits beyond the array as if they were clear, and leaves them alone.
#![forbid(unsafe_code)]

/// Words for `bits` bits.
pub(super) const fn words(bits: u32) -> u32 {
    bits.div_ceil(u32::BITS)
}

/// Whether bit `index` is set.
pub(super) fn get(map: &[u32], index: u32) -> bool {
    map.get((index / u32::BITS) as usize).is_some_and(|word| word & (1 << (index % u32::BITS)) != 0)
}

/// Sets or clears the bits `from..to`.
pub(super) fn put(map: &mut [u32], from: u32, to: u32, value: bool) {
    let mut index = from;
    while index < to {
        let bit = index % u32::BITS;
        let run = (u32::BITS - bit).min(to - index);
        let mask = (u32::MAX >> (u32::BITS - run)) << bit;
        if let Some(word) = map.get_mut((index / u32::BITS) as usize) {
            *word = if value { *word | mask } else { *word & !mask };
        }
        index += run;
    }
}

/// The first bit in `from..to` that is `value`; `to` when there is none.
pub(super) fn find(map: &[u32], from: u32, to: u32, value: bool) -> u32 {
    let mut index = from;
    while index < to {
        let word = map.get((index / u32::BITS) as usize).copied().unwrap_or(0);
        let word = if value { word } else { !word };
        let rest = word >> (index % u32::BITS);
        if rest != 0 {
            return (index + rest.trailing_zeros()).min(to);
        }
        index += u32::BITS - index % u32::BITS;
    }
    to
}

/// How many of the bits `from..to` are set.
pub(super) fn count(map: &[u32], from: u32, to: u32) -> u32 {
    let (mut index, mut sum) = (from, 0);
    while index < to {
        let first = find(map, index, to, true);
        index = find(map, first, to, false);
        sum += index - first;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_across_words_are_set_found_and_counted() {
        let mut map = [0_u32; 4];
        put(&mut map, 30, 97, true);
        assert_eq!(map, [0xc000_0000, u32::MAX, u32::MAX, 1]);
        assert_eq!((find(&map, 0, 128, true), find(&map, 30, 128, false)), (30, 97));
        assert_eq!(count(&map, 0, 128), 67);
        put(&mut map, 31, 96, false);
        assert!(get(&map, 30) && !get(&map, 31) && get(&map, 96));
        assert_eq!(find(&map, 31, 96, true), 96);
        assert_eq!(find(&map, 128, 128, true), 128);
    }

    #[test]
    fn bits_beyond_the_array_are_clear_and_stay_so() {
        let mut map = [0_u32; 1];
        put(&mut map, 30, 40, true);
        assert!(get(&map, 31) && !get(&map, 32));
        assert_eq!(find(&map, 32, 70, true), 70);
    }
}
