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
//! [`schedule`] compiles a code into a flat program; [`single`], [`frames`] (64 short blocks side by side) and [`list`] run
//! it; [`segments`] runs one program a segment; [`paths`] selects survivors; [`shared`] holds what paths have in common near
//! the root, [`columns`] in the middle, [`interleaved`] several paths in a vector near the leaves; [`nodes`] settles small
//! subtrees; [`workspace`] is the memory; [`naive`] is the same in the obvious way.
//!
//! # Escalation
//!
//! Most blocks need no long list. A decoder may try several list sizes on a block, the smallest first, and go on to the next
//! only where no survivor has the check (Li, Shen and Tse 2012). All lists share one workspace.
//!
//! A [`Decoder`] owns everything it needs: a decode allocates nothing and cannot fail, it can only not find the word.

pub mod columns;
pub mod frames;
mod input;
pub mod interactive;
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
use crate::code::{Attempt, Code, ListSizes, Segmentation};
use crate::error::{Error, Result};
use crate::llr::Llr;
use crate::memory;
use crate::simd::frames::FRAMES;
use crate::simd::{EngineName, KernelLlr, Kernels, Task};
use crate::transform::split_segments;
use frames::{FramesState, FramesTask, LEAST_FRAMES, Received};
use list::{ListState, ListTask};
use schedule::{Flavour, Instruction};
use segments::{Root, SegmentedState};
use single::{Channel, SingleState, SingleTask, Step};
use workspace::AlignedBuffer;

/// What a list of one needs.
struct Single<T: KernelLlr> {
    program: Box<[Step]>,
    state: SingleState<T>,
    /// For groups of short blocks.
    frames: Option<Frames<T>>,
}

/// What groups of short blocks need.
struct Frames<T: KernelLlr> {
    program: Box<[Instruction]>,
    state: Box<FramesState<T>>,
}

/// What lists of two and more need, whatever their size.
struct List<T: KernelLlr> {
    program: Box<[Instruction]>,
    state: Box<ListState<T>>,
}

/// LLR magnitudes of a hard decision, by Bob's bit: errors of real keys are more frequent at one of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Magnitudes<T> {
    /// Where he has a 0.
    pub at_zero: T,
    /// Where he has a 1.
    pub at_one: T,
}

impl<T: Copy> From<T> for Magnitudes<T> {
    /// The same for both.
    fn from(magnitude: T) -> Self {
        Self { at_zero: magnitude, at_one: magnitude }
    }
}

impl<T: KernelLlr> Magnitudes<T> {
    /// Those of crossover probabilities above 0 and below 0.5.
    #[must_use]
    pub fn from_crossovers(at_zero: f64, at_one: f64) -> Self {
        let (at_zero, at_one) = T::from_crossovers(at_zero, at_one);
        Self { at_zero, at_one }
    }

    /// The magnitude, if there is one only.
    #[must_use]
    pub fn uniform(self) -> Option<T> {
        (self.at_zero == self.at_one).then_some(self.at_zero)
    }

    /// Both are magnitudes.
    fn require(self) -> Result<Self> {
        let max = T::CERTAIN.into();
        for magnitude in [self.at_zero, self.at_one] {
            let got = magnitude.into();
            if !(0.0..=max).contains(&got) {
                return Err(Error::OutOfRange { what: "magnitude", got, min: 0.0, max });
            }
        }
        Ok(self)
    }
}

/// What a code with segments needs.
struct Segmented<T: KernelLlr> {
    /// The check value of an all-zero segment.
    check_of_zero: u32,
    state: Box<SegmentedState<T>>,
}

/// What goes with the received blocks of a batch.
struct Blocks<'a> {
    frozen_values: &'a [u8],
    check_values: &'a [u32],
    decoded: &'a mut [u8],
    accepted: &'a mut [bool],
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
    segmented: Option<Segmented<T>>,
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

/// Whether a decoder decodes blocks of a batch side by side.
fn together<T: KernelLlr>(log_length: u32, segmentation: Option<Segmentation>, list_sizes: ListSizes) -> bool {
    segmentation.is_none() && list_sizes.smallest() == 1 && frames::is_short::<T>(log_length)
}

