//! Blocks that are decoded between questions.
//!
//! Alice discloses too little on purpose. A decode runs segment by segment ([`segments`](super::segments)) until a segment
//! has no survivor with its check; Bob says so, Alice discloses some information positions more, and the decode goes on from
//! there. While it waits for her answer hundreds of others may run: between two calls a block is a row of bytes that the
//! caller keeps, and the decoder, one workspace, knows nothing of it.
//!
//! # The state of a block
//!
//! All numbers little-endian, every part a multiple of eight bytes:
//!
//! | part | bytes |
//! |---|---|
//! | fingerprint of code, segments, precision and input | 8 |
//! | next segment, 1 more than where the last run stopped (else 0) | 4 + 4 |
//! | magnitudes where Bob has 0 and 1, as `f32`; 0 for soft input | 4 + 4 |
//! | linear check values that are looked for | 4 a segment, rounded up |
//! | linear check values of the words before each segment, up to the next | 4 a segment, rounded up |
//! | y ⊕ v: what was received and the offset | N/8 |
//! | what is disclosed | N/8 |
//! | words of decided segments, combined; of the others what is known of u | N/8 |
//! | v; or, for soft input, the channel LLRs with its signs | N/8; N or 4·N |
//!
//! A row is looked at before it is used: one that another decoder began, or that was changed, is an error or decodes to
//! something else, never more.
//!
//! Not here: which positions to ask for, how many, and whether the block that comes out is Alice's: the segments' checks do
//! not prove that.

use super::Magnitudes;
use super::input;
use super::segments::{Parts, Root, SegmentedState};
use super::workspace::AlignedBuffer;
use crate::bits;
use crate::code::{Attempt, Code, ListSizes, Partition, Segment};
use crate::error::{Error, Result};
use crate::llr::Llr;
use crate::memory;
use crate::simd::{EngineName, KernelLlr};
use crate::transform::transform_words;
use std::ops::Range;

/// What blocks bring with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Hard decisions of a channel with one or two error rates.
    Hard,
    /// LLRs.
    Soft,
}

/// Where the parts of a state lie.
struct Layout {
    target: Range<usize>,
    before: Range<usize>,
    base: Range<usize>,
    disclosed: Range<usize>,
    word: Range<usize>,
    input: Range<usize>,
}

const FINGERPRINT: Range<usize> = 0..8;
const NEXT: Range<usize> = 8..12;
const STOPPED: Range<usize> = 12..16;
const MAGNITUDES: [Range<usize>; 2] = [16..20, 20..24];
const HEADER_BYTES: usize = 24;

impl Layout {
    fn new<T: Llr>(block_length: usize, segments: usize, input: Input) -> Self {
        let mut end = HEADER_BYTES;
        let mut part = |bytes: usize| {
            let start = end;
            end += bytes.next_multiple_of(8);
            start..start + bytes
        };
        let row = block_length / 8;
        Self {
            target: part(4 * segments),
            before: part(4 * segments),
            base: part(row),
            disclosed: part(row),
            word: part(row),
            input: part(match input {
                Input::Hard => row,
                Input::Soft => block_length * size_of::<T>(),
            }),
        }
    }

    fn bytes(&self) -> usize {
        self.input.end
    }
}

/// Bytes of the state of a block.
#[must_use]
pub fn state_bytes<T: Llr>(partition: &Partition, input: Input) -> usize {
    Layout::new::<T>(1 << partition.log_length(), partition.segments().len(), input).bytes()
}

/// Bytes of everything an [`InteractiveDecoder`] allocates.
#[must_use]
pub fn required_bytes<T: KernelLlr>(code: &Code, partition: &Partition, list_sizes: ListSizes, input: Input) -> usize {
    workspace_bytes::<T>(partition, list_sizes, input)
        + SegmentedState::<T>::program_bytes(code, partition, list_sizes)
        + SegmentedState::<T>::disclosing_bytes(code, partition, list_sizes)
}

/// Bytes of a decoder's memory apart from what depends on the information set.
fn workspace_bytes<T: KernelLlr>(partition: &Partition, list_sizes: ListSizes, input: Input) -> usize {
    let words = 1usize << (partition.log_length() - 6);
    let channel = match input {
        Input::Hard => 0,
        Input::Soft => AlignedBuffer::<T>::bytes_for(64 * words),
    };
    // The code's information set, and the received, offset and scratch words.
    SegmentedState::<T>::bytes_for(partition, list_sizes)
        + 8 * words
        + channel
        + 3 * AlignedBuffer::<u64>::bytes_for(words)
}

