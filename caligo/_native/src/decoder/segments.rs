//! The segmented decode: a block is decided segment by segment, each with a check of its own.
//!
//! A code may say that a check is disclosed for each of the runs of u that a block is cut into. Such a segment is the subtree
//! of a node, and the node's bits, its *segment word*, are what the check covers. Once a segment's check has singled out one
//! path there is nothing that later segments could be wrong about, so exactly one path goes on: above the segments this is
//! a plain successive cancellation, and below it every segment is a block of its own, decoded with whatever list it needs.
//! Most need a short one; where no survivor has the check, that segment alone is decoded again with the next list size.
//!
//! The machine can be stopped between segments. All it knows is which segment is next, the words decided so far, and what
//! has been disclosed of those to come: LLRs of a stage are computed when a segment needs them and remember whose they are,
//! so going back is a matter of undoing combinations of words.
//!
//! Information positions of a segment may be disclosed one by one. Those are frozen from then on, and the segment word is
//! known up to a word of the smaller code: the transform of the known values, which takes the part that the channel's offset
//! has for a whole block (module [`decoder`](super)). Only the program of that segment is compiled again.
//!
//! Not here: what a list does within a segment ([`list`](super::list), [`single`]), the check of the whole block, and
//! blocks that wait for an answer ([`interactive`](super::interactive)).

use super::Magnitudes;
use super::list::{ListState, ListTask};
use super::schedule::{self, Flavour, Instruction};
use super::shared::BLOCK;
use super::single::{self, Channel, Form, SingleState, SingleTask, Step};
use super::workspace::AlignedBuffer;
use crate::bits;
use crate::code::{Attempt, Code, ListSizes, Partition, Segment};
use crate::error::Result;
use crate::memory;
use crate::simd::frames::Planes;
use crate::simd::{EngineName, KernelLlr, Kernels, Task};
use crate::transform::transform_words;

/// No node.
const NOBODY: u32 = u32::MAX;

/// State of a segmented decode.
pub struct SegmentedState<T: KernelLlr> {
    partition: Partition,
    list_sizes: ListSizes,
    /// What each segment runs while nothing of it is disclosed: nothing if it has no information positions.
    programs: Box<[Programs]>,
    /// What segments run of which something is disclosed.
    disclosing: Option<Disclosing>,
    single: Option<SingleState<T>>,
    list: Option<Box<ListState<T>>>,
    /// LLRs of one node of each stage, from the shortest segments' up.
    alpha: Box<[AlignedBuffer<T>]>,
    /// The node of its stage, from the left, that each row of `alpha` belongs to, and how its LLRs are held.
    owner: Box<[(u32, Form<T>)]>,
    /// Words of decided segments, combined as far as both halves of a node are decided; of the others what is known of their
    /// part of u.
    word: AlignedBuffer<u64>,
    /// The word that was last tried.
    survivor: AlignedBuffer<u64>,
    /// Linear check values that are looked for.
    target: AlignedBuffer<u32>,
    /// Linear check value of the words before each decided segment and the next, where checks cover those.
    before: AlignedBuffer<u32>,
    /// The segment to be decided next.
    next: usize,
    /// Words before this one are as they were when the block was put in.
    changed: usize,
}

/// The programs of a segment, where they are wanted.
#[derive(Default)]
struct Programs {
    single: Box<[Step]>,
    list: Box<[Instruction]>,
}

/// What a segment may be tried with.
#[derive(Clone, Copy)]
struct Wanted {
    single: bool,
    list: bool,
}

impl Wanted {
    fn of(segment: &Segment, list_sizes: ListSizes) -> Self {
        // Without a check there is one attempt, with the largest list.
        let first = if segment.is_checked() { list_sizes.smallest() } else { list_sizes.largest() };
        Self { single: first == 1, list: list_sizes.largest() > 1 }
    }
}

impl Programs {
    fn new(code: &Code, wanted: Wanted) -> Result<Self> {
        if code.info().iter().all(|&word| word == 0) {
            return Ok(Self::default());
        }
        Ok(Self {
            single: if wanted.single { single::compile(code)? } else { Box::default() },
            list: if wanted.list { schedule::compile(code, Flavour::List)? } else { Box::default() },
        })
    }