/// Bytes of everything a [`Decoder`] for `code` allocates.
#[must_use]
pub fn required_bytes<T: KernelLlr>(code: &Code, list_sizes: ListSizes) -> usize {
    let single = |code| if list_sizes.smallest() == 1 { single::bytes_for(code) } else { 0 };
    let list = |code| if list_sizes.largest() > 1 { schedule::bytes_for(code, Flavour::List) } else { 0 };
    let frames = if together::<T>(code.log_length(), code.segmentation(), list_sizes) {
        schedule::bytes_for(code, Flavour::Single)
    } else {
        0
    };
    let programs = match code.segmentation() {
        Some(segmentation) => {
            SegmentedState::<T>::program_bytes(code, &segmentation.partition(code.log_length()), list_sizes)
        }
        None => single(code) + list(code) + frames,
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
    let frames = if together::<T>(log_length, segmentation, list_sizes) {
        FramesState::<T>::bytes_for(log_length) + size_of::<FramesState<T>>()
    } else {
        0
    };
    let state = match segmentation {
        Some(segmentation) => SegmentedState::<T>::bytes_for(&segmentation.partition(log_length), list_sizes),
        None => single + list + frames,
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
        // With the zeros that are checked below.
        let zeros = bits::bytes_for(code.block_length());
        memory::ask(workspace_bytes::<T>(code.log_length(), code.segmentation(), list_sizes) + zeros)?;
        memory::watched(|| Self::made_of_parts(code, list_sizes, engine))
    }

    fn made_of_parts(code: Code, list_sizes: ListSizes, engine: EngineName) -> Result<Self> {
        let (log_length, largest) = (code.log_length(), list_sizes.largest());
        let segmented = match code.segmentation() {
            Some(segmentation) => Some(Segmented {
                check_of_zero: segmentation.check().value(&vec![0; 8 * segmentation.words()]),
                state: Box::new(SegmentedState::new(&code, segmentation.partition(log_length), list_sizes, false)?),
            }),
            None => None,
        };
        let whole = segmented.is_none();
        let frames = if together::<T>(log_length, code.segmentation(), list_sizes) {
            let program = schedule::compile(&code, Flavour::Single)?;
            Some(Frames { program, state: Box::new(FramesState::new(log_length)) })
        } else {
            None
        };
        let single = if whole && list_sizes.smallest() == 1 {
            let program = single::compile(&code)?;
            Some(Single { program, state: SingleState::new(log_length), frames })
        } else {
            None
        };
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
        let single = self.single.as_ref().map_or(0, |single| {
            let frames = single
                .frames
                .as_ref()
                .map_or(0, |frames| frames.state.bytes() + size_of::<FramesState<T>>() + size_of_val(&*frames.program));
            single.state.bytes() + frames + size_of_val(&*single.program)
        });
        let list = self
            .list
            .as_ref()
            .map_or(0, |list| list.state.bytes() + size_of::<ListState<T>>() + size_of_val(&*list.program));
        single
            + list
            + self.segmented.as_ref().map_or(0, |segmented| segmented.state.bytes())
            + size_of_val(self.code.info())
            + self.channel.bytes()
            + self.received.bytes()
            + self.offset.bytes()
            + self.candidate.bytes()
    }

    /// Decodes a block of hard decisions.
    ///
    /// `received` is Bob's packed block, `frozen_values` Alice's transform on the frozen set (zero elsewhere), `checks` the
    /// check of her block and, if the code has segments, theirs, `magnitudes` the LLR magnitude of a position, or two by his
    /// bit there. `decoded` becomes Alice's block if the result is
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
        magnitudes: impl Into<Magnitudes<T>>,
        decoded: &mut [u8],
    ) -> Result<bool> {
        self.decode_bsc_from(0, received, frozen_values, checks.into(), magnitudes.into(), decoded)
    }

    /// [`Decoder::decode_bsc`] without the first `tried` list sizes.
    fn decode_bsc_from(
        &mut self,
        tried: usize,
        received: &[u8],
        frozen_values: &[u8],
        checks: Checks<'_>,
        magnitudes: Magnitudes<T>,
        decoded: &mut [u8],
    ) -> Result<bool> {
        let uniform = magnitudes.require()?.uniform();
        input::require_block(&self.code, "received", received)?;
        input::require_bytes(&self.code, "decoded", decoded.len())?;
        let checks = self.require_checks(checks)?;
        bits::words_from_bytes(&mut self.received, received);
        input::offset(&self.code, &self.received, frozen_values, &mut self.candidate, &mut self.offset)?;
        // Segmented decodes start from the signs, and so does successive cancellation if there is one magnitude.
        let takes_signs = self.single.as_ref().is_some_and(|single| single::takes_signs(&single.program));
        let alike = self.code.payload_length() == self.code.block_length() && uniform.is_some();
        let signs = self.segmented.is_some() || (takes_signs && alike);
        match uniform {
            _ if signs => {}
            Some(magnitude) => self.expand(magnitude),
            None => self.expand_both(magnitudes),
        }
        Ok(self.decode(tried, checks, signs.then_some(magnitudes), decoded))
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
        self.decode_soft_from(0, llr, frozen_values, checks.into(), decoded)
    }

    /// [`Decoder::decode_soft`] without the first `tried` list sizes.
    fn decode_soft_from(
        &mut self,
        tried: usize,
        llr: &[f32],
        frozen_values: &[u8],
        checks: Checks<'_>,
        decoded: &mut [u8],
    ) -> Result<bool> {
        input::require_llr(&self.code, llr)?;
        input::require_bytes(&self.code, "decoded", decoded.len())?;
        let checks = self.require_checks(checks)?;
        input::hard_decisions(&self.code, llr, &mut self.received);
        input::offset(&self.code, &self.received, frozen_values, &mut self.candidate, &mut self.offset)?;
        input::channel(llr, &self.offset, &mut self.channel);
        Ok(self.decode(tried, checks, None, decoded))
    }

    /// Blocks that [`Decoder::decode_bsc_batch`] and [`Decoder::decode_soft_batch`] decode together: 64 where a list of one
    /// comes first and blocks are short, else 1.
    #[must_use]
    pub fn group(&self) -> usize {
        if self.single.as_ref().is_some_and(|single| single.frames.is_some()) { FRAMES } else { 1 }
    }

    /// Decodes blocks as [`Decoder::decode_bsc`] does, with the same result, but together where that is faster.
    ///
    /// Blocks lie one after the other, as do their check values: with segments, the block's and then theirs. `accepted` says for each what [`Decoder::decode_bsc`] returns.
    ///
    /// # Errors
    /// As [`Decoder::decode_bsc`], for the first block that is refused; those before it are decoded.
    pub fn decode_bsc_batch(
        &mut self,
        received: &[u8],
        frozen_values: &[u8],
        check_values: &[u32],
        magnitudes: impl Into<Magnitudes<T>>,
        decoded: &mut [u8],
        accepted: &mut [bool],
    ) -> Result<()> {
        let magnitudes = magnitudes.into().require()?;
        let bytes = bits::bytes_for(self.code.block_length());
        let blocks = Blocks { frozen_values, check_values, decoded, accepted };
        self.decode_batch(
            ("received", received, bytes),
            blocks,
            |decoder, block, frozen_values| {
                let sound = |what, row| input::require_block(&decoder.code, what, row);
                sound("received", block).and(sound("frozen_values", frozen_values))
            },
            |blocks| Received::Hard(blocks, magnitudes),
            |decoder, tried, block, frozen_values, checks, decoded| {
                decoder.decode_bsc_from(tried, block, frozen_values, checks, magnitudes, decoded)
            },
        )
    }

    /// Decodes soft values as [`Decoder::decode_soft`] does; else as [`Decoder::decode_bsc_batch`].
    ///
    /// # Errors
    /// As [`Decoder::decode_soft`], for the first block that is refused; those before it are decoded.
    pub fn decode_soft_batch(
        &mut self,
        llr: &[f32],
        frozen_values: &[u8],
        check_values: &[u32],
        decoded: &mut [u8],
        accepted: &mut [bool],
    ) -> Result<()> {
        let blocks = Blocks { frozen_values, check_values, decoded, accepted };
        self.decode_batch(
            ("llr", llr, self.code.block_length()),
            blocks,
            |decoder, block, frozen_values| {
                input::require_llr(&decoder.code, block).and(input::require_frozen(&decoder.code, frozen_values))
            },
            |llr| Received::Soft(llr),
            Self::decode_soft_from,
        )
    }

    fn decode_batch<I>(
        &mut self,
        (what, input, elements): (&'static str, &[I], usize),
        blocks: Blocks<'_>,
        require: impl Fn(&Self, &[I], &[u8]) -> Result<()>,
        together: impl Fn(&[I]) -> Received<'_, T>,
        alone: impl Fn(&mut Self, usize, &[I], &[u8], Checks<'_>, &mut [u8]) -> Result<bool>,
    ) -> Result<()> {
        let Blocks { frozen_values, check_values, decoded, accepted } = blocks;
        let (count, bytes) = (accepted.len(), bits::bytes_for(self.code.block_length()));
        let checks = 1 + self.code.segment_count();
        for (what, expected, got) in [
            (what, count * elements, input.len()),
            ("frozen_values", count * bytes, frozen_values.len()),
            ("decoded", count * bytes, decoded.len()),
            ("check_values", count * checks, check_values.len()),
        ] {
            if got != expected {
                return Err(Error::Length { what, expected, got });
            }
        }
        let groups = input
            .chunks(FRAMES * elements)
            .zip(frozen_values.chunks(FRAMES * bytes))
            .zip(check_values.chunks(FRAMES * checks))
            .zip(decoded.chunks_mut(FRAMES * bytes).zip(accepted.chunks_mut(FRAMES)));
        for (((input, frozen_values), check_values), (decoded, accepted)) in groups {
            let sound = input.chunks_exact(elements).zip(frozen_values.chunks_exact(bytes));
            let mut sound = sound.take_while(|(input, frozen)| require(self, input, frozen).is_ok()).count();
            let mut tried = 0;
            while sound >= LEAST_FRAMES
                && let Some(Single { frames: Some(Frames { program, state }), .. }) = &mut self.single
            {
                let task = FramesTask {
                    program,
                    state,
                    info: self.code.info(),
                    payload: self.code.payload_length(),
                    received: together(&input[..sound * elements]),
                    frozen_values: &frozen_values[..sound * bytes],
                    decoded: &mut decoded[..sound * bytes],
                };
                let refused = T::decode_frames(self.engine, task);
                if refused != 0 {
                    sound = refused.trailing_zeros() as usize;
                    continue;
                }
                let blocks = decoded.chunks_exact(bytes).zip(check_values).take(sound);
                for (accepted, (block, &check_value)) in accepted.iter_mut().zip(blocks) {
                    *accepted = self.code.check().value(block) == check_value;
                }
                tried = sound;
                break;
            }
            let checks = check_values.chunks_exact(checks);
            let checks = checks.map(|values| Checks { block: values[0], segments: &values[1..] });
            let blocks = input.chunks_exact(elements).zip(frozen_values.chunks_exact(bytes)).zip(checks);
            let results = decoded.chunks_exact_mut(bytes).zip(accepted);
            for (index, (((input, frozen_values), checks), (decoded, accepted))) in blocks.zip(results).enumerate() {
                if index >= tried {
                    *accepted = alone(self, 0, input, frozen_values, checks, decoded)?;
                } else if !*accepted && self.list_sizes.escalates() {
                    *accepted = alone(self, 1, input, frozen_values, checks, decoded)?;
                }
            }
        }
        Ok(())
    }

    fn require_checks<'c>(&self, checks: Checks<'c>) -> Result<Checks<'c>> {
        let (expected, got) = (self.code.segment_count(), checks.segments.len());
        if got == expected { Ok(checks) } else { Err(Error::Length { what: "segment check values", expected, got }) }
    }

    /// Decodes what `received`, `offset` and `channel` hold, without the first `tried` list sizes; with magnitudes, the channel
    /// is those with the signs of `offset`.
    fn decode(
        &mut self,
        tried: usize,
        checks: Checks<'_>,
        magnitudes: Option<Magnitudes<T>>,
        decoded: &mut [u8],
    ) -> bool {
        let payload = self.code.payload_length();
        self.channel[payload..].fill(T::CERTAIN);
        // What a survivor says about the error, put back on Bob's block: one pass of the check decides about it.
        bits::xor_into(&mut self.received, &self.offset);
        let (check, bytes) = (self.code.check(), decoded.len());
        let target = checks.block ^ self.check_of_zero;
        if let (Some(segmentation), Some(Segmented { check_of_zero, state })) =
            (self.code.segmentation(), &mut self.segmented)
        {
            self.candidate.copy_from_slice(&self.received);
            split_segments(&mut self.candidate, segmentation.words());
            state.begin(&self.candidate, checks.segments.iter().map(|value| value ^ *check_of_zero));
            let root = match magnitudes {
                None => Root::Values(&self.channel),
                Some(magnitudes) => Root::Hard { negative: &self.offset, base: &self.received, magnitudes, payload },
            };
            let decided = state.run_to(self.engine, &self.code, root, self.code.segment_count());
            self.candidate.copy_from_slice(state.finish());
            bits::xor_into(&mut self.candidate, &self.received);
            bits::bytes_from_words(decoded, &self.candidate);
            return decided && check.linear_value(&self.candidate, bytes) == target;
        }
        let mut found = false;
        for attempt in self.list_sizes.attempts().skip(tried) {
            self.run(attempt, magnitudes.map(|magnitudes| magnitudes.at_zero));
            found = self.pick(attempt.list_size, |word| check.linear_value(word, bytes) == target);
            if found {
                break;
            }
        }
        bits::bytes_from_words(decoded, &self.candidate);
        found
    }

    /// The signs of `offset` with `magnitude` as LLRs in `channel`.
    fn expand(&mut self, magnitude: T) {
        let task = Expand { bits: &self.offset, magnitude, out: &mut self.channel };
        T::dispatch(self.engine, task);
    }

    /// The signs of `offset` with the magnitudes of the bits in `received` as LLRs in `channel`.
    fn expand_both(&mut self, magnitudes: Magnitudes<T>) {
        let task = ExpandBoth { signs: &self.offset, ones: &self.received, magnitudes, out: &mut self.channel };
        T::dispatch(self.engine, task);
    }

    /// Decodes `channel`, or with a magnitude the signs in `offset`.
    fn run(&mut self, attempt: Attempt, magnitude: Option<T>) {
        if let (true, Some(magnitude)) = (attempt.list_size > 1, magnitude) {
            self.expand(magnitude);
        }
        let channel = &*self.channel;
        if attempt.list_size == 1 {
            let values = Channel::Values(channel);
            let channel = magnitude.map_or(values, |magnitude| Channel::Signs(&self.offset, magnitude));
            if let Some(Single { program, state, .. }) = &mut self.single {
                T::decode_single(self.engine, SingleTask { program, info: self.code.info(), state, channel });
            }
        } else if let Some(List { program, state }) = &mut self.list {
            state.set_attempt(attempt, self.code.log_length());
            T::decode_list(self.engine, ListTask { program, state, channel });
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

    /// Decodes channel LLRs with zero frozen values and returns all survivors of the last attempt in lane order: metrics and
    /// packed words; none for a code with segments. For study and for tests; it allocates.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn survivors(&mut self, channel: &[T]) -> Result<Vec<(T::Metric, Vec<u64>)>> {
        self.survivors_of(channel, Attempt { list_size: self.list_sizes.largest(), last: true })
    }

    /// [`Decoder::survivors`] of another attempt, one of the decoder's list sizes.
    ///
    /// # Errors
    /// [`Error::Length`]; [`Error::ListSize`] for another list size.
    pub fn survivors_of(&mut self, channel: &[T], attempt: Attempt) -> Result<Vec<(T::Metric, Vec<u64>)>> {
        if !self.list_sizes.iter().any(|size| size == attempt.list_size) {
            return Err(Error::ListSize { got: attempt.list_size });
        }
        if channel.len() != self.code.block_length() {
            return Err(Error::Length { what: "channel", expected: self.code.block_length(), got: channel.len() });
        }
        self.channel.copy_from_slice(channel);
        self.run(attempt, None);
        Ok(match (&self.single, &self.list) {
            (_, Some(List { state, .. })) if attempt.list_size > 1 => (0..state.paths.live)
                .map(|lane| {
                    let mut word = vec![0; self.code.words()];
                    state.word(lane, &mut word);
                    (state.paths.metric.0[lane], word)
                })
                .collect(),
            (Some(Single { state, .. }), _) => {
                vec![(<T::Metric as crate::llr::Metric>::ZERO, state.word().to_vec())]
            }
            (None, _) => Vec::new(),
        })
    }
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

struct ExpandBoth<'a, T: Llr> {
    signs: &'a [u64],
    ones: &'a [u64],
    magnitudes: Magnitudes<T>,
    out: &'a mut [T],
}

impl<T: KernelLlr> Task<T> for ExpandBoth<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<E: Kernels<T>>(self, engine: E) {
        let Self { signs, ones, magnitudes: Magnitudes { at_zero, at_one }, out } = self;
        let (rows, short) = out.as_chunks_mut();
        frames::expand_by_bit(engine, ones, signs, at_zero, at_one, rows);
        for (position, value) in short.iter_mut().enumerate() {
            let bit = |words: &[u64]| words[0] >> position & 1 == 1;
            *value = if bit(ones) { at_one } else { at_zero }.negate_if(bit(signs));
        }
    }
}
