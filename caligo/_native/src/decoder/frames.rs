//! Successive cancellation of 64 blocks of one code side by side.
//!
//! The program of a code does not depend on the data, so 64 blocks go through it together: LLRs lie as rows, one value of
//! every block for each position, and bits as words, bit b of a word belonging to block b. Every kernel works on whole
//! vectors down to the smallest node, and a combination of bits is one XOR a position. What comes out is what
//! [`single`](super::single) decides for each block alone, whatever else is in the group.
//!
//! Near the root no rows are needed. Hard decisions of one magnitude m are m with a sign, and so is what f makes of them: a
//! *signed* node is a word of signs for each position and a magnitude that all blocks share. After one g values are 0 or ±2m, a
//! *ternary* node: signs, a word that says which are not zero, and one magnitude. f keeps that form. After a second g there
//! are five values, which are written out as rows, or, where the node is rate-1, only looked at for their signs.
//!
//! Not covered: lists; groups of fewer blocks than pay, which `Decoder` decodes one by one.

use super::Magnitudes;
use super::schedule::{Instruction, NodeKind, Operation};
use super::workspace::AlignedBuffer;
use crate::simd::frames::{self, FRAMES, Planes, Row};
use crate::simd::{KernelLlr, Kernels, Task};

/// Stages of the longest code, 0..=24.
const STAGES: usize = 25;
/// Positions whose planes are made at a time.
const CHUNK: usize = 64;

/// How the values of the node being visited at a stage are held.
#[derive(Debug, Clone, Copy)]
enum Form<T> {
    /// Signs, and magnitudes by position: the f of the root's.
    Signed,
    /// Signs, which values are not zero, and their magnitude.
    Ternary(T),
    /// Rows.
    Rows,
}

/// Bytes of the largest root whose blocks are decoded side by side.
const LARGEST_ROOT: usize = 1 << 22;
/// The smallest group that is faster side by side than one block after the other.
pub const LEAST_FRAMES: usize = 24;

/// Whether codes of 2^`log_length` positions are decoded side by side.
#[must_use]
pub fn is_short<T: KernelLlr>(log_length: u32) -> bool {
    (FRAMES * size_of::<T>()) << log_length <= LARGEST_ROOT
}

/// State of a group's decode.
pub struct FramesState<T: KernelLlr> {
    log_length: usize,
    form: [Form<T>; STAGES],
    /// The magnitude of the signed node of a stage, if it is the same everywhere.
    uniform: [Option<T>; STAGES],
    /// Rows by stage, the root included.
    alpha: Vec<AlignedBuffer<T>>,
    /// Words of signed and ternary nodes below the root: those of stage s are `1 << s .. 2 << s`.
    signs: AlignedBuffer<u64>,
    /// Which values of a ternary node are not zero, likewise.
    nonzero: AlignedBuffer<u64>,
    /// Magnitudes of signed nodes, the root included, likewise.
    magnitudes: AlignedBuffer<T>,
    /// Bob's blocks.
    received: AlignedBuffer<u64>,
    /// One solution of every syndrome: the signs of the root.
    offset: AlignedBuffer<u64>,
    /// What is decided.
    word: AlignedBuffer<u64>,
}

impl<T: KernelLlr> FramesState<T> {
    /// State for codes of 2^`log_length` positions.
    pub fn new(log_length: u32) -> Self {
        let length = 1usize << log_length;
        Self {
            log_length: log_length as usize,
            form: [Form::Rows; STAGES],
            uniform: [None; STAGES],
            alpha: (0..=log_length).map(|stage| AlignedBuffer::new(FRAMES << stage)).collect(),
            signs: AlignedBuffer::new(length),
            nonzero: AlignedBuffer::new(length),
            magnitudes: AlignedBuffer::new(2 * length),
            received: AlignedBuffer::new(length),
            offset: AlignedBuffer::new(length),
            word: AlignedBuffer::new(length),
        }
    }