    /// Bytes of the programs of `code`.
    fn bytes_for(code: &Code, wanted: Wanted) -> usize {
        if code.info().iter().all(|&word| word == 0) {
            return 0;
        }
        let single = if wanted.single { single::bytes_for(code) } else { 0 };
        single + if wanted.list { schedule::bytes_for(code, Flavour::List) } else { 0 }
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.single) + size_of_val(&*self.list)
    }
}

/// Scratch for segments of which something is disclosed. They are tried with lists, or with single decodes where there are
/// no lists: one program.
struct Disclosing {
    /// What is disclosed of the block.
    disclosed: AlignedBuffer<u64>,
    /// Information positions of the next segment that are not.
    info: AlignedBuffer<u64>,
    /// The transform of what is known of its part of u.
    known: AlignedBuffer<u64>,
    single: Vec<Step>,
    list: Vec<Instruction>,
}

impl Disclosing {
    /// Steps and instructions to make room for.
    fn most(code: &Code, partition: &Partition, list_sizes: ListSizes) -> (usize, usize) {
        let most = |of: fn(&[u64], u32) -> usize| {
            let segments = partition.segments().iter();
            segments.map(|cut| code.info().get(cut.words()).map_or(0, |info| of(info, cut.log_length()))).max()
        };
        match list_sizes.largest() {
            1 => (most(single::most_steps).unwrap_or(0), 0),
            _ => (0, most(schedule::most_instructions).unwrap_or(0)),
        }
    }

    fn new(code: &Code, partition: &Partition, list_sizes: ListSizes) -> Result<Self> {
        let longest = 1 << (partition.log_lengths().1 - 6);
        let (steps, instructions) = Self::most(code, partition, list_sizes);
        Ok(Self {
            disclosed: AlignedBuffer::new(code.words()),
            info: AlignedBuffer::new(longest),
            known: AlignedBuffer::new(longest),
            single: memory::reserved(steps)?,
            list: memory::reserved(instructions)?,
        })
    }

    fn bytes_for(code: &Code, partition: &Partition, list_sizes: ListSizes) -> usize {
        let (steps, instructions) = Self::most(code, partition, list_sizes);
        AlignedBuffer::<u64>::bytes_for(code.words())
            + 2 * AlignedBuffer::<u64>::bytes_for(1 << (partition.log_lengths().1 - 6))
            + steps * size_of::<Step>()
            + instructions * size_of::<Instruction>()
    }

    fn bytes(&self) -> usize {
        self.disclosed.bytes()
            + self.info.bytes()
            + self.known.bytes()
            + self.single.capacity() * size_of::<Step>()
            + self.list.capacity() * size_of::<Instruction>()
    }
}

/// What the next segment is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Every position is known.
    Known,
    /// Every position is an information position, and there is no check.
    Free,
    /// Nothing is disclosed of it.
    Plain,
    /// Something is.
    Disclosed,
}

impl<T: KernelLlr> SegmentedState<T> {
    /// State for the segments of a code, of which positions are disclosed if `discloses`.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::error::Error::Memory).
    pub fn new(code: &Code, partition: Partition, list_sizes: ListSizes, discloses: bool) -> Result<Self> {
        let (shortest, longest) = partition.log_lengths();
        let segments = partition.segments();
        let programs = |segment| Programs::new(&code.segment(segment), Wanted::of(segment, list_sizes));
        let stages = Self::stages(&partition);
        Ok(Self {
            list_sizes,
            programs: segments.iter().map(programs).collect::<Result<_>>()?,
            disclosing: if discloses { Some(Disclosing::new(code, &partition, list_sizes)?) } else { None },
            single: (list_sizes.smallest() == 1).then(|| SingleState::new(longest)),
            list: (list_sizes.largest() > 1).then(|| Box::new(ListState::new(longest, list_sizes.largest()))),
            alpha: stages.map(|stage| AlignedBuffer::new(1 << stage)).collect(),
            owner: vec![(NOBODY, Form::Values); (Self::stages(&partition).end - shortest) as usize].into_boxed_slice(),
            word: AlignedBuffer::new(code.words()),
            survivor: AlignedBuffer::new(1 << (longest - 6)),
            target: AlignedBuffer::new(segments.len()),
            before: AlignedBuffer::new(segments.len()),
            next: 0,
            changed: 0,
            partition,
        })
    }

    /// Stages whose LLRs are kept: not the root's, unless it is the segment.
    fn stages(partition: &Partition) -> std::ops::Range<u32> {
        let (shortest, _) = partition.log_lengths();
        shortest..partition.log_length().max(shortest + 1)
    }

