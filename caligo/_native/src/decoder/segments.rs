//! The segmented decode: a block is decided segment by segment, each with a check of its own.
//!
//! A code may say that a check is disclosed for each run of 2^s positions of u. Such a segment is the subtree of a node of
//! stage s, and the node's bits, its *segment word*, are what the check covers. Once a segment's check has singled out one
//! path there is nothing that later segments could be wrong about, so exactly one path goes on: above stage s this is a
//! plain successive cancellation, and below it every segment is a block of its own, decoded with whatever list it needs. Most
//! need a short one; where no survivor has the check, that segment alone is decoded again with the next list size.
//!
//! The machine can be stopped between segments. All it knows is which segment is next and the words decided so far: LLRs of
//! a stage are computed when a segment needs them and remember whose they are, so going back is a matter of undoing
//! combinations of words.
//!
//! Not here: what a list does within a segment ([`list`](super::list), [`single`]), and the check of the
//! whole block.

use super::list::{ListState, ListTask};
use super::schedule::{self, Flavour, Instruction};
use super::shared::BLOCK;
use super::single::{self, Channel, SingleState, SingleTask, Step};
use super::workspace::AlignedBuffer;
use crate::code::{Attempt, Code, ListSizes, Segmentation};
use crate::error::Result;
use crate::simd::{EngineName, KernelLlr, Kernels, Task};

/// No node.
const NOBODY: u32 = u32::MAX;

/// State of a segmented decode.
pub struct SegmentedState<T: KernelLlr> {
    log_length: usize,
    segmentation: Segmentation,
    list_sizes: ListSizes,
    /// The check value of an all-zero segment.
    check_of_zero: u32,
    /// What each segment runs: nothing if it has no information positions.
    segments: Box<[Programs]>,
    single: Option<SingleState<T>>,
    list: Option<Box<ListState<T>>>,
    /// LLRs of one node of each stage from that of the segments to the one below the root.
    alpha: Box<[AlignedBuffer<T>]>,
    /// The node of its stage, from the left, that each row of `alpha` belongs to.
    owner: Box<[u32]>,
    /// Segment words, combined as far as both halves of a node are decided.
    word: AlignedBuffer<u64>,
    /// Linear check values of the segment words that are looked for.
    target: AlignedBuffer<u32>,
    /// The segment to be decided next.
    next: usize,
}

/// The programs of a segment, where they are wanted.
#[derive(Default)]
struct Programs {
    single: Box<[Step]>,
    list: Box<[Instruction]>,
}

impl Programs {
    fn new(code: &Code, list_sizes: ListSizes) -> Result<Self> {
        if code.info().iter().all(|&word| word == 0) {
            return Ok(Self::default());
        }
        Ok(Self {
            single: if list_sizes.smallest() == 1 { single::compile(code)? } else { Box::default() },
            list: if list_sizes.largest() > 1 { schedule::compile(code, Flavour::List)? } else { Box::default() },
        })
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.single) + size_of_val(&*self.list)
    }

    fn is_empty(&self) -> bool {
        self.single.is_empty() && self.list.is_empty()
    }
}

impl<T: KernelLlr> SegmentedState<T> {
    /// State for the segments of a code.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::error::Error::Memory).
    pub fn new(code: &Code, segmentation: Segmentation, list_sizes: ListSizes) -> Result<Self> {
        let (log_length, log_segment) = (code.log_length(), segmentation.log_length());
        let count = 1usize << (log_length - log_segment);
        let programs = |index| Programs::new(&code.segment(segmentation, index), list_sizes);
        Ok(Self {
            log_length: log_length as usize,
            segmentation,
            list_sizes,
            check_of_zero: segmentation.check().value(&vec![0; 8 * segmentation.words()]),
            segments: (0..count).map(programs).collect::<Result<_>>()?,
            single: (list_sizes.smallest() == 1).then(|| SingleState::new(log_segment)),
            list: (list_sizes.largest() > 1).then(|| Box::new(ListState::new(log_segment, list_sizes.largest()))),
            alpha: (log_segment..log_length).map(|stage| AlignedBuffer::new(1 << stage)).collect(),
            owner: vec![NOBODY; (log_length - log_segment) as usize].into_boxed_slice(),
            word: AlignedBuffer::new(code.words()),
            target: AlignedBuffer::new(count),
            next: 0,
        })
    }

