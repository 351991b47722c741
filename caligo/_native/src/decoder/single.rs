//! Successive cancellation: one path, no metrics.
//!
//! Every special node is a leaf at any size: rate-0 is zero; repetition is the sign of the sum; rate-1 is hard decisions; a
//! single parity check is hard decisions with the least reliable position (the first of equals) flipped when the parity is
//! odd (Wagner decoding). Bits are combined in place in the output word.
//!
//! Most of the tree is never descended: where the hard decisions of a node are a word of its code, and no LLR is so small
//! that the f-kernels below could make it 0, the descent would only confirm them (`simd::settle` says why). Nodes of more
//! than 64 positions ask this when few enough of their positions are frozen; smaller ones always do.
//!
//! Near the root of a hard-decision channel an LLR has two or three values, and a node is two planes of bits (`Form`)
//! rather than bytes: f of ±c is ±f(c, c), g of it is 0 or ±2c, and f of that again one of three values.

use super::schedule::{NodeKind, classify};
use super::workspace::AlignedBuffer;
use crate::bits;
use crate::code::Code;
use crate::error::Result;
use crate::memory;
use crate::simd::settle::{Part, SUBTREE, Shape, part_of, settle_short};
use crate::simd::{KernelLlr, Kernels, Task};
use crate::transform::{MAX_BLOCK_LENGTH, transform_words};

/// log2 of the positions of a subtree that is settled in registers.
const LOG_SUBTREE: usize = SUBTREE.trailing_zeros() as usize;

/// A node is asked for a word of its code when no more than this many positions are frozen.
const FROZEN: usize = 64;

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

/// Channel LLRs in natural order.
#[derive(Clone, Copy)]
pub enum Channel<'a, T> {
    /// As they are.
    Values(&'a [T]),
    /// All of one magnitude, negative where the bit is set.
    Signs(&'a [u64], T),
}

/// How a node's LLRs are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form<T> {
    /// As they are.
    Values,
    /// All of one magnitude: a plane of signs.
    Signs(T),
    /// 0 or of one magnitude: a plane of what is not 0, then one of signs.
    Ternary(T),
}

impl<T: KernelLlr> Form<T> {
    /// LLRs of a child of a node of 64·`words` positions whose LLRs are `values` or `planes`: the left one, or the right one
    /// given the left one's `bits`. As planes if they may be and are wanted `packed`; how they are.
    #[inline(always)]
    pub fn child<E: Kernels<T>>(
        self,
        engine: E,
        (values, planes): (&[T], &[u64]),
        words: usize,
        bits: Option<&[u64]>,
        packed: bool,
        child: &mut AlignedBuffer<T>,
    ) -> Self {
        match (self, bits) {
            (Form::Values, None) => engine.left(values, child),
            (Form::Values, Some(bits)) => engine.right(values, bits, child),
            (Form::Signs(magnitude), bits) => {
                let (low, high) = planes[..words].split_at(words / 2);
                match bits {
                    None if packed => {
                        for ((child, low), high) in child.words_mut().iter_mut().zip(low).zip(high) {
                            *child = low ^ high;
                        }
                        return Form::Signs(magnitude.f(magnitude));
                    }
                    None => {
                        let blocks = child.as_chunks_mut().0.iter_mut();
                        for ((child, low), high) in blocks.zip(low).zip(high) {
                            engine.ternary_block(u64::MAX, low ^ high, magnitude.f(magnitude), child);
                        }
                    }
                    Some(bits) if packed => {
                        let (nonzero, negative) = child.words_mut()[..words].split_at_mut(words / 2);
                        for (i, (nonzero, negative)) in nonzero.iter_mut().zip(negative).enumerate() {
                            *nonzero = !(low[i] ^ high[i] ^ bits[i]);
                            *negative = high[i];
                        }
                        return Form::Ternary(magnitude.g(magnitude, false));
                    }
                    Some(bits) => {
                        let blocks = child.as_chunks_mut().0.iter_mut();
                        for (((child, low), high), bits) in blocks.zip(low).zip(high).zip(bits) {
                            let nonzero = !(low ^ high ^ bits);
                            engine.ternary_block(nonzero, *high, magnitude.g(magnitude, false), child);
                        }
                    }
                }
            }
            (Form::Ternary(magnitude), bits) => {
                let (nonzero, negative) = planes[..2 * words].split_at(words);
                let (low_nonzero, high_nonzero) = nonzero.split_at(words / 2);
                let (low_negative, high_negative) = negative.split_at(words / 2);
                match bits {
                    None if packed => {
                        let (nonzero, negative) = child.words_mut()[..words].split_at_mut(words / 2);
                        for (i, (nonzero, negative)) in nonzero.iter_mut().zip(negative).enumerate() {
                            *nonzero = low_nonzero[i] & high_nonzero[i];
                            *negative = low_negative[i] ^ high_negative[i];
                        }
                        return Form::Ternary(magnitude.f(magnitude));
                    }
                    None => {
                        for (i, child) in child.as_chunks_mut().0.iter_mut().enumerate() {
                            let nonzero = low_nonzero[i] & high_nonzero[i];
                            let negative = low_negative[i] ^ high_negative[i];
                            engine.ternary_block(nonzero, negative, magnitude.f(magnitude), child);
                        }
                    }
                    Some(bits) => {
                        let (mut low, mut high) = ([T::default(); SUBTREE], [T::default(); SUBTREE]);
                        for (i, child) in child.as_chunks_mut().0.iter_mut().enumerate() {
                            engine.ternary_block(low_nonzero[i], low_negative[i], magnitude, &mut low);
                            engine.ternary_block(high_nonzero[i], high_negative[i], magnitude, &mut high);
                            engine.right_block(&low, &high, bits[i], child);
                        }
                    }
                }
            }
        }
        Form::Values
    }
}

