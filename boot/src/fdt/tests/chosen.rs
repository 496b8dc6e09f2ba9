//! What the loader chose: the initrd, the command line and the console.

use mm::addr::PhysRange;

use super::{info, range};
use crate::fdt::builder::Builder;

#[test]
fn an_initrd_has_one_or_two_cells_whatever_the_root_has() {
    let cases: [(&[u32], &[u32], Option<PhysRange>); 6] = [
        (&[0x8800_0000], &[0x8810_0000], Some(range(0x8800_0000, 0x8810_0000))),
        (&[0, 0x8800_0000], &[0, 0x8810_0000], Some(range(0x8800_0000, 0x8810_0000))),
        (&[1, 0], &[1, 16], Some(range(1 << 32, (1 << 32) + 16))),
        (&[5], &[5], None),
        (&[6], &[5], None),
        (&[1, 2, 3], &[4], None),
    ];
    for (start, end, expected) in cases {
        let mut tree = Builder::with_root(2, 2);
        tree.begin("chosen").cells("linux,initrd-start", start).cells("linux,initrd-end", end).end();
        info(&mut tree, |info| assert_eq!(info.initrd, expected));
    }
}

#[test]
fn bootargs_that_are_not_text_are_cut_before_the_first_bad_byte() {
    let mut tree = Builder::with_root(1, 1);
    tree.begin("chosen").prop("bootargs", b"monitor \xff dump=x\0").end();
    info(&mut tree, |info| assert_eq!(info.bootargs, "monitor "));
}

/// A board with three UARTs behind two buses; the first is disabled.
fn with_uarts(chosen: impl FnOnce(&mut Builder)) -> Builder {
    let mut tree = Builder::with_root(2, 2);
    tree.begin("chosen");
    chosen(&mut tree);
    tree.end();
    tree.begin("smb").cells("#address-cells", &[2]).cells("#size-cells", &[1]);
    tree.cells("ranges", &[0, 0, 0, 0x800_0000, 0x400_0000, 3, 0, 0, 0x1c00_0000, 0x300_0000]);
    tree.begin("iofpga")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        .cells("ranges", &[0, 3, 0, 0x20_0000]);
    for (name, status, compatible) in
        [("90000", "disabled", "arm,pl011"), ("a0000", "okay", "ns16550a"), ("b0000", "okay", "arm,pl011")]
    {
        tree.begin(&format!("uart@{name}")).text("compatible", &format!("{compatible}\0arm,primecell"));
        tree.cells("reg", &[u32::from_str_radix(name, 16).unwrap(), 0x1000]).cells("reg-shift", &[2]);
        tree.cells("reg-io-width", &[4]).cells("clock-frequency", &[24_000_000]).text("status", status).end();
    }
    tree.begin("unreachable").begin("uart@1").text("compatible", "arm,pl011").cells("reg", &[1, 1]).end().end();
    tree.end().end();
    tree
}

fn stdout(tree: &mut Builder, check: impl FnOnce(&str, u64, &str)) {
    info(tree, |info| {
        let stdout = info.stdout.unwrap();
        assert_eq!((stdout.reg_shift, stdout.reg_io_width, stdout.clock), (2, 4, Some(24_000_000)));
        assert_eq!(stdout.reg.size(), 0x1000);
        check(stdout.path.as_str(), stdout.reg.start.raw(), stdout.options);
    });
}

#[test]
fn the_console_is_found_by_path_alias_argument_or_guess() {
    let first = "/smb/iofpga/uart@90000";
    let second = "/smb/iofpga/uart@a0000";
    let third = "/smb/iofpga/uart@b0000";
    let expect = |tree: &mut Builder, path: &str, start: u64, options: &str| {
        stdout(tree, |p, s, o| assert_eq!((p, s, o), (path, start, options)));
    };
    let aliases = |tree: &mut Builder| {
        tree.begin("aliases").text("serial0", first).text("serial1", third).text("io", "/smb/iofpga").end();
    };
    let mut tree = with_uarts(|t| {
        t.text("stdout-path", "/smb/iofpga/uart@b0000:115200n8");
    });
    expect(&mut tree, third, 0x1c0b_0000, "115200n8");
    let mut tree = with_uarts(|t| {
        t.text("stdout-path", "serial1:9600");
    });
    aliases(&mut tree);
    expect(&mut tree, third, 0x1c0b_0000, "9600");
    // A path that the loader names counts even when disabled, as in Linux.
    let mut tree = with_uarts(|t| {
        t.text("linux,stdout-path", "io/uart@90000");
    });
    aliases(&mut tree);
    expect(&mut tree, first, 0x1c09_0000, "");
    let mut tree = with_uarts(|t| {
        t.text("stdout-path", "/nowhere").text("bootargs", "console=ttyAMA1,115200");
    });
    aliases(&mut tree);
    expect(&mut tree, third, 0x1c0b_0000, "");
    // The alias serial0 is disabled, and so the guess is the first one that is not.
    let mut tree = with_uarts(|_| ());
    aliases(&mut tree);
    expect(&mut tree, second, 0x1c0a_0000, "");
}
