//! A device tree as `dtc` reads it: its text, parsed back into bytes, and what that says of memory.
//!
//! Theory.      `dtc -I dtb -O dts` is the reference reading of a blob. Its text has only strings, cells and bytes (no
//!              labels, no expressions), so a small recursive parser gives the whole tree as plain values. What counts
//!              as memory is then worked out here in the shortest way, with nothing shared with `boot`.
//! Not here.    The comparison (tests/real_device_trees.rs).

use std::path::Path;
use std::process::Command;

/// A node of the text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// Name with the unit address; empty for the root.
    pub name: String,
    /// Properties in order, with their bytes.
    pub properties: Vec<(String, Vec<u8>)>,
    /// Children in order.
    pub children: Vec<Node>,
}

/// A whole text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    /// Addresses and sizes of `/memreserve/`.
    pub reserve_map: Vec<(u64, u64)>,
    /// The root.
    pub root: Node,
}

/// One enabled child of `/reserved-memory`: name, (start, size) pairs of `reg`, else `size`.
pub type Reserved = (String, Vec<(u64, u64)>, Option<u64>);

impl Node {
    /// The value of a property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&[u8]> {
        self.properties.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_slice())
    }

    /// A property's text up to its first NUL.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.property(name)?.split(|&byte| byte == 0).next()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The child of that very name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    fn enabled(&self) -> bool {
        self.text("status").is_none_or(|status| status == "okay" || status == "ok")
    }

    fn cells(&self) -> (usize, usize) {
        let cells = |name| self.property(name).map_or(1, |value| usize::from(value[3]));
        (cells("#address-cells"), cells("#size-cells"))
    }
}

impl Tree {
    /// Ranges of RAM: start and size, those of size 0 left out.
    #[must_use]
    pub fn memory(&self) -> Vec<(u64, u64)> {
        let banks = self.root.children.iter().filter(|node| node.text("device_type").as_deref() == Some("memory"));
        let banks = banks.filter(|node| node.enabled());
        let reg = banks.filter_map(|node| node.property("linux,usable-memory").or(node.property("reg")));
        reg.flat_map(|reg| pairs(reg, self.root.cells())).filter(|&(_, size)| size > 0).collect()
    }

    /// What `/reserved-memory` asks for.
    #[must_use]
    pub fn reserved_memory(&self) -> Vec<Reserved> {
        let cells = self.root.cells();
        let parent = self.root.child("reserved-memory");
        let parent = parent.filter(|node| node.cells() == cells && node.property("ranges").is_some());
        let children = parent.into_iter().flat_map(|node| &node.children).filter(|node| node.enabled());
        let read = |node: &Node| match (node.property("reg"), node.property("size")) {
            (Some(reg), _) => Some((node.name.clone(), pairs(reg, cells), None)),
            (None, Some(size)) => Some((node.name.clone(), Vec::new(), Some(number(size)))),
            (None, None) => None,
        };
        children.filter_map(read).collect()
    }
}

