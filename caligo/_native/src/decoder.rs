//! Successive-cancellation decoding, plain and with a list.
//!
//! # The idea
//!
//! A polar code sends u through x = u·F^⊗n. Halve a block: x = (a ⊕ b, b), where a and b are half-size words of u's halves.
//! From the LLRs of x those of a follow (*f*: what a ⊕ b and b say about a); once a is decided, both halves of x speak about
//! b (*g*). Applied recursively this decides u bit by bit, each knowing its predecessors: successive cancellation (SC). A
//! list decoder (Tal & Vardy 2015) keeps the L best hypotheses instead of one, each with a *path metric*, the LLR magnitudes
//! it decided against (Balatsoukas-Stimming et al. 2015), and lets a check pick among the survivors.
//!
//! # What is decoded
//!
//! The error, not the key. Bob holds y = x ⊕ e and is told u on the frozen set and a check of x. The transform of y, on the
//! frozen set, XOR what Alice disclosed is the transform of e there; its own transform v is one solution, and e ⊕ v lies in
//! the code whose frozen values are zero. So the channel LLRs are the magnitudes with signs from v, the decoder runs with
//! zero frozen values, and every decision, ties included, is a function of e and of public data alone: the same noise on
//! another key has the same outcome. Checks are linear, so the target is check(x) ⊕ check(y) ⊕ check(v).
//!
//! # The parts
//!
//! [`schedule`] compiles a code into a flat program; [`single`] and [`list`] run it; [`segments`] runs one program a segment;
//! [`paths`] selects survivors; [`shared`] holds what paths have in common near the root, [`interleaved`] several paths in a
//! vector near the leaves; [`nodes`] settles small subtrees; [`workspace`] is the memory; [`naive`] is the same in the
//! obvious way.
//!
//! # Escalation
//!
//! Most blocks need no long list. A decoder may try several list sizes on a block, the smallest first, and go on to the next
//! only where no survivor has the check (Li, Shen and Tse 2012). All lists share one workspace.
//!
//! A [`Decoder`] owns everything it needs: a decode allocates nothing and cannot fail, it can only not find the word.

pub mod interleaved;
pub mod list;
pub mod naive;
pub mod nodes;
pub mod paths;
pub mod schedule;
pub mod segments;
pub mod shared;
pub mod single;
pub mod workspace;

use crate::bits;
use crate::checksum::Check;
use crate::code::{Code, ListSizes, Segmentation};
use crate::error::{Error, Result};
use crate::llr::Llr;
use crate::memory;
use crate::simd::{EngineName, KernelLlr, Kernels, Task};
use crate::transform::{polar_transform, split_segments};
use list::{ListState, ListTask};
use schedule::{Flavour, Instruction};
use segments::SegmentedState;
use single::{SingleState, SingleTask, Step};
use workspace::AlignedBuffer;

/// What a list of one needs.
struct Single<T: KernelLlr> {
    program: Box<[Step]>,
    state: SingleState<T>,
}

/// What lists of two and more need, whatever their size.
struct List<T: KernelLlr> {
    program: Box<[Instruction]>,
    state: Box<ListState<T>>,
}

/// A decoder for one code: program, workspace and engine.
pub struct Decoder<T: KernelLlr> {
    code: Code,
    engine: EngineName,
    list_sizes: ListSizes,
    /// The check value of the all-zero block: what makes a check affine rather than linear.
    check_of_zero: u32,
    single: Option<Single<T>>,
    list: Option<List<T>>,
    /// In place of both for a code with segments.
    segmented: Option<Box<SegmentedState<T>>>,
    channel: AlignedBuffer<T>,
    /// Bob's block, or his hard decisions.
    received: AlignedBuffer<u64>,
    /// One solution of the syndrome: signs of the channel.
    offset: AlignedBuffer<u64>,
    candidate: AlignedBuffer<u64>,
}

/// The check values that Alice discloses of a block.
#[derive(Debug, Clone, Copy)]
pub struct Checks<'a> {
    /// Of the block.
    pub block: u32,
    /// Of its segments in order, zero for those without information positions.
    pub segments: &'a [u32],
}

impl From<u32> for Checks<'_> {
    fn from(block: u32) -> Self {
        Self { block, segments: &[] }
    }
}

/// Bytes of everything a [`Decoder`] for `code` allocates.
#[must_use]
pub fn required_bytes<T: KernelLlr>(code: &Code, list_sizes: ListSizes) -> usize {
    let single = |code| if list_sizes.smallest() == 1 { size_of_val(&*single::compile(code)) } else { 0 };
    let list = |code| if list_sizes.largest() > 1 { schedule::bytes_for(code, Flavour::List) } else { 0 };
    let programs = match code.segmentation() {
        Some(segmentation) => SegmentedState::<T>::program_bytes(code, segmentation, list_sizes),
        None => single(code) + list(code),
    };
    workspace_bytes::<T>(code.log_length(), code.segmentation(), list_sizes) + programs
}