    /// Bytes that [`FramesState::new`] allocates.
    pub fn bytes_for(log_length: u32) -> usize {
        let length = 1usize << log_length;
        let alpha: usize = (0..=log_length).map(|stage| AlignedBuffer::<T>::bytes_for(FRAMES << stage)).sum();
        alpha
            + (log_length as usize + 1) * size_of::<AlignedBuffer<T>>()
            + AlignedBuffer::<T>::bytes_for(2 * length)
            + 5 * AlignedBuffer::<u64>::bytes_for(length)
    }

    /// Bytes held in buffers.
    pub fn bytes(&self) -> usize {
        let words = [&self.signs, &self.nonzero, &self.received, &self.offset, &self.word];
        self.alpha.iter().map(AlignedBuffer::bytes).sum::<usize>()
            + self.alpha.capacity() * size_of::<AlignedBuffer<T>>()
            + self.magnitudes.bytes()
            + words.into_iter().map(AlignedBuffer::bytes).sum::<usize>()
    }

    /// Fills `received` with blocks, and `offset` with the words that have the errors' syndromes. Returns the blocks with frozen
    /// values on the information set.
    #[inline(always)]
    fn prepare(&mut self, received: &[u8], frozen_values: &[u8], info: &[u64]) -> u64 {
        let bytes = (1usize << self.log_length).div_ceil(8);
        frames::gather(received, bytes, &mut self.received);
        // The frozen values wait in `word`.
        frames::gather(frozen_values, bytes, &mut self.word);
        self.offset.copy_from_slice(&self.received);
        frames::transform(&mut self.offset);
        let mut stray = 0;
        let (offsets, short) = self.offset.as_chunks_mut::<64>();
        let (frozen, short_frozen) = self.word.as_chunks::<64>();
        for ((offset, frozen), &info) in offsets.iter_mut().zip(frozen).zip(info) {
            for bit in 0..64 {
                let is_info = (info >> bit & 1).wrapping_neg();
                stray |= frozen[bit] & is_info;
                offset[bit] = (offset[bit] & !is_info) ^ frozen[bit];
            }
        }
        for (bit, (offset, frozen)) in short.iter_mut().zip(short_frozen).enumerate() {
            let is_info = (info[0] >> bit & 1).wrapping_neg();
            stray |= frozen & is_info;
            *offset = (*offset & !is_info) ^ frozen;
        }
        frames::transform(&mut self.offset);
        stray
    }

    /// The root of blocks received over a binary symmetric channel: signs from `offset`, which is zero on shortened
    /// positions, being the transform of a word that is.
    #[inline(always)]
    fn hard_root<E: Kernels<T>>(&mut self, engine: E, magnitude: T, payload: usize) {
        let (n, length) = (self.log_length, 1usize << self.log_length);
        self.form[n] = Form::Signed;
        if payload == length {
            let mut magnitude = magnitude;
            for uniform in self.uniform[..=n].iter_mut().rev() {
                *uniform = Some(magnitude);
                magnitude = magnitude.f(magnitude);
            }
            return;
        }
        self.magnitudes[length..][..payload].fill(magnitude);
        self.magnitudes[length + payload..].fill(T::CERTAIN);
        for stage in (0..n).rev() {
            let (below, above) = self.magnitudes.split_at_mut(2 << stage);
            engine.left(&above[..2 << stage], &mut below[1 << stage..]);
        }
        for stage in 0..=n {
            let node = &self.magnitudes[1 << stage..2 << stage];
            let same = node.iter().fold(true, |same, &magnitude| same & (magnitude == node[0]));
            self.uniform[stage] = same.then_some(node[0]);
        }
    }

    /// The root of hard decisions with two magnitudes, by Bob's bits: signs from `offset`.
    #[inline(always)]
    fn asymmetric_root<E: Kernels<T>>(&mut self, engine: E, magnitudes: Magnitudes<T>, payload: usize) {
        let n = self.log_length;
        let rows: &mut [Row<T>] = self.alpha[n].as_chunks_mut().0;
        expand_by_bit(engine, &self.received, &self.offset, magnitudes.at_zero, magnitudes.at_one, rows);
        rows[payload..].fill([T::CERTAIN; FRAMES]);
        self.form[n] = Form::Rows;
    }