    /// Bytes that [`SegmentedState::new`] allocates, itself included, without the programs of the segments.
    #[must_use]
    pub fn bytes_for(log_length: u32, segmentation: Segmentation, list_sizes: ListSizes) -> usize {
        let log_segment = segmentation.log_length();
        let count = 1usize << (log_length - log_segment);
        let single = if list_sizes.smallest() == 1 { SingleState::<T>::bytes_for(log_segment) } else { 0 };
        let list = match list_sizes.largest() {
            1 => 0,
            largest => ListState::<T>::bytes_for(log_segment, largest) + size_of::<ListState<T>>(),
        };
        let alpha: usize = (log_segment..log_length).map(|stage| AlignedBuffer::<T>::bytes_for(1 << stage)).sum();
        let stages = (log_length - log_segment) as usize;
        size_of::<Self>()
            + single
            + list
            + alpha
            + stages * (size_of::<AlignedBuffer<T>>() + size_of::<u32>())
            + AlignedBuffer::<u64>::bytes_for((1usize << log_length) / 64)
            + AlignedBuffer::<u32>::bytes_for(count)
            + count * size_of::<Programs>()
    }

    /// Bytes of the programs of a code's segments.
    #[must_use]
    pub fn program_bytes(code: &Code, segmentation: Segmentation, list_sizes: ListSizes) -> usize {
        let of = |code: &Code| {
            let single = if list_sizes.smallest() == 1 { single::bytes_for(code) } else { 0 };
            let list = if list_sizes.largest() > 1 { schedule::bytes_for(code, Flavour::List) } else { 0 };
            single + list
        };
        (0..code.block_length() >> segmentation.log_length())
            .map(|index| code.segment(segmentation, index))
            .filter(|code| code.info().iter().any(|&word| word != 0))
            .map(|code| of(&code))
            .sum()
    }

    /// Bytes held, itself included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.single.as_ref().map_or(0, SingleState::bytes)
            + self.list.as_ref().map_or(0, |list| list.bytes() + size_of::<ListState<T>>())
            + self.alpha.iter().map(AlignedBuffer::bytes).sum::<usize>()
            + size_of_val(&*self.alpha)
            + size_of_val(&*self.owner)
            + self.word.bytes()
            + self.target.bytes()
            + self.segments.iter().map(Programs::bytes).sum::<usize>()
            + size_of_val(&*self.segments)
    }

    /// Segments of a block.
    #[must_use]
    pub fn count(&self) -> usize {
        self.segments.len()
    }

    /// The segment to be decided next; all of them are when it is [`SegmentedState::count`].
    #[must_use]
    pub fn next(&self) -> usize {
        self.next
    }

    /// A new block: `offset` are the segment words of y ⊕ v, `disclosed` the check values of Alice's. Those of segments
    /// without information positions are not looked at.
    pub fn begin(&mut self, offset: &[u64], disclosed: &[u32]) {
        let (check, words) = (self.segmentation.check(), self.segmentation.words());
        for ((target, word), &value) in self.target.iter_mut().zip(offset.chunks_exact(words)).zip(disclosed) {
            *target = value ^ self.check_of_zero ^ check.linear_value(word, 8 * words);
        }
        self.owner.fill(NOBODY);
        self.next = 0;
    }

    /// Decides segments of a block of `code`, the state's, up to `end`, each with the attempts it needs. False: no survivor of
    /// any attempt at segment [`SegmentedState::next`] has its check.
    #[must_use]
    pub fn run_to(&mut self, engine: EngineName, code: &Code, channel: Channel<'_, T>, end: usize) -> bool {
        while self.next < end.min(self.count()) {
            if !self.list_sizes.attempts().any(|attempt| self.retry(engine, code, channel, attempt)) {
                return false;
            }
        }
        true
    }

    /// Decides the next segment in one attempt, of one of the list sizes, if a survivor has its check: the best such one.
    /// Otherwise the best survivor is kept as its word, and the segment remains the next.
    #[must_use]
    pub fn retry(&mut self, engine: EngineName, code: &Code, channel: Channel<'_, T>, attempt: Attempt) -> bool {
        let Some(programs) = self.segments.get(self.next) else { return false };
        let words = self.segmentation.words();
        let range = self.next * words..(self.next + 1) * words;
        let Some(info) = code.info().get(range.clone()) else { return false };
        if programs.is_empty() {
            self.word[range].fill(0);
            self.settled();
            return true;
        }
        let descend = Descend {
            alpha: &mut self.alpha,
            owner: &mut self.owner,
            word: &self.word,
            channel,
            log_length: self.log_length,
            segment: self.next,
        };
        T::dispatch(engine, descend);
        let (channel, word, target) = (&*self.alpha[0], &mut self.word[range], self.target[self.next]);
        let check = self.segmentation.check();
        let accepted = |word: &[u64]| check.linear_value(word, 8 * words) == target;
        let mut found = false;
        if attempt.list_size == 1 {
            if let Some(state) = &mut self.single {
                let channel = Channel::Values(channel);
                T::decode_single(engine, SingleTask { program: &programs.single, info, state, channel });
                word.copy_from_slice(state.word());
                found = accepted(word);
            }
        } else if let Some(state) = &mut self.list {
            state.set_attempt(attempt, self.segmentation.log_length());
            T::decode_list(engine, ListTask { program: &programs.list, state, channel });
            found = state.pick(word, |word| accepted(word));
        }
        if found {
            self.settled();
        }
        found
    }

    /// Goes on to the next segment, and combines the words of every node that is decided now.
    fn settled(&mut self) {
        self.next += 1;
        let mut words = 2 * self.segmentation.words();
        let end = self.next * self.segmentation.words();
        while end.is_multiple_of(words) && words <= self.word.len() {
            combine(&mut self.word[end - words..end]);
            words *= 2;
        }
    }

    /// Goes back to `segment`, one that has been decided, as if later ones had not been.
    pub fn rollback(&mut self, segment: usize) {
        let unit = self.segmentation.words();
        let (end, keep) = (self.next * unit, segment * unit);
        let mut words = self.word.len();
        while words > unit {
            // Whole nodes of this size that end behind what is kept; a combination is its own inverse.
            for node in self.word[..end].chunks_exact_mut(words).skip(keep / words) {
                combine(node);
            }
            words /= 2;
        }
        self.next = self.next.min(segment);
        self.owner.fill(NOBODY);
    }

    /// The word of the block. Segments after the next are taken as zeros, and become decided.
    pub fn finish(&mut self) -> &[u64] {
        if self.next < self.count() {
            let words = self.segmentation.words();
            self.word[(self.next + 1) * words..].fill(0);
            while self.next < self.count() {
                self.settled();
            }
        }
        &self.word
    }
}