    /// Bytes that [`SegmentedState::new`] allocates, itself included, without the programs of the segments and what
    /// disclosing takes.
    #[must_use]
    pub fn bytes_for(partition: &Partition, list_sizes: ListSizes) -> usize {
        let (_, longest) = partition.log_lengths();
        let count = partition.segments().len();
        let single = if list_sizes.smallest() == 1 { SingleState::<T>::bytes_for(longest) } else { 0 };
        let list = match list_sizes.largest() {
            1 => 0,
            largest => ListState::<T>::bytes_for(longest, largest) + size_of::<ListState<T>>(),
        };
        let stages = Self::stages(partition);
        size_of::<Self>()
            + single
            + list
            + stages.len() * (size_of::<AlignedBuffer<T>>() + size_of::<(u32, Form<T>)>())
            + stages.map(|stage| AlignedBuffer::<T>::bytes_for(1 << stage)).sum::<usize>()
            + AlignedBuffer::<u64>::bytes_for(1 << (partition.log_length() - 6))
            + AlignedBuffer::<u64>::bytes_for(1 << (longest - 6))
            + 2 * AlignedBuffer::<u32>::bytes_for(count)
            + count * (size_of::<Programs>() + size_of::<Segment>())
    }

    /// Bytes of the programs of a code's segments.
    #[must_use]
    pub fn program_bytes(code: &Code, partition: &Partition, list_sizes: ListSizes) -> usize {
        let segments = partition.segments().iter();
        segments.map(|segment| Programs::bytes_for(&code.segment(segment), Wanted::of(segment, list_sizes))).sum()
    }

    /// Bytes that disclosing takes.
    #[must_use]
    pub fn disclosing_bytes(code: &Code, partition: &Partition, list_sizes: ListSizes) -> usize {
        Disclosing::bytes_for(code, partition, list_sizes)
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
            + self.survivor.bytes()
            + self.target.bytes()
            + self.before.bytes()
            + self.programs.iter().map(Programs::bytes).sum::<usize>()
            + size_of_val(&*self.programs)
            + size_of_val(self.partition.segments())
            + self.disclosing.as_ref().map_or(0, Disclosing::bytes)
    }

    /// How blocks are cut.
    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Segments of a block.
    #[must_use]
    pub fn count(&self) -> usize {
        self.partition.segments().len()
    }

    /// The segment to be decided next; all of them are when it is [`SegmentedState::count`].
    #[must_use]
    pub fn next(&self) -> usize {
        self.next
    }

