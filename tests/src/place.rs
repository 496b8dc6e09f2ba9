//! Other ways into the image than `-kernel` of a raw file: a uImage header, and a stub that jumps.
//!
//! QEMU puts a raw image at RAM base + 0x10000 and nowhere else. A uImage header names any address; the stub, loaded
//! by itself and started, also chooses the registers, so that QEMU never reads (and never mends) the device tree.
//!
//! Source.      The legacy image format of U-Boot: 64 bytes, big-endian, two CRC-32 sums.

/// `image` behind a uImage header that has it loaded and entered at `address`.
///
/// # Errors
///
/// When the image is larger than the header can say.
pub fn uimage(image: &[u8], address: u32) -> Result<Vec<u8>, String> {
    let size = u32::try_from(image.len()).map_err(|e| e.to_string())?;
    // Operating system Linux (5), architecture ARM (2), type kernel (2), not compressed (0).
    let kind = u32::from_be_bytes([5, 2, 2, 0]);
    let header = |crc| {
        let mut words: Vec<u8> = [0x2705_1956, crc, 0, size, address, address, crc32(image), kind]
            .into_iter()
            .flat_map(u32::to_be_bytes)
            .collect();
        words.extend_from_slice(b"Quire");
        words.resize(64, 0);
        words
    };
    let mut file = header(crc32(&header(0)));
    file.extend_from_slice(image);
    Ok(file)
}

/// The checksum of zip and Ethernet: reflected polynomial 0xedb8_8320.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// The stub: r0 = 0, r1 and r2 as given, jump to `entry`. It runs at any address.
#[must_use]
pub fn stub(r1: u32, r2: u32, entry: u32) -> Vec<u8> {
    // mov r0, #0; ldr r1, [pc, #4]; ldr r2, [pc, #4]; ldr pc, [pc, #4]: pc reads two instructions ahead.
    [0xe3a0_0000, 0xe59f_1004, 0xe59f_2004, 0xe59f_f004, r1, r2, entry].into_iter().flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_gives_the_check_value_of_its_catalogue_entry() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_stub_is_28_bytes_and_ends_in_its_three_values() {
        let stub = stub(1, 2, 3);
        assert_eq!(stub.len(), 28);
        assert_eq!(stub[16..], [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn a_uimage_has_64_bytes_of_header_then_the_image() {
        let file = uimage(b"image", 0x8110_0000).unwrap();
        assert_eq!(file[..4], [0x27, 0x05, 0x19, 0x56]);
        assert_eq!(file[16..20], [0x81, 0x10, 0, 0]);
        assert_eq!(&file[64..], b"image");
    }
}