struct Compiler<'a> {
    info: &'a [u64],
    /// Steps so far.
    length: usize,
    /// They themselves, unless they are only counted.
    program: Option<&'a mut Vec<Step>>,
}

impl Compiler<'_> {
    fn push(&mut self, operation: Operation, stage: usize, shape: Shape) -> usize {
        self.length += 1;
        if let Some(program) = &mut self.program {
            program.push(Step { operation, stage: stage as u8, depth: 0, skip: 0, shape });
        }
        self.length - 1
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
        let tried = length - ones <= FROZEN;
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
        let skip = (self.length - at - 1) as u32;
        if tried && let Some(step) = self.program.as_mut().and_then(|program| program.get_mut(at)) {
            (step.depth, step.skip) = (depth, skip);
        }
        depth
    }
}

/// Bytes of the program that [`compile`] makes; allocates nothing.
#[must_use]
pub fn bytes_for(code: &Code) -> usize {
    let mut compiler = Compiler { info: code.info(), length: 0, program: None };
    compiler.node(code.log_length() as usize, 0);
    compiler.length * size_of::<Step>()
}

/// Compiles `code`.
///
/// # Errors
/// [`Error::Memory`](crate::error::Error::Memory).
pub fn compile(code: &Code) -> Result<Box<[Step]>> {
    let mut program = memory::reserved(bytes_for(code) / size_of::<Step>())?;
    compile_into(code.info(), code.log_length(), &mut program);
    Ok(program.into_boxed_slice())
}

/// Compiles the code of 2^`log_length` positions with information set `info` in place of what `program` holds.
pub fn compile_into(info: &[u64], log_length: u32, program: &mut Vec<Step>) {
    program.clear();
    Compiler { info, length: 0, program: Some(program) }.node(log_length as usize, 0);
}

/// Steps that a program takes at most for an information set that is part of `info`, 2^`log_length` positions.
#[must_use]
pub fn most_steps(info: &[u64], log_length: u32) -> usize {
    let half = info.len() / 2;
    match log_length as usize {
        ..=LOG_SUBTREE => 1,
        _ if info.iter().all(|&word| word == 0) => 1,
        // A try, and a pair or what joins two children.
        stage if stage == LOG_SUBTREE + 1 => 3,
        _ => 4 + most_steps(&info[..half], log_length - 1) + most_steps(&info[half..], log_length - 1),
    }
}

/// Whether the program can start from [`Channel::Signs`]: its root is split.
#[must_use]
pub fn takes_signs(program: &[Step]) -> bool {
    program.first().is_some_and(|step| step.operation == Operation::Left)
}

/// State of a successive-cancellation decode.
pub struct SingleState<T: KernelLlr> {
    log_length: usize,
    /// LLRs by stage, from subtrees up to below the root.
    alpha: Vec<AlignedBuffer<T>>,
    /// The form of each stage's LLRs.
    forms: [Form<T>; block_stages()],
    /// The decoded word.
    word: AlignedBuffer<u64>,
}

/// Stages of the longest block, its root included.
const fn block_stages() -> usize {
    MAX_BLOCK_LENGTH.trailing_zeros() as usize + 1
}

impl<T: KernelLlr> SingleState<T> {
    /// State for codes of 2^`log_length` positions.
    pub fn new(log_length: u32) -> Self {
        Self {
            log_length: log_length as usize,
            alpha: Self::stages(log_length).map(|stage| AlignedBuffer::new(1 << stage)).collect(),
            forms: [Form::Values; block_stages()],
            word: AlignedBuffer::new((1usize << log_length).div_ceil(64)),
        }
    }