/// A decoder of blocks that wait for answers: one workspace, of which no block keeps anything.
pub struct InteractiveDecoder<T: KernelLlr> {
    code: Code,
    engine: EngineName,
    list_sizes: ListSizes,
    input: Input,
    layout: Layout,
    fingerprint: u64,
    state: Box<SegmentedState<T>>,
    /// Soft input: channel LLRs.
    channel: AlignedBuffer<T>,
    /// y ⊕ v.
    base: AlignedBuffer<u64>,
    /// v: signs of the channel.
    offset: AlignedBuffer<u64>,
    scratch: AlignedBuffer<u64>,
}

impl<T: KernelLlr> InteractiveDecoder<T> {
    /// A decoder of blocks of `code`, cut as `partition` says, that tries `list_sizes` on every segment. The code's own check
    /// and segments are not looked at.
    ///
    /// # Errors
    /// [`Error::Length`] for a partition of another block length; [`Error::EngineUnavailable`]; [`Error::Memory`].
    pub fn new(
        code: Code,
        partition: Partition,
        list_sizes: ListSizes,
        input: Input,
        engine: EngineName,
    ) -> Result<Self> {
        let (length, words) = (code.block_length(), code.words());
        if partition.log_length() != code.log_length() {
            return Err(Error::Length { what: "segments", expected: length, got: 1 << partition.log_length() });
        }
        if !engine.available() {
            return Err(Error::EngineUnavailable { engine: engine.name() });
        }
        memory::ask(workspace_bytes::<T>(&partition, list_sizes, input))?;
        memory::watched(|| {
            Ok(Self {
                engine,
                list_sizes,
                input,
                layout: Layout::new::<T>(length, partition.segments().len(), input),
                fingerprint: fingerprint::<T>(&code, &partition, input),
                state: Box::new(SegmentedState::new(&code, partition, list_sizes, true)?),
                channel: AlignedBuffer::new(if input == Input::Soft { length } else { 0 }),
                base: AlignedBuffer::new(words),
                offset: AlignedBuffer::new(words),
                scratch: AlignedBuffer::new(words),
                code,
            })
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

    /// Segments of a block.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.state.count()
    }

    /// Bytes of the state of a block.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.layout.bytes()
    }

    /// Bytes allocated: what [`required_bytes`] says.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        size_of_val(self.code.info())
            + self.state.bytes()
            + self.channel.bytes()
            + self.base.bytes()
            + self.offset.bytes()
            + self.scratch.bytes()
    }

    /// Begins a block received over a binary symmetric channel: fills `state`.
    ///
    /// `received` is Bob's packed block, `frozen_values` Alice's transform on the frozen set (zero elsewhere), `check_values`
    /// the check of each of her segments, 0 where there is none, `magnitudes` the LLR magnitudes of positions where Bob
    /// has 0 and where he has 1, or one for both.
    ///
    /// # Errors
    /// [`Error::Length`]; [`Error::StrayBits`] for bits at shortened positions, or frozen values on the information set;
    /// [`Error::OutOfRange`] for a magnitude that is none or a check value that is too long; [`Error::ForeignState`] for a
    /// decoder of soft input. `state` is then untouched.
    pub fn begin(
        &mut self,
        received: &[u8],
        frozen_values: &[u8],
        check_values: &[u32],
        magnitudes: impl Into<Magnitudes<T>>,
        state: &mut [u8],
    ) -> Result<()> {
        self.require_input(Input::Hard)?;
        self.require_state_length(state)?;
        let Magnitudes { at_zero, at_one } = magnitudes.into().require()?;
        input::require_block(&self.code, "received", received)?;
        bits::words_from_bytes(&mut self.base, received);
        self.start(frozen_values, check_values)?;
        let [zero, one]: [f64; 2] = [at_zero, at_one].map(Into::into);
        self.store_block(state, [zero as f32, one as f32]);
        bits::bytes_from_words(&mut state[self.layout.input.clone()], &self.offset);
        Ok(())
    }

