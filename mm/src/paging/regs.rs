//! Register values that go with the descriptors: the memory attributes that TEX remap gives to each index.
//!
//! Theory.      With SCTLR.TRE = 1 a descriptor's `TEX[0]`, C and B form an index n of 0 to 7. PRRR says what kind of
//!              memory n is and whether S counts, NMRR how its inner and outer caches work. TEX\[2:1\] mean nothing.
//!
//! | n | type | inner, outer |
//! | --- | --- | --- |
//! | 0 | strongly ordered | |
//! | 1 | normal | not cached |
//! | 2 | normal | write-through |
//! | 3 | normal | write-back, no write-allocate |
//! | 4 | device | |
//! | 5, 6 | not given out (6 is implementation defined); strongly ordered | |
//! | 7 | normal | write-back, write-allocate |
//!
//! Source.      Arm ARM DDI 0406C B3.8.3, B4.1.127 (PRRR), B4.1.121 (NMRR), B4.1.154 (TTBR0), B4.1.43 (DACR).
#![forbid(unsafe_code)]

use super::prot::{Domain, MemType};

/// SCTLR.TRE: TEX remap on. Must be set for these tables.
pub const SCTLR_TRE: u32 = 1 << 28;
/// SCTLR.AFE: access flag on. Must be clear for these tables.
pub const SCTLR_AFE: u32 = 1 << 29;
/// TTBCR: N = 0, so TTBR0 covers all 4 GiB; EAE = 0, short descriptors.
pub const TTBCR: u32 = 0;
/// DACR: [`Domain::KERNEL`] is a client (its descriptors' permissions count), every other domain faults.
pub const DACR: u32 = DOMAIN_CLIENT << (2 * Domain::KERNEL.raw() as u32);
/// DACR while the kernel reaches into a user half: [`Domain::USER`] is a client, too (Linux: `uaccess_enable`).
pub const DACR_USER: u32 = DACR | DOMAIN_CLIENT << (2 * Domain::USER.raw() as u32);
/// TTBR0.S: the walks of the tables are shareable, so the linear map of the same frames must be.
pub const TTBR0_S: u32 = 1 << 1;
/// PRRR: see the table above.
pub const PRRR: u32 = prrr();
/// NMRR: see the table above.
pub const NMRR: u32 = nmrr();

const DOMAIN_CLIENT: u32 = 0b01;

/// PRRR.DS1: a device with S = 1 is shareable (DS0 = 0: one with S = 0 is not).
const PRRR_DS1: u32 = 1 << 17;
/// PRRR.NS1: normal memory with S = 1 is shareable (NS0 = 0: with S = 0 it is not).
const PRRR_NS1: u32 = 1 << 19;
/// PRRR.NOSn, all of them: shareable means inner shareable.
const PRRR_NOS_ALL: u32 = 0xff << 24;

/// PRRR.TRn.
const fn region_type(mem: MemType) -> u32 {
    match mem {
        MemType::StronglyOrdered => 0b00,
        MemType::Device => 0b01,
        _ => 0b10,
    }
}

/// NMRR.IRn and ORn, TTBR0.IRGN and RGN: one code for all of them.
const fn cache_policy(mem: MemType) -> u32 {
    match mem {
        MemType::WriteBackWriteAllocate => 0b01,
        MemType::WriteThrough => 0b10,
        MemType::WriteBack => 0b11,
        _ => 0b00,
    }
}

const fn prrr() -> u32 {
    let mut value = PRRR_DS1 | PRRR_NS1 | PRRR_NOS_ALL;
    let mut n = 0;
    while n < 8 {
        if let Some(mem) = MemType::from_remap_index(n) {
            value |= region_type(mem) << (2 * n);
        }
        n += 1;
    }
    value
}

const fn nmrr() -> u32 {
    let mut value = 0;
    let mut n = 0;
    while n < 8 {
        if let Some(mem) = MemType::from_remap_index(n) {
            value |= cache_policy(mem) << (2 * n) | cache_policy(mem) << (2 * n + 16);
        }
        n += 1;
    }
    value
}

