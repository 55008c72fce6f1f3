//! The policy of the read buffer.
//!
//! Replies are taken off its front as slabs that batches hold for a while. When none is held, the
//! same memory is used again; when one is, a new slab is made and only the unfinished reply moves.
//! A large value announces its length: room for it is made in steps, as its bytes really come.

use bytes::{Bytes, BytesMut};

/// One slab, in bytes: large enough that a read takes what a server writes at once.
pub(super) const SLAB: usize = 256 << 10;
/// With less room than this a read is not worth its system call.
const LEAST_ROOM: usize = 16 << 10;
/// The least step towards an announced length; a lying peer makes us allocate no more than this
/// beyond twice what it sent.
const LEAST_STEP: usize = 1 << 20;

/// The bytes that have come and are not yet taken.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    bytes: BytesMut,
    slab: usize,
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self { bytes: BytesMut::new(), slab: SLAB }
    }
}

impl ReadBuffer {
    /// Makes slabs smaller than usual.
    pub(super) fn limit_slab(&mut self, bytes: usize) {
        self.slab = bytes.clamp(LEAST_ROOM, SLAB);
    }

    /// Room to read into. `wanted`: how long the buffer must get before the reply at hand is whole.
    pub(super) fn room(&mut self, wanted: Option<usize>) -> &mut BytesMut {
        let have = self.bytes.len();
        let spare = self.bytes.capacity() - have;
        let lacking = wanted.unwrap_or(0).saturating_sub(have);
        if spare < LEAST_ROOM && (lacking == 0 || spare < lacking) {
            // A slab in all, so that one that nobody holds fits again; towards a large value at
            // most as much again as there is already.
            let step = lacking.min(have.max(LEAST_STEP));
            self.bytes.reserve(step.max(self.slab.saturating_sub(have)).max(LEAST_ROOM));
        }
        &mut self.bytes
    }

    /// All bytes that have come.
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes bytes off the front.
    pub(super) fn take(&mut self, count: usize) -> Bytes {
        self.bytes.split_to(count.min(self.bytes.len())).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_nobody_holds_is_used_again() {
        let mut buffer = ReadBuffer::default();
        buffer.room(None).extend_from_slice(&vec![b'x'; SLAB - 100]);
        let first = buffer.filled().as_ptr();
        drop(buffer.take(SLAB - 110));
        assert!(buffer.room(None).capacity() >= LEAST_ROOM);
        assert_eq!(buffer.filled(), b"xxxxxxxxxx");
        assert_eq!(buffer.filled().as_ptr(), first);
    }

    #[test]
    fn an_announced_length_is_believed_in_steps() {
        let mut buffer = ReadBuffer::default();
        buffer.room(None).extend_from_slice(b"$500000000\r\n");
        let claim = Some(500_000_014);
        for _ in 0..3 {
            assert!(buffer.room(claim).capacity() <= 4 * LEAST_STEP);
        }
        let half = vec![0; 3 << 20];
        buffer.room(claim).extend_from_slice(&half);
        assert!(buffer.room(claim).capacity() <= 8 << 20);
    }
}