    /// Begins a block of soft values: `llr` in nats, positive meaning 0, one per position; those of shortened positions are
    /// ignored. Else as [`InteractiveDecoder::begin`].
    ///
    /// # Errors
    /// As [`InteractiveDecoder::begin`], and [`Error::OutOfRange`] for a value that is not finite.
    pub fn begin_soft(
        &mut self,
        llr: &[f32],
        frozen_values: &[u8],
        check_values: &[u32],
        state: &mut [u8],
    ) -> Result<()> {
        self.require_input(Input::Soft)?;
        self.require_state_length(state)?;
        input::require_llr(&self.code, llr)?;
        input::hard_decisions(&self.code, llr, &mut self.base);
        self.start(frozen_values, check_values)?;
        input::channel(llr, &self.offset, &mut self.channel);
        self.channel[self.code.payload_length()..].fill(T::CERTAIN);
        self.store_block(state, [0.0; 2]);
        T::to_bytes(&self.channel, &mut state[self.layout.input.clone()]);
        Ok(())
    }

    /// From what was received, in `base`: the offset, y ⊕ v, and the checks that are looked for.
    fn start(&mut self, frozen_values: &[u8], check_values: &[u32]) -> Result<()> {
        let segments = self.state.partition().segments();
        if check_values.len() != segments.len() {
            return Err(Error::Length { what: "check_values", expected: segments.len(), got: check_values.len() });
        }
        for (segment, &value) in segments.iter().zip(check_values) {
            let max = segment.check_mask();
            if value > max {
                let (got, max) = (f64::from(value), f64::from(max));
                return Err(Error::OutOfRange { what: "check_values", got, min: 0.0, max });
            }
        }
        input::offset(&self.code, &self.base, frozen_values, &mut self.scratch, &mut self.offset)?;
        bits::xor_into(&mut self.base, &self.offset);
        self.state.partition().split_transform(&mut self.scratch);
        self.state.begin(&self.scratch, check_values.iter().copied());
        Ok(())
    }

    /// Writes what [`InteractiveDecoder::start`] made, all but the input.
    fn store_block(&mut self, state: &mut [u8], magnitudes: [f32; 2]) {
        let Layout { target, base, disclosed, word, .. } = &self.layout;
        state[FINGERPRINT].copy_from_slice(&self.fingerprint.to_le_bytes());
        state[NEXT].fill(0);
        state[STOPPED].fill(0);
        for (range, magnitude) in MAGNITUDES.into_iter().zip(magnitudes) {
            state[range].copy_from_slice(&magnitude.to_le_bytes());
        }
        state[target.start..base.start].fill(0);
        bytes_from_values(&mut state[target.clone()], self.state.parts().target);
        bits::bytes_from_words(&mut state[base.clone()], &self.base);
        state[disclosed.clone()].fill(0);
        state[word.clone()].fill(0);
    }

    /// Decides segments from where the block stands, each with the attempts it needs, until one has no survivor with its check
    /// or all are decided; returns the segment where the block then stands, their number in the end. Where the last run stopped
    /// there is one attempt, the last: a few bits more seldom make up for a shorter list.
    ///
    /// # Errors
    /// [`Error::Length`]; [`Error::ForeignState`].
    pub fn run(&mut self, state: &mut [u8]) -> Result<usize> {
        let next = self.require_state(state)?;
        let count = self.segment_count();
        if next == count {
            return Ok(count);
        }
        let magnitudes = self.load(state, next)?;
        let Layout { before, base, disclosed, word, input, .. } = &self.layout;
        let root = match self.input {
            Input::Soft => Root::Values(&self.channel),
            Input::Hard => Root::Hard {
                negative: borrowed(&state[input.clone()], &mut self.offset),
                base: borrowed(&state[base.clone()], &mut self.base),
                magnitudes,
                payload: self.code.payload_length(),
            },
        };
        for segment in next..count {
            let cut = self.state.partition().segments()[segment].words();
            let parts = self.state.parts();
            for (words, part) in [(parts.disclosed, disclosed), (parts.word, word)] {
                let bytes = &state[part.clone()][8 * cut.start..8 * cut.end];
                bits::words_from_bytes(&mut words[cut.clone()], bytes);
            }
            let found = if segment == next && number(&state[STOPPED]) == next as u64 + 1 {
                let last = Attempt { list_size: self.list_sizes.largest(), last: true };
                self.state.retry(self.engine, &self.code, root, last)
            } else {
                self.state.run_to(self.engine, &self.code, root, segment + 1)
            };
            if !found {
                break;
            }
        }
        let stopped = self.state.next();
        if stopped != next {
            let changed = self.state.changed();
            let parts = self.state.parts();
            let bytes = &mut state[word.clone()][8 * changed.start..8 * changed.end];
            bits::bytes_from_words(bytes, &parts.word[changed]);
            bytes_from_values(&mut state[before.clone()], parts.before);
            state[NEXT].copy_from_slice(&(stopped as u32).to_le_bytes());
        }
        let again = if stopped < count { stopped as u32 + 1 } else { 0 };
        state[STOPPED].copy_from_slice(&again.to_le_bytes());
        Ok(stopped)
    }

