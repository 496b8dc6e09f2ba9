//! One walk over all enabled nodes, for what no path leads to: the DMA limit, PSCI, and a console of last resort.
#![forbid(unsafe_code)]

use super::ValidFdt;
use super::cells::Trail;
use super::tree::{Node, Properties, Step, StrList, is_okay};

/// UARTs of ARMv7 boards, by `compatible`. Which of them can be driven is the kernel's to know (today: the PL011).
const UARTS: [&str; 13] = [
    "arm,pl011",
    "ns16550a",
    "ns16550",
    "snps,dw-apb-uart",
    "brcm,bcm2835-aux-uart",
    "fsl,imx21-uart",
    "fsl,imx6q-uart",
    "cdns,uart-r1p8",
    "xlnx,xuartps",
    "samsung,exynos4210-uart",
    "nuvoton,npcm750-uart",
    "nuvoton,wpcm450-uart",
    "aspeed,ast2500-uart",
];

/// What the walk found.
pub(super) struct Survey<'a> {
    /// One past the highest address that every bus with `dma-ranges` reaches (Linux: `of_dma_get_max_cpu_address`).
    pub(super) dma_limit: Option<u64>,
    /// The node of the power firmware.
    pub(super) psci: Option<Node<'a>>,
    /// The first of [`UARTS`] that is enabled.
    pub(super) uart: Option<Trail<'a>>,
}

/// What a node says of itself; of two properties of one name the first counts.
#[derive(Default)]
struct Facts<'a> {
    status: Option<&'a [u8]>,
    compatible: Option<&'a [u8]>,
    dma_ranges: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    /// Reads a node's properties up to their end, so that `properties.at` is where its children begin.
    fn read(properties: &mut Properties<'a>) -> Self {
        let mut facts = Self::default();
        for property in properties {
            let slot = if property.is("status") {
                &mut facts.status
            } else if property.is("compatible") {
                &mut facts.compatible
            } else if property.is("dma-ranges") {
                &mut facts.dma_ranges
            } else {
                continue;
            };
            slot.get_or_insert(property.value);
        }
        facts
    }
}

impl<'a> Survey<'a> {
    /// Takes note of the enabled node at the end of `trail`.
    fn visit(&mut self, trail: &Trail<'a>, facts: &Facts<'a>, want_uart: bool) {
        if let Some(end) = facts.dma_ranges.and_then(|ranges| trail.dma_end(ranges)) {
            self.dma_limit = Some(self.dma_limit.map_or(end, |lowest| lowest.min(end)));
        }
        let Some(compatible) = facts.compatible else { return };
        if self.psci.is_none() && compatible.starts_with(b"arm,psci") {
            self.psci = trail.last();
        }
        if want_uart && self.uart.is_none() && StrList(compatible).any(|name| UARTS.contains(&name)) {
            self.uart = trail.first_reg().is_some().then_some(*trail);
        }
    }
}

impl<'a> ValidFdt<'a> {
    /// Walks every enabled node; what lies below a disabled one is left out.
    pub(super) fn survey(&self, want_uart: bool) -> Survey<'a> {
        let mut survey = Survey { dma_limit: None, psci: None, uart: None };
        let mut trail = Trail::new(self.tree);
        let mut at = 0;
        loop {
            at = match self.tree.step(at) {
                Step::Begin { node, next } => {
                    trail.push(node);
                    let mut properties = Properties { tree: self.tree, at: next };
                    let facts = Facts::read(&mut properties);
                    if trail.is_root() || facts.status.is_none_or(is_okay) {
                        survey.visit(&trail, &facts, want_uart);
                        properties.at
                    } else {
                        trail.pop();
                        let Some(behind) = self.tree.behind(node) else { return survey };
                        behind
                    }
                }
                Step::Property { next, .. } => next,
                Step::End { next } => {
                    trail.pop();
                    next
                }
                Step::Done => return survey,
            };
        }
    }
}