    /// Writes a signed or ternary node out as rows.
    #[inline(always)]
    fn expand<E: Kernels<T>>(&mut self, engine: E, stage: usize) {
        let n = self.log_length;
        let signs: &[u64] = if stage == n { &self.offset } else { &self.signs[1 << stage..2 << stage] };
        let rows = self.alpha[stage].as_chunks_mut::<FRAMES>().0;
        match self.form[stage] {
            Form::Rows => return,
            Form::Signed => {
                let magnitudes = &mut self.magnitudes[1 << stage..2 << stage];
                if let Some(magnitude) = self.uniform[stage] {
                    magnitudes.fill(magnitude);
                }
                for ((row, sign), &magnitude) in rows.iter_mut().zip(signs.chunks(1)).zip(magnitudes.iter()) {
                    let planes = Planes { one: &[!0], two: &[0], negative: sign };
                    engine.expand_frames(planes, magnitude, magnitude, std::slice::from_mut(row));
                }
            }
            Form::Ternary(magnitude) => {
                let one = &self.nonzero[1 << stage..2 << stage];
                let none = [0; CHUNK];
                for ((rows, one), negative) in rows.chunks_mut(CHUNK).zip(one.chunks(CHUNK)).zip(signs.chunks(CHUNK)) {
                    engine.expand_frames(Planes { one, two: &none, negative }, magnitude, magnitude, rows);
                }
            }
        }
        self.form[stage] = Form::Rows;
    }