/// Bytes of a decoder's memory apart from its programs, which depend on the code.
#[must_use]
pub fn workspace_bytes<T: KernelLlr>(
    log_length: u32,
    segmentation: Option<Segmentation>,
    list_sizes: ListSizes,
) -> usize {
    let words = (1usize << log_length).div_ceil(64);
    let single = if list_sizes.smallest() == 1 { SingleState::<T>::bytes_for(log_length) } else { 0 };
    let list = match list_sizes.largest() {
        1 => 0,
        largest => ListState::<T>::bytes_for(log_length, largest) + size_of::<ListState<T>>(),
    };
    let state = match segmentation {
        Some(segmentation) => SegmentedState::<T>::bytes_for(log_length, segmentation, list_sizes),
        None => single + list,
    };
    // The code's information set, the channel, and the received, offset and candidate words.
    state + words * 8 + AlignedBuffer::<T>::bytes_for(1 << log_length) + 3 * AlignedBuffer::<u64>::bytes_for(words)
}

impl<T: KernelLlr> Decoder<T> {
    /// A decoder with a list of `list_size`.
    ///
    /// # Errors
    /// [`Error::ListSize`] when it is not one of 1, 2, 4, 8, 16, 32; [`Error::EngineUnavailable`]; [`Error::Memory`].
    pub fn new(code: Code, list_size: usize, engine: EngineName) -> Result<Self> {
        Self::with_list_sizes(code, ListSizes::escalating(&[], list_size)?, engine)
    }

    /// A decoder that tries `list_sizes` on every block, until the check is met.
    ///
    /// # Errors
    /// [`Error::CheckRequired`] for several sizes and a code without a check; [`Error::EngineUnavailable`];
    /// [`Error::Memory`].
    pub fn with_list_sizes(code: Code, list_sizes: ListSizes, engine: EngineName) -> Result<Self> {
        if list_sizes.escalates() && code.check() == Check::None && code.segmentation().is_none() {
            return Err(Error::CheckRequired { what: "escalation" });
        }
        if !engine.available() {
            return Err(Error::EngineUnavailable { engine: engine.name() });
        }
        // With a byte for every position: more than the single decoder's program takes while it grows, and the zeros below.
        memory::ask(workspace_bytes::<T>(code.log_length(), code.segmentation(), list_sizes) + code.block_length())?;
        let (log_length, largest) = (code.log_length(), list_sizes.largest());
        let segmented = match code.segmentation() {
            Some(segmentation) => Some(Box::new(SegmentedState::new(&code, segmentation, list_sizes)?)),
            None => None,
        };
        let whole = segmented.is_none();
        let single = (whole && list_sizes.smallest() == 1)
            .then(|| Single { program: single::compile(&code), state: SingleState::new(log_length) });
        let list = if whole && largest > 1 {
            let program = schedule::compile(&code, Flavour::List)?;
            Some(List { program, state: Box::new(ListState::new(log_length, largest)) })
        } else {
            None
        };
        let (length, words) = (code.block_length(), code.words());
        Ok(Self {
            engine,
            list_sizes,
            check_of_zero: code.check().value(&vec![0; length.div_ceil(8)]),
            single,
            list,
            segmented,
            channel: AlignedBuffer::new(length),
            received: AlignedBuffer::new(words),
            offset: AlignedBuffer::new(words),
            candidate: AlignedBuffer::new(words),
            code,
        })
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> EngineName {
        self.engine
    }

    /// The list sizes that are tried.
    #[must_use]
    pub fn list_sizes(&self) -> ListSizes {
        self.list_sizes
    }

    /// Bytes allocated: what [`required_bytes`] says.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        let single = self.single.as_ref().map_or(0, |single| single.state.bytes() + size_of_val(&*single.program));
        let list = self
            .list
            .as_ref()
            .map_or(0, |list| list.state.bytes() + size_of::<ListState<T>>() + size_of_val(&*list.program));
        single
            + list
            + self.segmented.as_ref().map_or(0, |state| state.bytes())
            + size_of_val(self.code.info())
            + self.channel.bytes()
            + self.received.bytes()
            + self.offset.bytes()
            + self.candidate.bytes()
    }