/// The low bits of TTBR0 on a CPU with the multiprocessing extensions, for tables that lie in memory of type `mem`.
///
/// They must say what the linear map says of the same frames. `IRGN[0]` is bit 6, `IRGN[1]` bit 0, NOS 5, RGN 4:3, S 1.
#[must_use]
pub const fn ttbr0_attributes(mem: MemType, shareable: bool) -> u32 {
    let policy = cache_policy(mem);
    let share = if shareable { 1 << 5 | TTBR0_S } else { 0 };
    (policy & 1) << 6 | policy >> 1 | policy << 3 | share
}

/// The low bits of TTBR0 on a CPU without the multiprocessing extensions (Cortex-A8): bit 0 is C, inner cacheable;
/// bits 5 and 6 are zero.
#[must_use]
pub const fn ttbr0_attributes_uniprocessor(mem: MemType, shareable: bool) -> u32 {
    let policy = cache_policy(mem);
    let share = if shareable { TTBR0_S } else { 0 };
    (policy != 0) as u32 | policy << 3 | share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registers_hold_the_manuals_codes_of_each_index() {
        // (n, TR, IR = OR), typed in from DDI 0406C B4.1.127 and B4.1.121, not from the functions above.
        let table: [(u32, u32, u32); 8] =
            [(0, 0, 0), (1, 2, 0), (2, 2, 2), (3, 2, 3), (4, 1, 0), (5, 0, 0), (6, 0, 0), (7, 2, 1)];
        for (n, tr, policy) in table {
            assert_eq!(PRRR >> (2 * n) & 3, tr, "TR{n}");
            assert_eq!(NMRR >> (2 * n) & 3, policy, "IR{n}");
            assert_eq!(NMRR >> (16 + 2 * n) & 3, policy, "OR{n}");
            assert_eq!(PRRR >> (24 + n) & 1, 1, "NOS{n}");
        }
        assert_eq!(PRRR >> 16 & 0xff & 0xf, 0b1010, "NS1, NS0, DS1, DS0");
        assert_eq!((PRRR, NMRR), (0xff0a_81a8, 0x40e0_40e0));
    }

    #[test]
    fn ttbr0_says_inner_and_outer_write_back_write_allocate_shareable() {
        // IRGN = 01: bit 6. NOS: bit 5. RGN = 01: bit 3. S: bit 1.
        assert_eq!(ttbr0_attributes(MemType::WriteBackWriteAllocate, true), 0x40 | 0x20 | 0x08 | 0x02);
        // IRGN = 11: bits 6 and 0. RGN = 11: bits 4 and 3.
        assert_eq!(ttbr0_attributes(MemType::WriteBack, false), 0x41 | 0x18);
        assert_eq!(ttbr0_attributes(MemType::NormalNonCacheable, false), 0);
        assert_eq!(ttbr0_attributes_uniprocessor(MemType::WriteBackWriteAllocate, false), 0x01 | 0x08);
    }

    #[test]
    fn ttbr0_says_of_every_kind_of_memory_what_the_manual_says() {
        // IRGN and RGN as one code (B4.1.154): 00 not cached, 01 write-back, write-allocate, 10 write-through, 11
        // write-back.
        let table = [
            (MemType::StronglyOrdered, 0b00),
            (MemType::NormalNonCacheable, 0b00),
            (MemType::Device, 0b00),
            (MemType::WriteBackWriteAllocate, 0b01),
            (MemType::WriteThrough, 0b10),
            (MemType::WriteBack, 0b11),
        ];
        for (mem, code) in table {
            let several = [0x00, 0x40, 0x01, 0x41][code] | [0x00, 0x08, 0x10, 0x18][code];
            assert_eq!([false, true].map(|s| ttbr0_attributes(mem, s)), [several, several | 0x22], "{mem:?}");
            let single = [0x00, 0x09, 0x11, 0x19][code];
            assert_eq!([false, true].map(|s| ttbr0_attributes_uniprocessor(mem, s)), [single, single | 2], "{mem:?}");
        }
    }

    #[test]
    fn the_bits_of_control_registers_stand_where_the_manual_has_them() {
        assert_eq!((SCTLR_TRE, SCTLR_AFE, TTBR0_S, TTBCR), (0x1000_0000, 0x2000_0000, 2, 0));
    }

    #[test]
    fn only_the_kernels_domain_is_a_client() {
        assert_eq!(DACR, 1);
        // D1, bits 3:2, is a client as well.
        assert_eq!(DACR_USER, 0b0101);
    }
}