fn number(cells: &[u8]) -> u64 {
    cells.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn pairs(reg: &[u8], (address, size): (usize, usize)) -> Vec<(u64, u64)> {
    let split = |pair: &[u8]| (number(&pair[..address * 4]), number(&pair[address * 4..]));
    reg.chunks_exact((address + size) * 4).map(split).collect()
}

/// Reads the blob in `file` with `dtc`.
///
/// # Errors
/// `dtc` cannot be run, refuses the blob, or prints what this parser does not know.
pub fn read(file: &Path) -> Result<Tree, String> {
    let output = Command::new("dtc").args(["-q", "-I", "dtb", "-O", "dts"]).arg(file).output();
    let output = output.map_err(|e| format!("dtc: {e}"))?;
    if !output.status.success() {
        return Err(format!("dtc: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let mut parser = Parser { text: &output.stdout, at: 0 };
    parser.tree().ok_or_else(|| format!("dtc's text is not understood at byte {}", parser.at))
}

/// A cursor over the text; every step is `None` when the text is not what it expects.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn blank(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    /// Takes `token`, blanks before it left out.
    fn take(&mut self, token: &str) -> Option<()> {
        self.blank();
        self.text[self.at..].starts_with(token.as_bytes()).then(|| self.at += token.len())
    }

    /// Takes what stands before a blank or one of `ends`.
    fn word(&mut self, ends: &[u8]) -> String {
        self.blank();
        let from = self.at;
        while self.text.get(self.at).is_some_and(|byte| !byte.is_ascii_whitespace() && !ends.contains(byte)) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[from..self.at]).into_owned()
    }

    fn number(&mut self) -> Option<u64> {
        u64::from_str_radix(self.word(b";>").strip_prefix("0x")?, 16).ok()
    }

    fn tree(&mut self) -> Option<Tree> {
        let mut tree = Tree::default();
        self.take("/dts-v1/;")?;
        while self.take("/memreserve/").is_some() {
            tree.reserve_map.push((self.number()?, self.number()?));
            self.take(";")?;
        }
        self.take("/")?;
        self.take("{")?;
        tree.root = self.node(String::new())?;
        self.blank();
        (self.at == self.text.len()).then_some(tree)
    }

    /// The rest of a node whose brace was taken.
    fn node(&mut self, name: String) -> Option<Node> {
        let mut node = Node { name, ..Node::default() };
        while self.take("}").is_none() {
            let name = self.word(b";{=");
            if self.take("{").is_some() {
                node.children.push(self.node(name)?);
            } else if self.take(";").is_some() {
                node.properties.push((name, Vec::new()));
            } else {
                self.take("=")?;
                node.properties.push((name, self.value()?));
            }
        }
        self.take(";")?;
        Some(node)
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        loop {
            self.blank();
            match self.text.get(self.at)? {
                b'<' => self.cells(&mut value)?,
                b'[' => self.bytes(&mut value)?,
                b'"' => self.string(&mut value)?,
                _ => return None,
            }
            if self.take(",").is_none() {
                return self.take(";").map(|()| value);
            }
        }
    }

    fn cells(&mut self, value: &mut Vec<u8>) -> Option<()> {
        self.take("<")?;
        while self.take(">").is_none() {
            value.extend_from_slice(&u32::try_from(self.number()?).ok()?.to_be_bytes());
        }
        Some(())
    }

    fn bytes(&mut self, value: &mut Vec<u8>) -> Option<()> {
        self.take("[")?;
        while self.take("]").is_none() {
            value.push(u8::from_str_radix(&self.word(b"]"), 16).ok()?);
        }
        Some(())
    }

    fn string(&mut self, value: &mut Vec<u8>) -> Option<()> {
        self.take("\"")?;
        loop {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => {
                    value.push(0);
                    return Some(());
                }
                b'\\' => value.push(self.escape()?),
                byte => value.push(byte),
            }
        }
    }

    fn escape(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(match byte {
            b'0' => 0,
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            b'x' => {
                let digits = std::str::from_utf8(self.text.get(self.at..self.at + 2)?).ok()?;
                self.at += 2;
                u8::from_str_radix(digits, 16).ok()?
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_every_kind_of_value_is_read() {
        let text = b"/dts-v1/;\n/memreserve/\t0x10 0x20;\n/ {\n\ta = <0x01 0xff>;\n\tb = [00 ff];\n\tc = \"x;\\\"\\0y\\xff\";\n\
                     \td;\n\tn@1 {\n\t\te = \"a\", \"b\";\n\t};\n};\n";
        let tree = Parser { text, at: 0 }.tree().unwrap();
        assert_eq!(tree.reserve_map, [(0x10, 0x20)]);
        assert_eq!(tree.root.property("a"), Some([0, 0, 0, 1, 0, 0, 0, 0xff].as_slice()));
        assert_eq!(tree.root.property("b"), Some([0, 0xff].as_slice()));
        assert_eq!(tree.root.property("c"), Some(b"x;\"\0y\xff\0".as_slice()));
        assert_eq!(tree.root.property("d"), Some([].as_slice()));
        assert_eq!(tree.root.child("n@1").unwrap().property("e"), Some(b"a\0b\0".as_slice()));
        assert!(Parser { text: b"/dts-v1/;\n/ {", at: 0 }.tree().is_none());
    }
}