    /// Discloses positions of segments that are not decided: `values`, 0 or 1, are Alice's u there.
    ///
    /// # Errors
    /// [`Error::Length`]; [`Error::ForeignState`]; [`Error::Undisclosable`] for a position that is no information position, is
    /// disclosed already, occurs twice or lies in a decided segment; [`Error::OutOfRange`] for a value. `state` is then
    /// untouched.
    pub fn disclose(&mut self, state: &mut [u8], positions: &[u32], values: &[u8]) -> Result<()> {
        let next = self.require_state(state)?;
        if positions.len() != values.len() {
            return Err(Error::Length { what: "values", expected: positions.len(), got: values.len() });
        }
        if let Some(&value) = values.iter().find(|&&value| value > 1) {
            return Err(Error::OutOfRange { what: "values", got: f64::from(value), min: 0.0, max: 1.0 });
        }
        let Layout { base, disclosed, word, .. } = &self.layout;
        let segments = self.state.partition().segments();
        let decided = segments.get(next).map_or(self.code.words(), |segment| segment.words().start);
        let row = &mut state[disclosed.clone()];
        for (done, &position) in positions.iter().enumerate() {
            let position = position as usize;
            let is_free = (64 * decided..self.code.block_length()).contains(&position)
                && bits::get(self.code.info(), position)
                && row[position / 8] >> (position % 8) & 1 == 0;
            if !is_free {
                for &position in &positions[..done] {
                    row[position as usize / 8] &= !(1 << (position % 8));
                }
                return Err(Error::Undisclosable { position });
            }
            row[position / 8] |= 1 << (position % 8);
        }
        let mut at = 0..0;
        for (&position, &value) in positions.iter().zip(values) {
            let position = position as usize;
            if !at.contains(&(position / 64)) {
                let index = segments.partition_point(|segment| segment.words().end <= position / 64);
                at = segments.get(index).map_or(0..0, Segment::words);
                let base = borrowed(&state[base.clone()], &mut self.base);
                narrowed(base, &at, &mut self.scratch);
                transform_words(&mut self.scratch[..at.len()]);
            }
            // Alice's u, and that of y ⊕ v.
            let bit = value ^ u8::from(bits::get(&self.scratch, position - 64 * at.start));
            let byte = &mut state[word.start + position / 8];
            *byte = *byte & !(1 << (position % 8)) | bit << (position % 8);
        }
        Ok(())
    }

    /// Sends a block back to a segment that has been decided, as if it and later ones had not been; what was disclosed stays.
    ///
    /// # Errors
    /// [`Error::Length`]; [`Error::ForeignState`]; [`Error::Standing`] for a segment that is not decided.
    pub fn rollback(&mut self, state: &mut [u8], segment: usize) -> Result<()> {
        let next = self.require_state(state)?;
        if segment > next {
            return Err(Error::Standing { what: "segment", expected: segment, got: next });
        }
        if segment == next {
            return Ok(());
        }
        self.load_decided(state, next);
        let disclosed = &state[self.layout.disclosed.clone()];
        bits::words_from_bytes(self.state.parts().disclosed, disclosed);
        self.state.rollback(segment);
        let end = self.state.partition().segments()[..next].last().map_or(0, |segment| segment.words().end);
        let word = &self.state.parts().word[..end];
        bits::bytes_from_words(&mut state[self.layout.word.clone()][..8 * end], word);
        state[NEXT].copy_from_slice(&(segment as u32).to_le_bytes());
        state[STOPPED].fill(0);
        Ok(())
    }

    /// Alice's block, if every segment was decided rightly.
    ///
    /// # Errors
    /// [`Error::Length`]; [`Error::ForeignState`]; [`Error::Standing`] if not all segments are decided. `decoded` is then
    /// untouched.
    pub fn finish(&mut self, state: &[u8], decoded: &mut [u8]) -> Result<()> {
        let next = self.require_state(state)?;
        input::require_bytes(&self.code, "decoded", decoded.len())?;
        if next != self.segment_count() {
            return Err(Error::Standing { what: "states", expected: self.segment_count(), got: next });
        }
        let parts = state[self.layout.base.clone()].iter().zip(&state[self.layout.word.clone()]);
        for (decoded, (base, word)) in decoded.iter_mut().zip(parts) {
            *decoded = base ^ word;
        }
        Ok(())
    }