fn combine(node: &mut [u64]) {
    let (low, high) = node.split_at_mut(node.len() / 2);
    for (low, &high) in low.iter_mut().zip(high.iter()) {
        *low ^= high;
    }
}

/// Computes the LLRs of a segment from the nearest node above whose LLRs are there.
struct Descend<'a, T: KernelLlr> {
    alpha: &'a mut [AlignedBuffer<T>],
    owner: &'a mut [u32],
    word: &'a [u64],
    channel: Channel<'a, T>,
    log_length: usize,
    segment: usize,
}

/// A child of the root, whose LLRs are signs of one magnitude: they are made in registers. `left` are the bits of the left
/// child for a right one.
#[inline(always)]
fn below_signs<T: KernelLlr, E: Kernels<T>>(
    engine: E,
    signs: &[u64],
    magnitude: T,
    left: Option<&[u64]>,
    out: &mut [T],
) {
    let (low, high) = signs.split_at(signs.len() / 2);
    let (mut a, mut b) = ([T::default(); BLOCK], [T::default(); BLOCK]);
    for (index, ((out, low), high)) in out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(low).zip(high).enumerate() {
        engine.expand(std::slice::from_ref(low), magnitude, &mut a);
        engine.expand(std::slice::from_ref(high), magnitude, &mut b);
        match left {
            None => engine.left_block(&a, &b, out),
            Some(left) => engine.right_block(&a, &b, left[index], out),
        }
    }
}

impl<T: KernelLlr> Task<T> for Descend<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<E: Kernels<T>>(self, engine: E) {
        let Self { alpha, owner, word, channel, log_length, segment } = self;
        let stages = alpha.len();
        for at in (0..stages).rev() {
            let node = segment >> at;
            if owner[at] == node as u32 {
                continue;
            }
            let (below, above) = alpha.split_at_mut(at + 1);
            let out = &mut below[at];
            let words = (1usize << (log_length - stages + at)) / 64;
            let left = (!node.is_multiple_of(2)).then(|| &word[(node - 1) * words..][..words]);
            let parent = above.first().map_or(channel, |row| Channel::Values(row));
            match (parent, left) {
                (Channel::Values(parent), None) => engine.left(parent, out),
                (Channel::Values(parent), Some(left)) => engine.right(parent, left, out),
                (Channel::Signs(signs, magnitude), left) => below_signs(engine, signs, magnitude, left, out),
            }
            owner[at] = node as u32;
        }
    }
}
