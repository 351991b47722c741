//! Successive cancellation: one path, no metrics.
//!
//! Every special node is a leaf at any size: rate-0 is zero; repetition is the sign of the sum; rate-1 is hard decisions; a
//! single parity check is hard decisions with the least reliable position (the first of equals) flipped when the parity is
//! odd (Wagner decoding). Bits are combined in place in the output word.

use super::schedule::{Instruction, NodeKind, Operation};
use super::workspace::AlignedBuffer;
use crate::simd::{KernelLlr, Kernels, Task};

/// State of a successive-cancellation decode.
pub struct SingleState<T: KernelLlr> {
    log_length: usize,
    /// LLRs by stage, below the root.
    alpha: Vec<AlignedBuffer<T>>,
    /// The decoded word.
    word: AlignedBuffer<u64>,
}

impl<T: KernelLlr> SingleState<T> {
    /// State for codes of 2^`log_length` positions.
    pub fn new(log_length: u32) -> Self {
        Self {
            log_length: log_length as usize,
            alpha: (0..log_length).map(|stage| AlignedBuffer::new(1 << stage)).collect(),
            word: AlignedBuffer::new((1usize << log_length).div_ceil(64)),
        }
    }

    /// Bytes that [`SingleState::new`] allocates.
    pub fn bytes_for(log_length: u32) -> usize {
        let alpha: usize = (0..log_length).map(|stage| AlignedBuffer::<T>::bytes_for(1 << stage)).sum();
        alpha
            + log_length as usize * size_of::<AlignedBuffer<T>>()
            + AlignedBuffer::<u64>::bytes_for((1usize << log_length).div_ceil(64))
    }

    /// Bytes held in buffers.
    pub fn bytes(&self) -> usize {
        self.alpha.iter().map(AlignedBuffer::bytes).sum::<usize>()
            + self.alpha.capacity() * size_of::<AlignedBuffer<T>>()
            + self.word.bytes()
    }

    /// The decoded word.
    pub fn word(&self) -> &[u64] {
        &self.word
    }

    #[inline(always)]
    fn left<E: Kernels<T>>(&mut self, engine: E, stage: usize, channel: &[T]) {
        let (below, above) = self.alpha.split_at_mut(stage);
        let node: &[T] = if stage == self.log_length { channel } else { &above[0] };
        engine.left(node, &mut below[stage - 1]);
    }

    #[inline(always)]
    fn right<E: Kernels<T>>(&mut self, engine: E, stage: usize, start: usize, channel: &[T]) {
        let half = 1usize << (stage - 1);
        let (below, above) = self.alpha.split_at_mut(stage);
        let node: &[T] = if stage == self.log_length { channel } else { &above[0] };
        if half >= 64 {
            engine.right(node, &self.word[start / 64..][..half / 64], &mut below[stage - 1]);
        } else {
            engine.right(node, &[self.word[start / 64] >> (start % 64)], &mut below[stage - 1]);
        }
    }

    #[inline(always)]
    fn combine(&mut self, stage: usize, start: usize) {
        let half = 1usize << (stage - 1);
        if half >= 64 {
            let node = &mut self.word[start / 64..][..2 * half / 64];
            let (low, high) = node.split_at_mut(half / 64);
            for (low, &high) in low.iter_mut().zip(high.iter()) {
                *low ^= high;
            }
        } else {
            let word = &mut self.word[start / 64];
            let right = (*word >> (start % 64 + half)) & ((1u64 << half) - 1);
            *word ^= right << (start % 64);
        }
    }

    #[inline(always)]
    fn leaf<E: Kernels<T>>(&mut self, engine: E, kind: NodeKind, stage: usize, start: usize, channel: &[T]) {
        let length = 1usize << stage;
        let node: &[T] = if stage == self.log_length { channel } else { &self.alpha[stage] };
        let mut small = [0u64];
        let bits = if length >= 64 { &mut self.word[start / 64..][..length / 64] } else { &mut small[..] };
        match kind {
            NodeKind::Rate0 => bits.fill(0),
            NodeKind::Repetition => {
                let (zeros, ones) = engine.sums(node);
                bits.fill(if ones < zeros { !0 } else { 0 });
            }
            NodeKind::Rate1 => engine.signs(node, bits),
            NodeKind::ParityCheck => {
                engine.signs(node, bits);
                if bits.iter().fold(0, |sum, word| sum ^ word).count_ones() & 1 == 1 {
                    let smallest = engine.smallest(node);
                    if let Some(position) = node.iter().position(|llr| llr.magnitude() == smallest) {
                        bits[position / 64] ^= 1 << (position % 64);
                    }
                }
            }
        }
        if length < 64 {
            let mask = ((1u64 << length) - 1) << (start % 64);
            let word = &mut self.word[start / 64];
            *word = (*word & !mask) | (small[0] << (start % 64) & mask);
        }
    }
}

/// One successive-cancellation decode.
pub struct SingleTask<'a, T: KernelLlr> {
    /// The compiled code.
    pub program: &'a [Instruction],
    /// Where the path lives.
    pub state: &'a mut SingleState<T>,
    /// Channel LLRs, natural order.
    pub channel: &'a [T],
}

impl<T: KernelLlr> Task<T> for SingleTask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<E: Kernels<T>>(self, engine: E) {
        let Self { program, state, channel } = self;
        // Positions before `end` are decided; a node's positions are known to end or begin there.
        let mut end = 0;
        for instruction in program {
            let stage = usize::from(instruction.stage);
            match instruction.operation {
                Operation::Left => state.left(engine, stage, channel),
                Operation::Right => state.right(engine, stage, end - (1 << (stage - 1)), channel),
                Operation::Combine => state.combine(stage, end - (1 << stage)),
                Operation::Leaf(kind) | Operation::Try(kind) => {
                    state.leaf(engine, kind, stage, end, channel);
                    end += 1 << stage;
                }
            }
        }
    }
}