    #[inline(always)]
    fn left<E: Kernels<T>>(&mut self, engine: E, stage: usize) {
        let half = 1usize << (stage - 1);
        match self.form[stage] {
            Form::Rows => {
                let (below, above) = self.alpha.split_at_mut(stage);
                engine.left(&above[0], &mut below[stage - 1]);
                self.form[stage - 1] = Form::Rows;
            }
            Form::Signed => {
                self.left_signs(stage);
                self.form[stage - 1] = Form::Signed;
            }
            Form::Ternary(magnitude) => {
                self.left_signs(stage);
                let magnitude = magnitude.f(magnitude);
                let (below, above) = self.nonzero.split_at_mut(2 * half);
                let out = &mut below[half..];
                if magnitude == T::default() {
                    out.fill(0);
                } else {
                    let (low, high) = above[..2 * half].split_at(half);
                    for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
                        *out = low & high;
                    }
                }
                self.form[stage - 1] = Form::Ternary(magnitude);
            }
        }
    }

    #[inline(always)]
    fn left_signs(&mut self, stage: usize) {
        let half = 1usize << (stage - 1);
        let (below, above) = self.signs.split_at_mut(2 * half);
        let node: &[u64] = if stage == self.log_length { &self.offset } else { &above[..2 * half] };
        let (low, high) = node.split_at(half);
        for ((out, low), high) in below[half..].iter_mut().zip(low).zip(high) {
            *out = low ^ high;
        }
    }

    /// The right child of the node of `stage`, whose left child's bits start at `start`.
    #[inline(always)]
    fn right<E: Kernels<T>>(&mut self, engine: E, stage: usize, start: usize) {
        let half = 1usize << (stage - 1);
        let n = self.log_length;
        match (self.form[stage], self.uniform[stage]) {
            (Form::Signed, Some(magnitude)) => {
                let (below, above) = self.signs.split_at_mut(2 * half);
                let node: &[u64] = if stage == n { &self.offset } else { &above[..2 * half] };
                let (low, high) = node.split_at(half);
                let bits = &self.word[start..][..half];
                let nonzero = &mut self.nonzero[half..2 * half];
                let keep = if magnitude == T::default() { 0 } else { !0u64 };
                for ((((sign, nonzero), low), high), bit) in
                    below[half..].iter_mut().zip(nonzero).zip(low).zip(high).zip(bits)
                {
                    *sign = *high;
                    *nonzero = !(low ^ high ^ bit) & keep;
                }
                self.form[stage - 1] = Form::Ternary(magnitude.g(magnitude, false));
            }
            (Form::Ternary(magnitude), _) => {
                let double = magnitude.g(magnitude, false);
                let (low, high) = self.signs[2 * half..4 * half].split_at(half);
                let (low_is, high_is) = self.nonzero[2 * half..4 * half].split_at(half);
                let bits = &self.word[start..][..half];
                let rows = self.alpha[stage - 1].as_chunks_mut::<FRAMES>().0;
                let (mut one, mut two, mut negative) = ([0; CHUNK], [0; CHUNK], [0; CHUNK]);
                for (at, rows) in rows.chunks_mut(CHUNK).enumerate() {
                    let here = at * CHUNK..at * CHUNK + rows.len();
                    let words = low[here.clone()].iter().zip(&high[here.clone()]).zip(&bits[here.clone()]);
                    let words = words.zip(low_is[here.clone()].iter().zip(&high_is[here]));
                    let planes = one.iter_mut().zip(&mut two).zip(&mut negative);
                    for (((one, two), negative), (((a, b), bit), (a_is, b_is))) in planes.zip(words) {
                        let a = a ^ bit;
                        *one = a_is ^ b_is;
                        *two = a_is & b_is & !(a ^ b);
                        *negative = (b & b_is) | (a & a_is & !b_is);
                    }
                    engine.expand_frames(Planes { one: &one, two: &two, negative: &negative }, magnitude, double, rows);
                }
                self.form[stage - 1] = Form::Rows;
            }
            (Form::Signed | Form::Rows, _) => {
                self.expand(engine, stage);
                let (below, above) = self.alpha.split_at_mut(stage);
                engine.right(&above[0], &self.word[start..][..half], &mut below[stage - 1]);
                self.form[stage - 1] = Form::Rows;
            }
        }
    }

    /// The bits of a right child that is rate-1: hard decisions, of which no LLR is kept.
    #[inline(always)]
    fn right_signs<E: Kernels<T>>(&mut self, engine: E, stage: usize, start: usize) {
        let half = 1usize << (stage - 1);
        let uniform = self.uniform[stage];
        if let (Form::Signed, None) = (self.form[stage], uniform) {
            self.expand(engine, stage);
        }
        let (left, right) = self.word[start..][..2 * half].split_at_mut(half);
        match (self.form[stage], uniform) {
            (Form::Rows, _) | (Form::Signed, None) => {
                engine.right_signs_frames(self.alpha[stage].as_chunks::<FRAMES>().0, left, right);
            }
            (Form::Signed, Some(magnitude)) => {
                let signs: &[u64] =
                    if stage == self.log_length { &self.offset } else { &self.signs[2 * half..4 * half] };
                let (low, high) = signs.split_at(half);
                let keep = if magnitude == T::default() { 0 } else { !0u64 };
                for (((right, left), low), high) in right.iter_mut().zip(left).zip(low).zip(high) {
                    *right = *high & !(low ^ high ^ *left) & keep;
                }
            }
            (Form::Ternary(_), _) => {
                let (low, high) = self.signs[2 * half..4 * half].split_at(half);
                let (low_is, high_is) = self.nonzero[2 * half..4 * half].split_at(half);
                for i in 0..half {
                    let (a, b) = (low[i] ^ left[i], high[i]);
                    // Negative, unless the two cancel.
                    right[i] = ((b & high_is[i]) | (a & low_is[i] & !high_is[i])) & !(low_is[i] & high_is[i] & (a ^ b));
                }
            }
        }
    }

    #[inline(always)]
    fn leaf<E: Kernels<T>>(&mut self, engine: E, kind: NodeKind, stage: usize, start: usize) {
        let length = 1usize << stage;
        match (kind, self.form[stage]) {
            (NodeKind::Rate0, _) => self.word[start..][..length].fill(0),
            (NodeKind::Rate1, Form::Ternary(_)) => {
                let signs = &self.signs[length..2 * length];
                let nonzero = &self.nonzero[length..2 * length];
                for ((bit, sign), nonzero) in self.word[start..][..length].iter_mut().zip(signs).zip(nonzero) {
                    *bit = sign & nonzero;
                }
            }
            (NodeKind::Rate1 | NodeKind::Repetition | NodeKind::ParityCheck, _) => {
                self.expand(engine, stage);
                let rows = self.alpha[stage].as_chunks::<FRAMES>().0;
                let bits = &mut self.word[start..][..length];
                if kind == NodeKind::Repetition {
                    bits.fill(engine.majority_frames(rows));
                    return;
                }
                engine.signs(&self.alpha[stage], bits);
                let odd = bits.iter().fold(0, |sum, word| sum ^ word);
                if kind == NodeKind::ParityCheck && odd != 0 {
                    engine.repair_frames(rows, bits, odd);
                }
            }
        }
    }

    #[inline(always)]
    fn run<E: Kernels<T>>(&mut self, engine: E, program: &[Instruction]) {
        // Positions before `end` are decided; a node's positions are known to end or begin there.
        let mut end = 0;
        let mut counter = 0;
        while let Some(instruction) = program.get(counter) {
            counter += 1;
            let stage = usize::from(instruction.stage);
            let next = program.get(counter).map(|next| next.operation);
            match (instruction.operation, next) {
                (Operation::Left, Some(Operation::Leaf(NodeKind::Rate0))) => {
                    let half = 1usize << (stage - 1);
                    self.word[end..][..half].fill(0);
                    end += half;
                    counter += 1;
                }
                (Operation::Left, _) => self.left(engine, stage),
                (Operation::Right, Some(Operation::Leaf(NodeKind::Rate1))) => {
                    let half = 1usize << (stage - 1);
                    self.right_signs(engine, stage, end - half);
                    end += half;
                    counter += 1;
                }
                (Operation::Right, _) => self.right(engine, stage, end - (1 << (stage - 1))),
                (Operation::Combine, _) => {
                    let half = 1usize << (stage - 1);
                    let (low, high) = self.word[end - 2 * half..end].split_at_mut(half);
                    for (low, high) in low.iter_mut().zip(high) {
                        *low ^= *high;
                    }
                }
                (Operation::Leaf(kind) | Operation::Try(kind), _) => {
                    self.leaf(engine, kind, stage, end);
                    end += 1 << stage;
                }
            }
        }
    }
}