    /// Decodes a block received over a binary symmetric channel.
    ///
    /// `received` is Bob's packed block, `frozen_values` Alice's transform on the frozen set (zero elsewhere), `checks` the
    /// check of her block and, if the code has segments, theirs, `magnitude` the LLR magnitude of a position. `decoded` becomes Alice's block if the result is
    /// true; if no survivor passes the check it is the best survivor's, and the result is false. Packed blocks are
    /// `max(1, N / 8)` bytes, little bit order.
    ///
    /// # Errors
    /// [`Error::Length`]; [`Error::StrayBits`] for bits at shortened or missing positions, or frozen values on the
    /// information set; [`Error::OutOfRange`] for a magnitude that is none. `decoded` is then untouched.
    pub fn decode_bsc<'c>(
        &mut self,
        received: &[u8],
        frozen_values: &[u8],
        checks: impl Into<Checks<'c>>,
        magnitude: T,
        decoded: &mut [u8],
    ) -> Result<bool> {
        let (got, max) = (magnitude.into(), T::CERTAIN.into());
        if !(0.0..=max).contains(&got) {
            return Err(Error::OutOfRange { what: "magnitude", got, min: 0.0, max });
        }
        self.require_block("received", received)?;
        self.require_bytes("decoded", decoded.len())?;
        let checks = self.require_checks(checks.into())?;
        bits::words_from_bytes(&mut self.received, received);
        self.prepare(frozen_values)?;
        let task = Expand { bits: &self.offset, magnitude, out: &mut self.channel };
        T::dispatch(self.engine, task);
        Ok(self.decode(checks, decoded))
    }

    /// Decodes soft values: `llr` in nats, positive meaning 0, one per position; those of shortened positions are ignored.
    /// Else as [`Decoder::decode_bsc`].
    ///
    /// # Errors
    /// As [`Decoder::decode_bsc`], and [`Error::OutOfRange`] for a value that is not finite.
    pub fn decode_soft<'c>(
        &mut self,
        llr: &[f32],
        frozen_values: &[u8],
        checks: impl Into<Checks<'c>>,
        decoded: &mut [u8],
    ) -> Result<bool> {
        let length = self.code.block_length();
        if llr.len() != length {
            return Err(Error::Length { what: "llr", expected: length, got: llr.len() });
        }
        self.require_bytes("decoded", decoded.len())?;
        let checks = self.require_checks(checks.into())?;
        if let Some(value) = llr.iter().find(|value| !value.is_finite()) {
            let (min, max) = (f64::from(f32::MIN), f64::from(f32::MAX));
            return Err(Error::OutOfRange { what: "llr", got: f64::from(*value), min, max });
        }
        self.received.fill(0);
        for (position, value) in llr[..self.code.payload_length()].iter().enumerate() {
            self.received[position / 64] |= u64::from(*value < 0.0) << (position % 64);
        }
        self.prepare(frozen_values)?;
        for (position, (out, value)) in self.channel.iter_mut().zip(llr).enumerate() {
            let bit = self.offset[position / 64] >> (position % 64) & 1 == 1;
            *out = T::from_nats(value.abs()).negate_if(bit);
        }
        Ok(self.decode(checks, decoded))
    }

    fn require_checks<'c>(&self, checks: Checks<'c>) -> Result<Checks<'c>> {
        let (expected, got) = (self.code.segment_count(), checks.segments.len());
        if got == expected { Ok(checks) } else { Err(Error::Length { what: "segment check values", expected, got }) }
    }

    fn require_bytes(&self, what: &'static str, got: usize) -> Result<()> {
        let expected = bits::bytes_for(self.code.block_length());
        if got == expected { Ok(()) } else { Err(Error::Length { what, expected, got }) }
    }

    /// A packed block whose shortened and missing positions are zero.
    fn require_block(&self, what: &'static str, block: &[u8]) -> Result<()> {
        self.require_bytes(what, block.len())?;
        let payload = self.code.payload_length();
        let (whole, rest) = block.split_at(bits::bytes_for(payload));
        bits::check_packed(what, whole, payload)?;
        match (whole.len()..).zip(rest).find(|(_, byte)| **byte != 0) {
            None => Ok(()),
            Some((index, byte)) => Err(Error::StrayBits { what, position: 8 * index + byte.trailing_zeros() as usize }),
        }
    }

    /// Fills `offset` with the word that has the error's syndrome, from `received` and what Alice disclosed.
    fn prepare(&mut self, frozen_values: &[u8]) -> Result<()> {
        self.require_block("frozen_values", frozen_values)?;
        bits::words_from_bytes(&mut self.candidate, frozen_values);
        for (index, (value, info)) in self.candidate.iter().zip(self.code.info()).enumerate() {
            if value & info != 0 {
                let position = index * 64 + (value & info).trailing_zeros() as usize;
                return Err(Error::StrayBits { what: "frozen_values", position });
            }
        }
        let length = self.code.block_length();
        self.offset.copy_from_slice(&self.received);
        transform(&mut self.offset, length);
        for ((offset, &frozen), &info) in self.offset.iter_mut().zip(self.candidate.iter()).zip(self.code.info()) {
            *offset = (*offset & !info) ^ frozen;
        }
        transform(&mut self.offset, length);
        Ok(())
    }

    /// Decodes what `received`, `offset` and `channel` hold.
    fn decode(&mut self, checks: Checks<'_>, decoded: &mut [u8]) -> bool {
        let payload = self.code.payload_length();
        self.channel[payload..].fill(T::CERTAIN);
        // What a survivor says about the error, put back on Bob's block: one pass of the check decides about it.
        bits::xor_into(&mut self.received, &self.offset);
        let (check, bytes) = (self.code.check(), decoded.len());
        let target = checks.block ^ self.check_of_zero;
        if let (Some(segmentation), Some(state)) = (self.code.segmentation(), &mut self.segmented) {
            self.candidate.copy_from_slice(&self.received);
            split_segments(&mut self.candidate, segmentation.words());
            state.begin(&self.candidate, checks.segments);
            let decided = state.run_to(self.engine, &self.code, &self.channel, self.code.segment_count());
            self.candidate.copy_from_slice(state.finish());
            bits::xor_into(&mut self.candidate, &self.received);
            bits::bytes_from_words(decoded, &self.candidate);
            return decided && check.linear_value(&self.candidate, bytes) == target;
        }
        let mut found = false;
        for list_size in self.list_sizes.iter() {
            self.run(list_size);
            found = self.pick(list_size, |word| check.linear_value(word, bytes) == target);
            if found {
                break;
            }
        }
        bits::bytes_from_words(decoded, &self.candidate);
        found
    }

    /// Decodes `channel` with a list of `list_size`.
    fn run(&mut self, list_size: usize) {
        let channel = &*self.channel;
        if list_size == 1 {
            if let Some(Single { program, state }) = &mut self.single {
                T::dispatch(self.engine, SingleTask { program, info: self.code.info(), state, channel });
            }
        } else if let Some(List { program, state }) = &mut self.list {
            state.set_list_size(list_size);
            T::dispatch(self.engine, ListTask { program, state, channel });
        }
    }

    /// Leaves in `candidate` the sum of `received` and the best survivor of [`Decoder::run`] such that `accept` takes it, or
    /// else of the best.
    fn pick(&mut self, list_size: usize, accept: impl Fn(&[u64]) -> bool) -> bool {
        let (candidate, received) = (&mut self.candidate, &self.received);
        if list_size == 1 {
            let Some(Single { state, .. }) = &self.single else { return false };
            for ((sum, word), received) in candidate.iter_mut().zip(state.word()).zip(received.iter()) {
                *sum = word ^ received;
            }
            return accept(candidate);
        }
        let Some(List { state, .. }) = &self.list else { return false };
        state.pick(candidate, |word| {
            bits::xor_into(word, received);
            accept(word)
        })
    }

    /// Decodes channel LLRs with zero frozen values and returns all survivors of the largest list in lane order: metrics and
    /// packed words; none for a code with segments. For study and for tests; it allocates.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn survivors(&mut self, channel: &[T]) -> Result<Vec<(T::Metric, Vec<u64>)>> {
        if channel.len() != self.code.block_length() {
            return Err(Error::Length { what: "channel", expected: self.code.block_length(), got: channel.len() });
        }
        self.channel.copy_from_slice(channel);
        self.run(self.list_sizes.largest());
        Ok(match (&self.single, &self.list) {
            (_, Some(List { state, .. })) => (0..state.paths.live)
                .map(|lane| {
                    let mut word = vec![0; self.code.words()];
                    state.word(lane, &mut word);
                    (state.paths.metric.0[lane], word)
                })
                .collect(),
            (Some(Single { state, .. }), None) => {
                vec![(<T::Metric as crate::llr::Metric>::ZERO, state.word().to_vec())]
            }
            (None, None) => Vec::new(),
        })
    }
}

/// The polar transform of a block whose length the code has proved.
fn transform(words: &mut [u64], block_length: usize) {
    let done = polar_transform(words, block_length);
    debug_assert!(done.is_ok());
}

struct Expand<'a, T: Llr> {
    bits: &'a [u64],
    magnitude: T,
    out: &'a mut [T],
}

impl<T: KernelLlr> Task<T> for Expand<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<E: Kernels<T>>(self, engine: E) {
        engine.expand(self.bits, self.magnitude, self.out);
    }
}
