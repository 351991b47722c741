//! Successive cancellation: one path, no metrics.
//!
//! Every special node is a leaf at any size: rate-0 is zero; repetition is the sign of the sum; rate-1 is hard decisions; a
//! single parity check is hard decisions with the least reliable position (the first of equals) flipped when the parity is
//! odd (Wagner decoding). Bits are combined in place in the output word.
//!
//! Most of the tree is never descended: where the hard decisions of a node are a word of its code, and no LLR is so small
//! that the f-kernels below could make it 0, the descent would only confirm them (`simd::settle` says why). Nodes of more
//! than 64 positions ask this when few enough of their positions are frozen; smaller ones always do.

use super::schedule::{NodeKind, classify};
use super::workspace::AlignedBuffer;
use crate::bits;
use crate::code::Code;
use crate::simd::settle::{Part, SUBTREE, Shape, part_of, settle_short};
use crate::simd::{KernelLlr, Kernels, Task};
use crate::transform::transform_words;

/// log2 of the positions of a subtree that is settled in registers.
const LOG_SUBTREE: usize = SUBTREE.trailing_zeros() as usize;

/// A node is asked for a word of its code when at most one of this many positions is frozen.
const POSITIONS_PER_FROZEN: usize = 4;

/// What a step does to the node it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// LLRs of the left child by the f-kernel.
    Left,
    /// LLRs of the right child by the g-kernel, given the left child's bits.
    Right,
    /// Bits of the node from those of its children.
    Combine,
    /// A special node.
    Leaf(NodeKind),
    /// The node is taken as it is and `skip` steps are jumped when its hard decisions are a word of its code.
    Try,
    /// 64 positions, or a block that is shorter.
    Subtree,
    /// Two subtrees and what joins them; the next step has the shape of the second.
    Pair,
}

/// One step of a decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    operation: Operation,
    /// log2 size of the node.
    stage: u8,
    /// Largest number of f-kernels on a way down from the node of a `Try` to a special node.
    depth: u8,
    /// Steps to jump when a `Try` succeeds.
    skip: u32,
    shape: Shape,
}

struct Compiler<'a> {
    info: &'a [u64],
    program: Vec<Step>,
}

impl Compiler<'_> {
    fn push(&mut self, operation: Operation, stage: usize, shape: Shape) -> usize {
        self.program.push(Step { operation, stage: stage as u8, depth: 0, skip: 0, shape });
        self.program.len() - 1
    }

    /// Appends the node of 2^`stage` positions whose first word is `start`; returns its depth.
    fn node(&mut self, stage: usize, start: usize) -> u8 {
        let length = 1usize << stage;
        let words = &self.info[start..][..length.div_ceil(SUBTREE)];
        if stage <= LOG_SUBTREE {
            self.push(Operation::Subtree, stage, Shape::of(words[0]));
            return match part_of(words[0], length) {
                Part::Special(_) => 0,
                Part::Split(depth) => depth,
            };
        }
        let ones = bits::count_ones(words);
        if let Some(kind) = classify(ones, length, bits::get(words, 0), bits::get(words, length - 1)) {
            self.push(Operation::Leaf(kind), stage, Shape::NONE);
            return 0;
        }
        let tried = (length - ones) * POSITIONS_PER_FROZEN <= length;
        let at = if tried { self.push(Operation::Try, stage, Shape::NONE) } else { 0 };
        let half = words.len() / 2;
        let depth = if stage == LOG_SUBTREE + 1 {
            self.push(Operation::Pair, stage, Shape::of(words[0]));
            self.push(Operation::Pair, stage, Shape::of(words[1]));
            let depths = [words[0], words[1]].map(|info| match part_of(info, SUBTREE) {
                Part::Special(_) => 0,
                Part::Split(depth) => depth,
            });
            depths[1].max(depths[0] + 1)
        } else {
            self.push(Operation::Left, stage, Shape::NONE);
            let left = self.node(stage - 1, start);
            self.push(Operation::Right, stage, Shape::NONE);
            let right = self.node(stage - 1, start + half);
            self.push(Operation::Combine, stage, Shape::NONE);
            right.max(left + 1)
        };
        if tried {
            self.program[at].depth = depth;
            self.program[at].skip = (self.program.len() - at - 1) as u32;
        }
        depth
    }
}

/// Compiles `code`.
#[must_use]
pub fn compile(code: &Code) -> Box<[Step]> {
    let mut compiler = Compiler { info: code.info(), program: Vec::new() };
    compiler.node(code.log_length() as usize, 0);
    compiler.program.into_boxed_slice()
}

/// State of a successive-cancellation decode.
pub struct SingleState<T: KernelLlr> {
    log_length: usize,
    /// LLRs by stage, from subtrees up to below the root.
    alpha: Vec<AlignedBuffer<T>>,
    /// The decoded word.
    word: AlignedBuffer<u64>,
}

impl<T: KernelLlr> SingleState<T> {
    /// State for codes of 2^`log_length` positions.
    pub fn new(log_length: u32) -> Self {
        Self {
            log_length: log_length as usize,
            alpha: Self::stages(log_length).map(|stage| AlignedBuffer::new(1 << stage)).collect(),
            word: AlignedBuffer::new((1usize << log_length).div_ceil(64)),
        }
    }

    /// Stages whose LLRs are kept.
    fn stages(log_length: u32) -> std::ops::Range<usize> {
        LOG_SUBTREE..(log_length as usize).max(LOG_SUBTREE)
    }