    fn require_input(&self, input: Input) -> Result<()> {
        if self.input == input { Ok(()) } else { Err(Error::ForeignState { what: "kind of input" }) }
    }

    fn require_state_length(&self, state: &[u8]) -> Result<()> {
        let (expected, got) = (self.layout.bytes(), state.len());
        if got == expected { Ok(()) } else { Err(Error::Length { what: "states", expected, got }) }
    }

    /// The segment where a state of this decoder stands.
    fn require_state(&self, state: &[u8]) -> Result<usize> {
        self.require_state_length(state)?;
        if number(&state[FINGERPRINT]) != self.fingerprint {
            return Err(Error::ForeignState { what: "code, cut, precision or input" });
        }
        let next = number(&state[NEXT]) as usize;
        if next > self.segment_count() {
            return Err(Error::ForeignState { what: "segment" });
        }
        Ok(next)
    }

    /// The words of decided segments, into the machine.
    fn load_decided(&mut self, state: &[u8], next: usize) {
        let end = self.state.partition().segments()[..next].last().map_or(0, |segment| segment.words().end);
        let bytes = &state[self.layout.word.clone()][..8 * end];
        bits::words_from_bytes(&mut self.state.parts().word[..end], bytes);
        self.state.resume(next);
    }

    /// What a run needs at once, into the machine; the magnitudes.
    fn load(&mut self, state: &[u8], next: usize) -> Result<Magnitudes<T>> {
        self.load_decided(state, next);
        let Parts { target, before, .. } = self.state.parts();
        values_from_bytes(target, &state[self.layout.target.clone()]);
        values_from_bytes(before, &state[self.layout.before.clone()]);
        if self.input == Input::Soft {
            let sound = T::from_bytes(&state[self.layout.input.clone()], &mut self.channel);
            let magnitudes = Magnitudes::from(T::CERTAIN);
            return if sound { Ok(magnitudes) } else { Err(Error::ForeignState { what: "range of values" }) };
        }
        let [zero, one] = MAGNITUDES.map(|range| {
            let bytes = state[range].as_chunks().0.first().copied().unwrap_or_default();
            T::exactly(f32::from_le_bytes(bytes))
        });
        let magnitudes = zero.zip(one).map(|(at_zero, at_one)| Magnitudes { at_zero, at_one });
        let magnitudes = magnitudes.and_then(|magnitudes| magnitudes.require().ok());
        magnitudes.ok_or(Error::ForeignState { what: "magnitude" })
    }
}

/// The words of a part of a state: where they lie if they can be read there, else in `copy`.
fn borrowed<'a>(bytes: &'a [u8], copy: &'a mut [u64]) -> &'a [u64] {
    bits::words_of_bytes(bytes).unwrap_or_else(|| {
        bits::words_from_bytes(copy, bytes);
        copy
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

fn bytes_from_values(bytes: &mut [u8], values: &[u32]) {
    for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *bytes = value.to_le_bytes();
    }
}

fn values_from_bytes(values: &mut [u32], bytes: &[u8]) {
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
        *value = u32::from_le_bytes(*bytes);
    }
}

/// Leaves in front of `out` the bits of `node` of a block.
fn narrowed(block: &[u64], node: &Range<usize>, out: &mut [u64]) {
    let mut length = block.len() / 2;
    if node.len() == block.len() {
        out[..block.len()].copy_from_slice(block);
        return;
    }
    let (low, high) = block.split_at(length);
    out[..length].copy_from_slice(high);
    let mut start = length;
    if node.start < length {
        bits::xor_into(out, low);
        start = 0;
    }
    while length > node.len() {
        length /= 2;
        let (low, high) = out[..2 * length].split_at_mut(length);
        if node.start < start + length {
            bits::xor_into(low, high);
        } else {
            low.copy_from_slice(high);
            start += length;
        }
    }
}

/// A number that other codes, cuts, precisions and inputs hardly share.
fn fingerprint<T: Llr>(code: &Code, partition: &Partition, input: Input) -> u64 {
    let cut = partition.segments().iter().map(|cut| u64::from(cut.log_length()) << 32 | u64::from(cut.check_mask()));
    let kind = [code.payload_length() as u64, u64::from(input == Input::Soft), size_of::<T>() as u64];
    let words = kind.into_iter().chain(cut).chain(code.info().iter().copied());
    // FNV-1a over words, with a shift so that high bits come back down.
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        let mixed = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        mixed ^ mixed >> 29
    })
}
