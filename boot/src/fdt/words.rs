//! A blob as aligned big-endian words: one load and one byte swap a token instead of four byte loads.
//!
//! Theory.      The target is built with strict alignment, so a word out of a `&[u8]` costs four loads and three
//!              shifts. The boot protocol places a blob on 8 bytes, so its bytes can be lent as words once for all.
//! Not here.    What the words mean (`tree`, `validate`).

/// The whole words of `bytes`, still big-endian; `None` when the first byte is not on a multiple of 4.
///
/// Up to 3 bytes at the end that fill no word are left out.
pub(super) fn words_of(bytes: &[u8]) -> Option<&[u32]> {
    // SAFETY: every bit pattern is a `u32`, and the borrow of `bytes` lives on in the result.
    let (unaligned, words, _rest) = unsafe { bytes.align_to::<u32>() };
    unaligned.is_empty().then_some(words)
}

/// Whether one of the four bytes of `word` is 0, in any byte order.
pub(super) const fn has_zero_byte(word: u32) -> bool {
    word.wrapping_sub(0x0101_0101) & !word & 0x8080_8080 != 0
}

/// Whether [`is_plain_byte`] holds of all four bytes of `word`, in any byte order.
pub(super) const fn is_plain(word: u32) -> bool {
    // With the top bits clear, a byte plus 0x5f reaches the top bit from 0x21 on, and plus 1 only at 0x7f: no carries.
    let ascii = word & 0x8080_8080 == 0;
    let visible = word.wrapping_add(0x5f5f_5f5f) & 0x8080_8080 == 0x8080_8080;
    let delete = word.wrapping_add(0x0101_0101) & 0x8080_8080 != 0;
    ascii && visible && !delete && !has_zero_byte(word ^ 0x2f2f_2f2f)
}

/// Whether `byte` may stand in a node's name: printable ASCII other than `/` and the space.
pub(super) const fn is_plain_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && byte != b'/'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_plain_exactly_when_each_byte_is() {
        for byte in 0..=255_u8 {
            for place in 0..4 {
                let mut bytes = *b"azAZ";
                bytes[place] = byte;
                let word = u32::from_ne_bytes(bytes);
                assert_eq!(is_plain(word), is_plain_byte(byte), "byte {byte:#x} at {place}");
                assert_eq!(has_zero_byte(word), byte == 0, "byte {byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn a_blob_off_a_word_boundary_is_not_lent_as_words() {
        let words = [0_u32; 4];
        // SAFETY: the bytes of an array of words are initialised.
        let (_, bytes, _) = unsafe { words.align_to::<u8>() };
        assert_eq!(words_of(bytes).map(<[u32]>::len), Some(4));
        assert_eq!(words_of(&bytes[4..15]).map(<[u32]>::len), Some(2));
        assert_eq!(words_of(&bytes[1..]), None);
    }
}
