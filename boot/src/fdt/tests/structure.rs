//! Nodes and properties as such: each fault with the place where it is, and what is none.

use super::fault;
use crate::fdt::builder::Builder;
use crate::fdt::{Fault, MAX_DEPTH, validate};

#[test]
fn faults_of_the_structure_name_node_and_property() {
    type Break = fn(&mut Builder);
    let cases: [(Break, Fault, &str, &str); 18] = [
        // One word is left: 5 bytes need two, 4 bytes fit and leave nothing for the end token.
        (|t| _ = t.word(3).word(5).word(0).word(0), Fault::PropertyLength(5), "/a", "#address-cells"),
        (|t| _ = t.word(3).word(4).word(0).word(0), Fault::StructureEnd, "/a", ""),
        (
            |t| {
                t.word(5);
            },
            Fault::Token(5),
            "/a",
            "",
        ),
        (
            |t| {
                t.word(3).word(0xffff_fffd).word(0);
            },
            Fault::PropertyLength(0xffff_fffd),
            "/a",
            "#address-cells",
        ),
        (
            |t| {
                t.word(3).word(u32::MAX).word(0);
            },
            Fault::PropertyLength(u32::MAX),
            "/a",
            "#address-cells",
        ),
        (
            |t| {
                t.word(3).word(4).word(0x1000);
            },
            Fault::PropertyName(0x1000),
            "/a",
            "",
        ),
        (
            |t| {
                t.word(3).word(4).word(u32::MAX);
            },
            Fault::PropertyName(u32::MAX),
            "/a",
            "",
        ),
        (
            |t| {
                t.word(3).word(0).word(14);
            },
            Fault::PropertyUnnamed,
            "/a",
            "",
        ),
        (
            |t| {
                t.begin("b").end().text("late", "x");
            },
            Fault::PropertyAfterChild,
            "/a",
            "late",
        ),
        (
            |t| {
                t.end().end().end();
            },
            Fault::EndNode,
            "",
            "",
        ),
        (
            |t| {
                t.end().end().text("late", "x");
            },
            Fault::PropertyOutside,
            "",
            "late",
        ),
        (
            |t| {
                t.end().end().begin("");
            },
            Fault::SecondRoot,
            "",
            "",
        ),
        (
            |t| {
                t.word(9);
            },
            Fault::OpenNodes(2),
            "/a",
            "",
        ),
        (
            |t| {
                t.begin("");
            },
            Fault::NameEmpty,
            "/a",
            "",
        ),
        (
            |t| {
                t.begin("x y");
            },
            Fault::NameByte(b' '),
            "/a",
            "",
        ),
        (
            |t| {
                t.begin("node/x");
            },
            Fault::NameByte(b'/'),
            "/a",
            "",
        ),
        (
            |t| {
                t.begin("long-name-\u{7f}");
            },
            Fault::NameByte(0x7f),
            "/a",
            "",
        ),
        (
            |t| {
                t.word(1).bytes(&[b'n'; 4]);
            },
            Fault::NameEnd,
            "/a",
            "",
        ),
    ];
    for (number, (spoil, expected, path, property)) in cases.into_iter().enumerate() {
        let mut tree = Builder::with_root(1, 1);
        tree.begin("a").word(4).text("ok", "yes").word(4);
        spoil(&mut tree);
        let error = fault(&tree.blob());
        assert_eq!((error.fault, error.path.as_str(), error.property.as_str()), (expected, path, property), "{number}");
    }
}

#[test]
fn a_structure_without_root_or_end_is_refused() {
    assert_eq!(fault(&Builder::new().word(9).blob()).fault, Fault::NoRoot);
    assert_eq!(fault(&Builder::new().word(4).blob()).fault, Fault::StructureEnd);
    assert_eq!(fault(&Builder::new().begin("").end().blob()).fault, Fault::StructureEnd);
    assert_eq!(fault(&Builder::new().begin("name").end().word(9).blob()).fault, Fault::RootName);
    assert_eq!(fault(&Builder::new().text("x", "y").blob()).fault, Fault::PropertyOutside);
}

#[test]
fn a_strings_block_that_is_not_text_is_refused() {
    let mut tree = Builder::with_root(1, 1);
    tree.cells("bad\u{1}name", &[1]);
    let error = fault(&tree.finish());
    assert_eq!(error.fault, Fault::StringByte(1));
}

#[test]
fn a_string_that_the_strings_block_does_not_end_is_refused() {
    let mut tree = Builder::with_root(1, 1);
    tree.cells("last", &[1]);
    let mut blob = tree.finish();
    let end = blob.len() - 1;
    blob[end] = b'x';
    assert!(matches!(fault(&blob).fault, Fault::PropertyName(_)));
    assert_eq!(fault(&blob).path.as_str(), "/");
}

#[test]
fn nodes_may_be_64_deep_and_no_deeper() {
    let nested = |levels: usize| {
        let mut tree = Builder::with_root(1, 1);
        for _ in 1..levels {
            tree.begin("n");
        }
        for _ in 1..levels {
            tree.end();
        }
        tree.finish()
    };
    let blob = nested(MAX_DEPTH);
    let fdt = validate(&blob).unwrap();
    assert!(fdt.find(&"/n".repeat(MAX_DEPTH - 1)).is_some());
    let error = fault(&nested(MAX_DEPTH + 1));
    assert_eq!(error.fault, Fault::TooDeep);
    assert!(error.path.as_str().starts_with("/n/n/n"));
}

#[test]
fn cells_of_the_root_are_1_or_2() {
    for bad in [0, 3, u32::MAX] {
        let error = fault(&Builder::with_root(1, bad).finish());
        assert_eq!((error.fault, error.property.as_str()), (Fault::Cells(bad), "#size-cells"));
        assert_eq!(error.path.as_str(), "/");
    }
    let error = fault(&Builder::new().begin("").prop("#address-cells", &[0, 1]).finish());
    assert_eq!(error.fault, Fault::CellsLength(2));
    let blob = Builder::new().begin("").finish();
    assert_eq!(validate(&blob).unwrap().root_cells(), (1, 1));
}

#[test]
fn no_operations_may_stand_anywhere() {
    let mut tree = Builder::new();
    tree.word(4).word(4).begin("").word(4).cells("#address-cells", &[1]).word(4).cells("#size-cells", &[1]).word(4);
    tree.begin("a").word(4).end().word(4).word(4).begin("b").word(4).text("x", "y").word(4).end().word(4).end().word(4);
    let blob = tree.word(9).blob();
    let fdt = validate(&blob).unwrap();
    let names: Vec<_> = fdt.root().children().map(|node| node.name()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(fdt.find("/b").unwrap().property("x"), Some(b"y\0".as_slice()));
}

#[test]
fn the_first_of_two_properties_or_nodes_of_one_name_counts() {
    let mut tree = Builder::with_root(1, 1);
    tree.begin("chosen").text("bootargs", "one").text("bootargs", "two").end();
    tree.begin("chosen").text("bootargs", "three").end();
    let blob = tree.finish();
    assert_eq!(validate(&blob).unwrap().bootargs(), "one");
}