    /// A block is put in or taken out.
    pub(super) fn parts(&mut self) -> Parts<'_> {
        Parts {
            word: &mut self.word,
            disclosed: self.disclosing.as_mut().map_or(&mut [][..], |disclosing| &mut disclosing.disclosed),
            target: &mut self.target,
            before: &mut self.before,
        }
    }

    /// A block of which the segments before `next` are decided, and the rest is as [`SegmentedState::parts`] was filled.
    pub(super) fn resume(&mut self, next: usize) {
        self.owner.fill((NOBODY, Form::Values));
        self.next = next;
        self.changed = self.word.len();
    }

    /// The words that have changed since [`SegmentedState::resume`] among those of decided segments.
    pub(super) fn changed(&self) -> std::ops::Range<usize> {
        let end = self.partition.segments()[..self.next].last().map_or(0, |segment| segment.words().end);
        self.changed.min(end)..end
    }

    /// A new block: `offset` are the segment words of y ⊕ v, `disclosed` the linear check values of Alice's. Those of segments
    /// without information positions are not looked at.
    pub fn begin(&mut self, offset: &[u64], disclosed: impl Iterator<Item = u32>) {
        for (target, (check, value)) in self.target.iter_mut().zip(self.partition.checks_of(offset).zip(disclosed)) {
            *target = value ^ check;
        }
        self.word.fill(0);
        if let Some(disclosing) = &mut self.disclosing {
            disclosing.disclosed.fill(0);
        }
        self.resume(0);
    }

    /// Decides segments of a block of `code`, the state's, up to `end`, each with the attempts it needs. False: no survivor of
    /// any attempt at segment [`SegmentedState::next`] has its check.
    #[must_use]
    pub fn run_to(&mut self, engine: EngineName, code: &Code, root: Root<'_, T>, end: usize) -> bool {
        while self.next < end.min(self.count()) {
            if !self.decide(engine, code, root, self.list_sizes.attempts()) {
                return false;
            }
        }
        true
    }

    /// Decides the next segment in one attempt, of one of the list sizes, if a survivor has its check: the best such one.
    /// Otherwise the segment remains the next.
    #[must_use]
    pub fn retry(&mut self, engine: EngineName, code: &Code, root: Root<'_, T>, attempt: Attempt) -> bool {
        self.decide(engine, code, root, std::iter::once(attempt))
    }

    /// What the next segment is; if all of it is known, with its word as the survivor.
    fn prepare(&mut self, segment: &Segment, info: &[u64]) -> Kind {
        let range = segment.words();
        if let Some(parts) = &mut self.disclosing
            && parts.disclosed[range.clone()].iter().any(|&word| word != 0)
        {
            let known = &mut parts.known[..range.len()];
            known.copy_from_slice(&self.word[range.clone()]);
            bits::and_into(known, &parts.disclosed[range.clone()]);
            transform_words(known);
            let unknown = &mut parts.info[..range.len()];
            for ((unknown, info), disclosed) in unknown.iter_mut().zip(info).zip(&parts.disclosed[range.clone()]) {
                *unknown = info & !disclosed;
            }
            if unknown.iter().all(|&word| word == 0) {
                self.survivor[..range.len()].copy_from_slice(known);
                return Kind::Known;
            }
            if self.list_sizes.largest() > 1 {
                schedule::compile_into(unknown, segment.log_length(), Flavour::List, &mut parts.list);
            } else {
                single::compile_into(unknown, segment.log_length(), &mut parts.single);
            }
            return Kind::Disclosed;
        }
        if info.iter().all(|&word| word == 0) {
            self.survivor[..range.len()].fill(0);
            return Kind::Known;
        }
        if !segment.is_checked() && info.iter().all(|&word| word == u64::MAX) { Kind::Free } else { Kind::Plain }
    }

    fn decide(
        &mut self,
        engine: EngineName,
        code: &Code,
        root: Root<'_, T>,
        attempts: impl Iterator<Item = Attempt>,
    ) -> bool {
        let Some(&segment) = self.partition.segments().get(self.next) else { return false };
        let range = segment.words();
        let Some(info) = code.info().get(range.clone()) else { return false };
        let (target, before) = (self.target[self.next], self.before[self.next]);
        let kind = self.prepare(&segment, info);
        if kind == Kind::Known {
            // Its word is right: if its check is not, a word before it is wrong.
            let survivor = &self.survivor[..range.len()];
            let found = !self.partition.is_cumulative() || segment.check_after(before, survivor) == target;
            if found {
                self.word[range].copy_from_slice(survivor);
                self.settled();
            }
            return found;
        }
        let programs = &self.programs[self.next];
        let (single, list, info, known) = match &self.disclosing {
            Some(parts) if kind == Kind::Disclosed => {
                (&*parts.single, &*parts.list, &parts.info[..range.len()], &parts.known[..range.len()])
            }
            _ => (&*programs.single, &*programs.list, info, &[][..]),
        };
        let shortest = self.partition.log_lengths().0;
        let descend = Descend {
            alpha: &mut self.alpha,
            owner: &mut self.owner,
            word: &self.word,
            root,
            log_length: self.partition.log_length(),
            shortest,
            segment,
            flip: known,
        };
        T::descend(engine, descend);
        let channel = &*self.alpha[(segment.log_length() - shortest) as usize];
        let survivor = &mut self.survivor[..range.len()];
        let accepted = |word: &mut [u64]| {
            bits::xor_into(word, known);
            segment.check_after(before, word) == target
        };
        let mut found = false;
        if kind == Kind::Free {
            T::dispatch(engine, Signs { channel, out: survivor });
            found = true;
        } else {
            // Without a check the only attempt cannot fail.
            let only = Attempt { list_size: self.list_sizes.largest(), last: false };
            for attempt in attempts.map(|attempt| if segment.is_checked() { attempt } else { only }) {
                if attempt.list_size > 1 {
                    if let Some(state) = &mut self.list {
                        state.set_attempt(attempt, segment.log_length());
                        T::decode_list(engine, ListTask { program: list, state, channel });
                        found = state.pick(survivor, accepted);
                    }
                } else if let (Some(state), [_, ..]) = (&mut self.single, single) {
                    // What is disclosed has one program, for lists where there are any.
                    state.set_length(segment.log_length());
                    let channel = Channel::Values(channel);
                    T::decode_single(engine, SingleTask { program: single, info, state, channel });
                    survivor.copy_from_slice(state.word());
                    found = accepted(survivor);
                }
                if found {
                    break;
                }
            }
        }
        if found {
            self.word[range].copy_from_slice(survivor);
            self.settled();
        }
        found
    }

    /// Goes on to the next segment, and combines the words of every node that is decided now.
    fn settled(&mut self) {
        let segment = self.partition.segments()[self.next];
        let (range, before) = (segment.words(), self.before[self.next]);
        self.next += 1;
        if self.partition.is_cumulative()
            && let Some(value) = self.before.get_mut(self.next)
        {
            *value = segment.value_after(before, &self.word[range.clone()]);
        }
        self.changed = self.changed.min(range.start);
        for words in nodes_that_end(range, self.word.len()) {
            self.changed = self.changed.min(words.start);
            combine(words, &mut self.word);
        }
    }

    /// Goes back to `segment`, one that has been decided, as if later ones had not been. What was disclosed stays known.
    pub fn rollback(&mut self, segment: usize) {
        while self.next > segment {
            self.next -= 1;
            let range = self.partition.segments()[self.next].words();
            // A combination is its own inverse.
            for words in nodes_that_end(range.clone(), self.word.len()).rev() {
                combine(words, &mut self.word);
            }
            let word = &mut self.word[range.clone()];
            match &self.disclosing {
                Some(disclosing) => {
                    transform_words(word);
                    bits::and_into(word, &disclosing.disclosed[range]);
                }
                None => word.fill(0),
            }
        }
        self.owner.fill((NOBODY, Form::Values));
    }

    /// The word of the block. If it is not decided, the next segment is taken as the best survivor of the last attempt and
    /// those after it as zeros, and all become decided.
    pub fn finish(&mut self) -> &[u64] {
        if let Some(segment) = self.partition.segments().get(self.next) {
            let range = segment.words();
            self.word[range.clone()].copy_from_slice(&self.survivor[..range.len()]);
            self.word[range.end..].fill(0);
            while self.next < self.count() {
                self.settled();
            }
        }
        &self.word
    }
}