    /// Serves codes of 2^`log_length` positions from now on, at most as many as it was made for.
    pub fn set_length(&mut self, log_length: u32) {
        self.log_length = log_length as usize;
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
        &self.word[..(1usize << self.log_length).div_ceil(SUBTREE)]
    }

    /// A node's LLRs and the decoded word.
    #[inline(always)]
    fn parts<'a>(&'a mut self, stage: usize, channel: &'a [T]) -> (&'a [T], &'a mut [u64]) {
        let node = if stage == self.log_length { channel } else { &self.alpha[stage - LOG_SUBTREE] };
        (node, &mut self.word)
    }

    /// LLRs of a child of the node of 2^`stage` positions: the left one, or the right one given the left one's `bits`. As
    /// planes if they may be and are wanted `packed`.
    #[inline(always)]
    fn descend<E: Kernels<T>>(
        &mut self,
        engine: E,
        stage: usize,
        channel: Channel<'_, T>,
        left: Option<std::ops::Range<usize>>,
        packed: bool,
    ) {
        let (below, above) = self.alpha.split_at_mut(stage - LOG_SUBTREE);
        let Some(child) = below.last_mut() else { return };
        let bits = left.map(|left| &self.word[left]);
        let (values, planes): (&[T], &[u64]) = match channel {
            Channel::Values(values) if stage == self.log_length => (values, &[]),
            Channel::Signs(signs, _) if stage == self.log_length => (&[], signs),
            _ => (&above[0], above[0].words()),
        };
        let words = (1usize << stage) / SUBTREE;
        self.forms[stage - 1] = self.forms[stage].child(engine, (values, planes), words, bits, packed, child);
    }

    #[inline(always)]
    fn leaf<E: Kernels<T>>(&mut self, engine: E, kind: NodeKind, stage: usize, start: usize, channel: &[T]) {
        let (node, word) = self.parts(stage, channel);
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
        let (node, word) = self.parts(usize::from(step.stage), channel);
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

    /// One subtree, or two and what joins them.
    #[inline(always)]
    fn subtrees<E: Kernels<T>>(
        &mut self,
        engine: E,
        stage: usize,
        shapes: [Shape; 2],
        start: usize,
        channel: &[T],
        info: &[u64],
    ) {
        let (node, word) = self.parts(stage, channel);
        let (blocks, _) = node.as_chunks::<SUBTREE>();
        let mut child = [T::default(); SUBTREE];
        let mut halves = [0; 2];
        for (side, bits) in word[start..][..blocks.len()].iter_mut().enumerate() {
            match (blocks, side) {
                ([low, high], 0) => engine.left_block(low, high, &mut child),
                ([low, high], _) => engine.right_block(low, high, halves[0], &mut child),
                (blocks, _) => child = blocks[0],
            }
            halves[side] = engine.settle(&child, info[start + side], shapes[side]);
            *bits = halves[side];
        }
        word[start] ^= halves[1];
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
    /// The channel; signs only where the program [takes them](takes_signs).
    pub channel: Channel<'a, T>,
}

impl<T: KernelLlr> Task<T> for SingleTask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<E: Kernels<T>>(self, engine: E) {
        let Self { program, info, state, channel: input } = self;
        let (form, channel): (_, &[T]) = match input {
            Channel::Values(values) => (Form::Values, values),
            Channel::Signs(_, magnitude) => (Form::Signs(magnitude), &[]),
        };
        state.forms[state.log_length] = form;
        // Words before `end` are decided; a node's words are known to end or begin there.
        let mut end = 0;
        let mut at = 0;
        while let Some(step) = program.get(at) {
            at += 1;
            let stage = usize::from(step.stage);
            let words = (1usize << stage) / SUBTREE;
            match step.operation {
                Operation::Left | Operation::Right => {
                    let left = (step.operation == Operation::Right).then(|| end - words / 2..end);
                    // Planes are for nodes that are split in their turn.
                    let packed = program.get(at).is_some_and(|next| next.operation == Operation::Left);
                    state.descend(engine, stage, input, left, packed);
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
                Operation::Subtree if stage < LOG_SUBTREE => state.word[0] = settle_short(channel, info[0]),
                Operation::Subtree => {
                    state.subtrees(engine, stage, [step.shape, Shape::NONE], end, channel, info);
                    end += 1;
                }
                Operation::Pair => {
                    let second = program.get(at).map_or(Shape::NONE, |step| step.shape);
                    at += 1;
                    state.subtrees(engine, stage, [step.shape, second], end, channel, info);
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
        let program = compile(&code).unwrap();
        let at = program.iter().position(|step| step.operation == Operation::Try).unwrap();
        let step = program[at];
        assert_eq!((step.stage, step.depth), (9, 8));
        let after = program[at + 1 + step.skip as usize];
        assert_eq!((after.operation, after.stage), (Operation::Combine, 10));
    }
}
