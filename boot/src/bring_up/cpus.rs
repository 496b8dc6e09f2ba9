//! The per-CPU areas' first chunk.

use mm::addr::{PfnRange, PhysAddr, PhysRange};
use mm::memblock::{AllocRequest, Memblock};
use mm::percpu::layout::ChunkLayout;
use mm::platform::PhysMap;

use super::{BootError, Given, Machine};

/// The chunk and its layout: a unit for each CPU that the tree names.
#[derive(Clone, Copy, Debug)]
pub struct PerCpu {
    /// How static, reserved and dynamic parts follow each other.
    pub layout: ChunkLayout,
    /// Where the chunk lies.
    pub chunk: PhysRange,
}

impl PerCpu {
    /// CPUs that have a unit.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.layout.cpus()
    }
}

/// Takes the chunk from memblock and copies the template into each unit (Linux: `setup_per_cpu_areas`).
pub(super) fn first_chunk<M: Machine>(memblock: &mut Memblock<'_>, given: &Given<'_, M>) -> Result<PerCpu, BootError> {
    let what = "the per-CPU areas";
    let cpus = u32::try_from(given.info.cpus.as_slice().len()).unwrap_or(1).max(1);
    let template = u32::try_from(given.percpu.len()).unwrap_or(u32::MAX);
    let layout = ChunkLayout::first(template, cpus)?;
    let bytes = layout.chunk_size();
    let no_memory = BootError::NoMemory { what, bytes: u64::from(bytes) };
    let request = AllocRequest::new(u64::from(bytes), u64::from(layout.align()));
    let start: PhysAddr = memblock.alloc(&request).map_err(|_| no_memory)?;
    let chunk = PhysRange::new(start, start.saturating_add(u64::from(bytes)));
    let frames: PfnRange = chunk.touched_frames();
    if let Some(absent) = frames.iter().find(|frame| !given.machine.answers(*frame)) {
        return Err(BootError::AbsentFrame { what, frame: absent.base() });
    }
    let pointer = given.machine.ram().frames_ptr(frames.start, frames.pages()).ok_or(no_memory)?;
    // SAFETY: memblock gave these frames to nobody else, and `frames_ptr` vouches for their bytes; RAM bytes are always
    // some `u8`.
    let bytes = unsafe { core::slice::from_raw_parts_mut(pointer.as_ptr(), bytes as usize) };
    layout.fill(bytes, given.percpu)?;
    layout.log();
    Ok(PerCpu { layout, chunk })
}