/// What a block is between segments.
pub(super) struct Parts<'a> {
    /// Words decided so far, and what is known of the others.
    pub word: &'a mut [u64],
    /// What is disclosed.
    pub disclosed: &'a mut [u64],
    /// Linear check values that are looked for.
    pub target: &'a mut [u32],
    /// Linear check values of the words before each segment, up to the next.
    pub before: &'a mut [u32],
}

/// The nodes above a segment that are decided as soon as it is, the smallest first: their words.
fn nodes_that_end(
    segment: std::ops::Range<usize>,
    words: usize,
) -> impl DoubleEndedIterator<Item = std::ops::Range<usize>> {
    let shortest = segment.len().trailing_zeros() + 1;
    let longest = segment.end.trailing_zeros().min(words.trailing_zeros());
    (shortest..longest + 1).map(move |log_words| segment.end - (1 << log_words)..segment.end)
}

fn combine(node: std::ops::Range<usize>, word: &mut [u64]) {
    let node = &mut word[node];
    let (low, high) = node.split_at_mut(node.len() / 2);
    bits::xor_into(low, high);
}

/// Channel LLRs of a block.
#[derive(Clone, Copy)]
pub enum Root<'a, T> {
    /// As they are.
    Values(&'a [T]),
    /// Hard decisions.
    Hard {
        /// Signs: set where negative.
        negative: &'a [u64],
        /// What is added to Bob's bits in the signs: y ⊕ v. Looked at if there are two magnitudes.
        base: &'a [u64],
        /// The magnitudes, by Bob's bit.
        magnitudes: Magnitudes<T>,
        /// Positions from here on are certain.
        payload: usize,
    },
}