/// What the blocks of a group were received as.
#[derive(Debug, Clone, Copy)]
pub enum Received<'a, T> {
    /// Packed hard decisions, and the magnitudes of a position.
    Hard(&'a [u8], Magnitudes<T>),
    /// LLRs in nats, rows of blocks.
    Soft(&'a [f32]),
}

/// Decodes at most [`FRAMES`] blocks side by side.
pub struct FramesTask<'a, T: KernelLlr> {
    /// The compiled code, [`Flavour::Single`](super::schedule::Flavour::Single).
    pub program: &'a [Instruction],
    /// Where the blocks live.
    pub state: &'a mut FramesState<T>,
    /// The information set.
    pub info: &'a [u64],
    /// Positions that are not shortened.
    pub payload: usize,
    /// What Bob has, one block after the other.
    pub received: Received<'a, T>,
    /// What Alice disclosed, packed, likewise.
    pub frozen_values: &'a [u8],
    /// Where the blocks go, packed, likewise.
    pub decoded: &'a mut [u8],
}

impl<T: KernelLlr> Task<T> for FramesTask<'_, T> {
    /// The blocks that are refused, for frozen values on the information set; if there are any nothing is decoded.
    type Output = u64;

    #[inline(always)]
    fn run<E: Kernels<T>>(self, engine: E) -> u64 {
        let Self { program, state, info, payload, received, frozen_values, decoded } = self;
        let length = 1usize << state.log_length;
        let bytes = length.div_ceil(8);
        match received {
            Received::Hard(blocks, magnitudes) => {
                let refused = state.prepare(blocks, frozen_values, info);
                if refused != 0 {
                    return refused;
                }
                match magnitudes.uniform() {
                    Some(magnitude) => state.hard_root(engine, magnitude, payload),
                    None => state.asymmetric_root(engine, magnitudes, payload),
                }
            }
            Received::Soft(llr) => {
                // The packed hard decisions take the place where the decoded blocks will be.
                for (block, llr) in decoded.chunks_exact_mut(bytes).zip(llr.chunks_exact(length)) {
                    pack_signs(engine, &llr[..payload], block);
                }
                let refused = state.prepare(decoded, frozen_values, info);
                if refused != 0 {
                    return refused;
                }
                state.soft_root(engine, llr, payload);
            }
        }
        state.run(engine, program);
        for ((word, received), offset) in state.word.iter_mut().zip(state.received.iter()).zip(state.offset.iter()) {
            *word ^= received ^ offset;
        }
        frames::scatter(&state.word, decoded, bytes);
        0
    }
}