    /// Bytes that [`SingleState::new`] allocates.
    pub fn bytes_for(log_length: u32) -> usize {
        let stages = Self::stages(log_length);
        stages.len() * size_of::<AlignedBuffer<T>>()
            + stages.map(|stage| AlignedBuffer::<T>::bytes_for(1 << stage)).sum::<usize>()
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

    /// A node's LLRs, those of its child (none below a subtree), and the decoded word.
    #[inline(always)]
    fn parts<'a>(&'a mut self, stage: usize, channel: &'a [T]) -> (&'a [T], &'a mut [T], &'a mut [u64]) {
        let (below, above) = self.alpha.split_at_mut(stage - LOG_SUBTREE);
        let node: &[T] = if stage == self.log_length { channel } else { &above[0] };
        (node, below.last_mut().map_or(&mut [], |child| &mut child[..]), &mut self.word)
    }

    #[inline(always)]
    fn leaf<E: Kernels<T>>(&mut self, engine: E, kind: NodeKind, stage: usize, start: usize, channel: &[T]) {
        let (node, _, word) = self.parts(stage, channel);
        let bits = &mut word[start..][..node.len() / 64];
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
    }

    /// Whether the node's hard decisions, left in the word, are what its descent would decide.
    #[inline(always)]
    fn is_settled<E: Kernels<T>>(&mut self, engine: E, step: &Step, start: usize, channel: &[T], info: &[u64]) -> bool {
        let (node, _, word) = self.parts(usize::from(step.stage), channel);
        if !engine.outlast(node, step.depth) {
            return false;
        }
        let bits = &mut word[start..][..node.len() / 64];
        engine.signs(node, bits);
        transform_words(bits);
        if bits.iter().zip(&info[start..]).any(|(bits, info)| bits & !info != 0) {
            return false;
        }
        engine.signs(node, bits);
        true
    }

    #[inline(always)]
    fn pair<E: Kernels<T>>(&mut self, engine: E, shapes: [Shape; 2], start: usize, channel: &[T], info: &[u64]) {
        let (node, _, word) = self.parts(LOG_SUBTREE + 1, channel);
        let mut child = [T::default(); SUBTREE];
        if let ([low, high], Some([first, second]), Some([left, right])) =
            (node.as_chunks::<SUBTREE>().0, info[start..].first_chunk(), word[start..].first_chunk_mut())
        {
            engine.left_block(low, high, &mut child);
            *left = engine.settle(&child, *first, shapes[0]);
            engine.right_block(low, high, *left, &mut child);
            *right = engine.settle(&child, *second, shapes[1]);
            *left ^= *right;
        }
    }
}

/// One successive-cancellation decode.
pub struct SingleTask<'a, T: KernelLlr> {
    /// The compiled code.
    pub program: &'a [Step],
    /// The information set.
    pub info: &'a [u64],
    /// Where the path lives.
    pub state: &'a mut SingleState<T>,
    /// Channel LLRs, natural order.
    pub channel: &'a [T],
}

impl<T: KernelLlr> Task<T> for SingleTask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<E: Kernels<T>>(self, engine: E) {
        let Self { program, info, state, channel } = self;
        // Words before `end` are decided; a node's words are known to end or begin there.
        let mut end = 0;
        let mut at = 0;
        while let Some(step) = program.get(at) {
            at += 1;
            let stage = usize::from(step.stage);
            let words = (1usize << stage) / SUBTREE;
            match step.operation {
                Operation::Left => {
                    let (node, child, _) = state.parts(stage, channel);
                    engine.left(node, child);
                }
                Operation::Right => {
                    let (node, child, word) = state.parts(stage, channel);
                    engine.right(node, &word[end - words / 2..end], child);
                }
                Operation::Combine => {
                    let (low, high) = state.word[end - words..end].split_at_mut(words / 2);
                    bits::xor_into(low, high);
                }
                Operation::Leaf(kind) => {
                    state.leaf(engine, kind, stage, end, channel);
                    end += words;
                }
                Operation::Try => {
                    if state.is_settled(engine, step, end, channel, info) {
                        end += words;
                        at += step.skip as usize;
                    }
                }
                Operation::Subtree if stage < LOG_SUBTREE => state.word[0] = settle_short(engine, channel, info[0]),
                Operation::Subtree => {
                    let (node, _, word) = state.parts(LOG_SUBTREE, channel);
                    if let Some(node) = node.first_chunk() {
                        word[end] = engine.settle(node, info[end], step.shape);
                    }
                    end += 1;
                }
                Operation::Pair => {
                    let second = program.get(at).map_or(Shape::NONE, |step| step.shape);
                    at += 1;
                    state.pair(engine, [step.shape, second], end, channel, info);
                    end += 2;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Check;

    #[test]
    fn a_skip_jumps_exactly_the_split_form_of_its_node() {
        let mut info = [0; 16];
        info[8..].fill(!0);
        info[8] = !0 << 2;
        let code = Code::new(1024, &info, 0, Check::None).unwrap();
        let program = compile(&code);
        let at = program.iter().position(|step| step.operation == Operation::Try).unwrap();
        let step = program[at];
        assert_eq!((step.stage, step.depth), (9, 8));
        let after = program[at + 1 + step.skip as usize];
        assert_eq!((after.operation, after.stage), (Operation::Combine, 10));
    }
}