impl<T: KernelLlr> Root<'_, T> {
    /// 64 positions.
    #[inline(always)]
    fn block<E: Kernels<T>>(&self, engine: E, index: usize, out: &mut [T; BLOCK]) {
        match *self {
            Root::Values(values) => {
                if let Some(block) = values.as_chunks().0.get(index) {
                    *out = *block;
                }
            }
            Root::Hard { negative, base, magnitudes, payload } => {
                let signs = negative[index];
                match magnitudes.uniform() {
                    Some(magnitude) => engine.expand(&[signs], magnitude, out),
                    None => {
                        let ones = base[index] ^ signs;
                        let planes = Planes { one: &[!ones], two: &[ones], negative: &[signs] };
                        engine.expand_frames(planes, magnitudes.at_zero, magnitudes.at_one, std::slice::from_mut(out));
                    }
                }
                if BLOCK * (index + 1) > payload {
                    out[payload.saturating_sub(BLOCK * index)..].fill(T::CERTAIN);
                }
            }
        }
    }

    /// All of them.
    #[inline(always)]
    fn whole<E: Kernels<T>>(&self, engine: E, out: &mut [T]) {
        for (index, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            self.block(engine, index, out);
        }
    }

    /// Those of a child, `left` being the bits of the left child for a right one; as planes if they may be and are wanted
    /// `packed`; how they are.
    #[inline(always)]
    fn child<E: Kernels<T>>(
        &self,
        engine: E,
        left: Option<&[u64]>,
        packed: bool,
        out: &mut AlignedBuffer<T>,
    ) -> Form<T> {
        let words = 2 * out.len() / BLOCK;
        match *self {
            Root::Values(values) => Form::Values.child(engine, (values, &[]), words, left, packed, out),
            Root::Hard { negative, magnitudes, payload, .. }
                if payload == BLOCK * words && magnitudes.uniform().is_some() =>
            {
                Form::Signs(magnitudes.at_zero).child(engine, (&[], negative), words, left, packed, out)
            }
            Root::Hard { .. } => {
                let (mut low, mut high) = ([T::default(); BLOCK], [T::default(); BLOCK]);
                for (index, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
                    self.block(engine, index, &mut low);
                    self.block(engine, words / 2 + index, &mut high);
                    match left {
                        None => engine.left_block(&low, &high, out),
                        Some(left) => engine.right_block(&low, &high, left[index], out),
                    }
                }
                Form::Values
            }
        }
    }
}

/// Computes the LLRs of a segment from the nearest node above whose LLRs are there.
pub struct Descend<'a, T: KernelLlr> {
    alpha: &'a mut [AlignedBuffer<T>],
    owner: &'a mut [(u32, Form<T>)],
    word: &'a [u64],
    root: Root<'a, T>,
    log_length: u32,
    /// The stage of the first row of `alpha`.
    shortest: u32,
    segment: Segment,
    /// Where the segment's LLRs change their signs: a word known to be in its own, or none.
    flip: &'a [u64],
}

impl<T: KernelLlr> Task<T> for Descend<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<E: Kernels<T>>(self, engine: E) {
        let Self { alpha, owner, word, root, log_length, shortest, segment, flip } = self;
        let start = segment.words().start;
        let first = (segment.log_length() - shortest) as usize;
        for at in (first..alpha.len()).rev() {
            let stage = shortest + at as u32;
            let words = 1usize << (stage - 6);
            let node = start / words;
            if owner[at].0 == node as u32 {
                continue;
            }
            let (below, above) = alpha.split_at_mut(at + 1);
            let out = &mut below[at];
            let left = (!node.is_multiple_of(2)).then(|| &word[(node - 1) * words..][..words]);
            // The segment's own are wanted as values.
            let packed = at > first;
            let form = match above.first() {
                Some(parent) => owner[at + 1].1.child(engine, (parent, parent.words()), 2 * words, left, packed, out),
                None if stage < log_length => root.child(engine, left, packed, out),
                None => {
                    root.whole(engine, out);
                    Form::Values
                }
            };
            owner[at] = (node as u32, form);
        }
        if !flip.is_empty() {
            // 0 ± LLR.
            let zeros = [T::default(); BLOCK];
            for (block, &flip) in alpha[first].as_chunks_mut::<BLOCK>().0.iter_mut().zip(flip) {
                let llrs = *block;
                engine.right_block(&llrs, &zeros, flip, block);
            }
            owner[first].0 = NOBODY;
        }
    }
}

/// Hard decisions of a node.
struct Signs<'a, T> {
    channel: &'a [T],
    out: &'a mut [u64],
}

impl<T: KernelLlr> Task<T> for Signs<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<E: Kernels<T>>(self, engine: E) {
        engine.signs(self.channel, self.out);
    }
}