/// Values of magnitude `at_one` where `ones` is set and `at_zero` elsewhere, negative where `signs` is set.
#[inline(always)]
pub fn expand_by_bit<T: KernelLlr, E: Kernels<T>>(
    engine: E,
    ones: &[u64],
    signs: &[u64],
    at_zero: T,
    at_one: T,
    rows: &mut [Row<T>],
) {
    for ((rows, ones), signs) in rows.chunks_mut(CHUNK).zip(ones.chunks(CHUNK)).zip(signs.chunks(CHUNK)) {
        let mut zeros = [0; CHUNK];
        for (zeros, ones) in zeros.iter_mut().zip(ones) {
            *zeros = !ones;
        }
        engine.expand_frames(Planes { one: &zeros, two: ones, negative: signs }, at_zero, at_one, rows);
    }
}

/// One bit for every negative value; bits after the last are zero.
#[inline(always)]
fn pack_signs<T: KernelLlr, E: Kernels<T>>(engine: E, llr: &[f32], out: &mut [u8]) {
    out.fill(0);
    for (out, llr) in out.chunks_mut(8).zip(llr.chunks(64)) {
        let mut values = [T::default(); 64];
        for (value, llr) in values.iter_mut().zip(llr) {
            *value = if *llr < 0.0 { T::CERTAIN.negate_if(true) } else { T::default() };
        }
        let mut word = [0];
        engine.signs(&values, &mut word);
        out.copy_from_slice(&word[0].to_le_bytes()[..out.len()]);
    }
}

impl<T: KernelLlr> FramesState<T> {
    /// The root of soft values: magnitudes from `llr`, signs from `offset`.
    #[inline(always)]
    fn soft_root<E: Kernels<T>>(&mut self, engine: E, llr: &[f32], payload: usize) {
        let (n, length) = (self.log_length, 1usize << self.log_length);
        let rows: &mut [Row<T>] = self.alpha[n].as_chunks_mut().0;
        let zero = [T::default(); FRAMES];
        for (at, (rows, words)) in rows.chunks_mut(FRAMES).zip(self.offset.chunks(FRAMES)).enumerate() {
            let mut tile = [zero; FRAMES];
            for (values, llr) in tile.iter_mut().zip(llr.chunks_exact(length)) {
                for (value, llr) in values.iter_mut().zip(&llr[at * FRAMES..][..rows.len()]) {
                    *value = T::from_nats(llr.abs());
                }
            }
            frames::transpose_values(&mut tile);
            for ((row, magnitudes), &word) in rows.iter_mut().zip(&tile).zip(words) {
                engine.right_block(magnitudes, &zero, word, row);
            }
        }
        rows[payload..].fill([T::CERTAIN; FRAMES]);
        self.form[n] = Form::Rows;
    }
}
