//! What a decode between questions promises: the written rules, on every engine, wherever a block has waited meanwhile; and
//! that no row of bytes makes it do anything worse than fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use caligo_polar::bits;
use caligo_polar::checksum::Check;
use caligo_polar::code::{Code, ListSizes, Partition};
use caligo_polar::decoder::Magnitudes;
use caligo_polar::decoder::interactive::{Input, InteractiveDecoder, required_bytes, state_bytes};
use caligo_polar::decoder::naive::Interactive;
use caligo_polar::decoder::schedule::{self, Flavour};
use caligo_polar::decoder::single;
use caligo_polar::error::Error;
use caligo_polar::simd::{EngineName, KernelLlr};
use caligo_polar::transform::polar_transform;
use common::{Rng, information_set, keep_below};

mod common;

const SIZES: [(&[usize], usize); 7] =
    [(&[], 1), (&[], 8), (&[4], 32), (&[1, 4], 16), (&[1], 2), (&[1, 2, 4, 8, 16], 32), (&[8], 8)];

/// A code, its segments, and how they are tried.
struct Case {
    code: Code,
    segments: Vec<(usize, u32)>,
    list_sizes: ListSizes,
}

fn cut(rng: &mut Rng, length: usize, segments: &mut Vec<(usize, u32)>) {
    if length > 64 && rng.below(3) > 0 {
        cut(rng, length / 2, segments);
        cut(rng, length / 2, segments);
    } else {
        segments.push((length, [0, 1, 6, 11, 12, 32][rng.below(6) as usize]));
    }
}

fn random_case(rng: &mut Rng, largest: u64) -> Case {
    let log_length = 6 + rng.below(largest - 5);
    let length = 1usize << log_length;
    let mut info = information_set(rng, length);
    if rng.below(4) > 0 {
        let threshold = 0.42 + 0.15 * rng.unit();
        info.fill(0);
        for index in 0..length {
            let weight = f64::from((index as u32).count_ones()) / log_length as f64;
            info[index / 64] |=
                u64::from(0.6 * weight + 0.4 * index as f64 / length as f64 > threshold) << (index % 64);
        }
    }
    let shortened = if rng.below(2) == 0 { 0 } else { rng.below(length as u64 / 2) as usize };
    keep_below(&mut info, length - shortened);
    let mut segments = vec![];
    cut(rng, length, &mut segments);
    let (escalation, list_size) = SIZES[rng.below(SIZES.len() as u64) as usize];
    Case {
        code: Code::new(length, &info, shortened, Check::None).unwrap(),
        segments,
        list_sizes: ListSizes::escalating(escalation, list_size).unwrap(),
    }
}

fn random_block(rng: &mut Rng, code: &Code, density: f64) -> Vec<u64> {
    let mut block = vec![0u64; code.words()];
    for position in 0..code.payload_length() {
        block[position / 64] |= u64::from(rng.unit() < density) << (position % 64);
    }
    block
}

fn packed(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn transformed(words: &[u64]) -> Vec<u64> {
    let mut words = words.to_vec();
    let length = 64 * words.len();
    polar_transform(&mut words, length).unwrap();
    words
}

fn unpacked(words: &[u64]) -> Vec<bool> {
    (0..64 * words.len()).map(|position| bits::get(words, position)).collect()
}

/// What Bob gets to know.
enum Seen<T> {
    Hard(Magnitudes<T>),
    Soft(Vec<f32>),
}

/// A block in every engine's decoder and in the naive one.
struct Waiting<'a, T: KernelLlr> {
    naive: Interactive<'a, T>,
    states: Vec<Vec<u8>>,
    u: Vec<u64>,
}

fn begin<'a, T: KernelLlr>(
    rng: &mut Rng,
    case: &'a Case,
    decoders: &mut [InteractiveDecoder<T>],
    seen: impl Fn(&mut Rng) -> Seen<T>,
) -> Waiting<'a, T> {
    let code = &case.code;
    let key = random_block(rng, code, 0.5);
    let density = [0.01, 0.03, 0.08][rng.below(3) as usize];
    let mut received = random_block(rng, code, density);
    bits::xor_into(&mut received, &key);
    let u = transformed(&key);
    let frozen: Vec<u64> = u.iter().zip(code.info()).map(|(u, info)| u & !info).collect();
    let mut words = vec![];
    let check_values: Vec<u32> = case
        .segments
        .iter()
        .map(|&(length, check_bits)| {
            words.extend(transformed(&u[words.len()..words.len() + length / 64]));
            let linear = Check::Crc32.value(&packed(&words)) ^ Check::Crc32.value(&vec![0; 8 * words.len()]);
            (u64::from(linear) & ((1 << check_bits) - 1)) as u32
        })
        .collect();
    let mut split = key.clone();
    let mut values = vec![0; case.segments.len()];
    Partition::new(code.block_length(), &case.segments).unwrap().check_values(&mut split, &mut values);
    assert_eq!(values, check_values);
    let seen = seen(rng);
    if let Seen::Soft(values) = &seen {
        // An LLR of zero is a 0.
        for position in (0..code.block_length()).filter(|&position| values[position] == 0.0) {
            bits::set(&mut received, position, false);
        }
    }
    let certain = |position: usize, value: T| if position < code.payload_length() { value } else { T::CERTAIN };
    let magnitudes = match &seen {
        Seen::Hard(pair) => (0..code.block_length())
            .map(|position| certain(position, if bits::get(&received, position) { pair.at_one } else { pair.at_zero }))
            .collect(),
        Seen::Soft(values) => {
            values.iter().enumerate().map(|(position, &value)| certain(position, T::from_nats(value))).collect()
        }
    };
    let states = decoders
        .iter_mut()
        .map(|decoder| {
            let mut state = vec![0xaa; decoder.state_bytes()];
            match &seen {
                Seen::Hard(pair) => {
                    decoder.begin(&packed(&received), &packed(&frozen), &check_values, *pair, &mut state).unwrap();
                }
                Seen::Soft(values) => {
                    let llr: Vec<f32> = (0..code.block_length())
                        .map(
                            |position| {
                                if bits::get(&received, position) { -values[position] } else { values[position] }
                            },
                        )
                        .collect();
                    decoder.begin_soft(&llr, &packed(&frozen), &check_values, &mut state).unwrap();
                }
            }
            state
        })
        .collect();
    let known = (0..code.block_length())
        .map(|position| (!bits::get(code.info(), position)).then(|| bits::get(&u, position)))
        .collect();
    let naive = Interactive {
        code,
        segments: &case.segments,
        list_sizes: case.list_sizes,
        received: unpacked(&received),
        magnitudes,
        known,
        disclosed: vec![false; code.block_length()],
        check_values,
        decided: vec![],
        stopped: None,
    };
    Waiting { naive, states, u }
}

impl<T: KernelLlr> Waiting<'_, T> {
    fn run(&mut self, decoders: &mut [InteractiveDecoder<T>]) -> usize {
        let stopped = self.naive.run();
        for (decoder, state) in decoders.iter_mut().zip(&mut self.states) {
            // A row may lie anywhere.
            let mut memory = [&[0; 3], &state[..]].concat();
            assert_eq!(decoder.run(&mut memory[3..]).unwrap(), stopped, "{}", decoder.engine().name());
            state.copy_from_slice(&memory[3..]);
        }
        assert!(self.states.iter().all(|state| *state == self.states[0]), "states differ");
        stopped
    }

    /// Discloses some of what is not known from segment `from` on.
    fn disclose(&mut self, rng: &mut Rng, decoders: &mut [InteractiveDecoder<T>], from: usize) -> usize {
        let start: usize = self.naive.segments[..from].iter().map(|segment| segment.0).sum();
        let length = self.naive.segments[from].0;
        let mut positions: Vec<usize> =
            (start..self.naive.known.len()).filter(|&position| self.naive.known[position].is_none()).collect();
        let here = positions.iter().filter(|&&position| position < start + length).count();
        let share = [0.02, 0.3, 1.0][rng.below(3) as usize];
        // Mostly of this segment, sometimes of all that follow, in any order.
        if rng.below(4) > 0 {
            positions.truncate(here);
        }
        positions.retain(|_| rng.unit() < share);
        if rng.below(2) == 0 {
            positions.reverse();
        }
        let values: Vec<u8> = positions.iter().map(|&position| u8::from(bits::get(&self.u, position))).collect();
        let asked: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
        for (decoder, state) in decoders.iter_mut().zip(&mut self.states) {
            decoder.disclose(state, &asked, &values).unwrap();
        }
        for &position in &positions {
            self.naive.known[position] = Some(bits::get(&self.u, position));
            self.naive.disclosed[position] = true;
        }
        positions.len()
    }
}

#[derive(Default)]
struct Tally {
    stops: usize,
    through: usize,
    disclosed: usize,
    rollbacks: usize,
}

/// Blocks that take turns in one workspace a engine.
fn hold_against_the_rules<T: KernelLlr>(
    rng: &mut Rng,
    largest: u64,
    input: Input,
    tally: &mut Tally,
    seen: impl Fn(&mut Rng, usize) -> Seen<T>,
) {
    let case = random_case(rng, largest);
    let length = case.code.block_length();
    let partition = Partition::new(length, &case.segments).unwrap();
    let mut decoders: Vec<InteractiveDecoder<T>> = EngineName::ALL
        .into_iter()
        .filter(|engine| engine.available())
        .map(|engine| {
            InteractiveDecoder::new(case.code.clone(), partition.clone(), case.list_sizes, input, engine).unwrap()
        })
        .collect();
    let bytes = required_bytes::<T>(&case.code, &partition, case.list_sizes, input);
    let mut blocks: Vec<Waiting<'_, T>> =
        (0..2).map(|_| begin(rng, &case, &mut decoders, |rng| seen(rng, length))).collect();
    let mut waiting = vec![0, 1];
    for turn in 0..24 {
        if waiting.is_empty() {
            break;
        }
        let at = rng.below(waiting.len() as u64) as usize;
        let block = &mut blocks[waiting[at]];
        let stopped = block.run(&mut decoders);
        if stopped == case.segments.len() {
            let expected: Vec<bool> = block.naive.block();
            for (decoder, state) in decoders.iter_mut().zip(&block.states) {
                let mut decoded = vec![0xaa; length / 8];
                decoder.finish(state, &mut decoded).unwrap();
                let words: Vec<u64> =
                    decoded.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
                assert_eq!(unpacked(&words), expected);
            }
            tally.through += 1;
            if turn > 6 || rng.below(2) == 0 {
                waiting.swap_remove(at);
                continue;
            }
        } else {
            tally.stops += 1;
        }
        let mut from = stopped;
        if stopped > 0 && (stopped == case.segments.len() || rng.below(4) == 0) {
            from = rng.below(stopped as u64) as usize;
            for (decoder, state) in decoders.iter_mut().zip(&mut block.states) {
                decoder.rollback(state, from).unwrap();
            }
            block.naive.rollback(from);
            tally.rollbacks += 1;
        }
        if from < case.segments.len() {
            tally.disclosed += block.disclose(rng, &mut decoders, from);
        }
    }
    for block in &mut blocks {
        for (decoder, state) in decoders.iter_mut().zip(&mut block.states) {
            decoder.rollback(state, 0).unwrap();
            decoder.run(state).unwrap();
        }
        assert!(block.states.iter().all(|state| *state == block.states[0]), "states differ");
    }
    for decoder in &decoders {
        assert_eq!(decoder.allocated_bytes(), bytes);
        assert_eq!(decoder.state_bytes(), state_bytes::<T>(&partition, input));
    }
}

fn soft_values<T>(rng: &mut Rng, length: usize) -> Seen<T> {
    // Coarse, so that equal magnitudes and zeros occur; sometimes beyond what an int8 holds.
    Seen::Soft((0..length).map(|_| [0.0, 0.5, 1.5, 3.0, 4.0, 4.5, 90.0][rng.below(7) as usize]).collect())
}

fn hard_values<T: KernelLlr>(rng: &mut Rng) -> Seen<T> {
    let rates = [(0.02, 0.02), (0.01, 0.05), (0.3, 0.004)][rng.below(3) as usize];
    Seen::Hard(Magnitudes::from_crossovers(rates.0, rates.1))
}

#[test]
fn every_engine_agrees_with_the_naive_interactive_decoder() {
    let mut rng = Rng(31);
    let mut tally = Tally::default();
    for round in 0..100 {
        let largest = if round % 20 == 0 { 13 } else { 10 };
        hold_against_the_rules::<i8>(&mut rng, largest, Input::Hard, &mut tally, |rng, _| hard_values(rng));
        hold_against_the_rules::<f32>(&mut rng, largest, Input::Hard, &mut tally, |rng, _| hard_values(rng));
        hold_against_the_rules::<i8>(&mut rng, largest, Input::Soft, &mut tally, soft_values);
        hold_against_the_rules::<f32>(&mut rng, largest, Input::Soft, &mut tally, soft_values);
    }
    let Tally { stops, through, disclosed, rollbacks } = tally;
    assert!(stops > 500 && through > 500, "{stops} stops, {through} through");
    assert!(disclosed > 10_000 && rollbacks > 300, "{disclosed} disclosed, {rollbacks} sent back");
}

#[test]
fn a_row_that_was_changed_is_an_error_or_decodes_to_something_else() {
    let mut rng = Rng(32);
    let (mut refused, mut run) = (0, 0);
    for round in 0..400 {
        let case = random_case(&mut rng, 9);
        let input = if round % 2 == 0 { Input::Hard } else { Input::Soft };
        let partition = Partition::new(case.code.block_length(), &case.segments).unwrap();
        let decoder = |code: &Code| {
            InteractiveDecoder::<f32>::new(code.clone(), partition.clone(), case.list_sizes, input, EngineName::best())
                .unwrap()
        };
        let mut decoders = [decoder(&case.code)];
        let mut block = begin(&mut rng, &case, &mut decoders, |rng| match input {
            Input::Hard => hard_values(rng),
            Input::Soft => soft_values(rng, case.code.block_length()),
        });
        block.run(&mut decoders);
        let state = &mut block.states[0];
        for _ in 0..1 + rng.below(4) {
            // The header more often than the rest.
            let range = if rng.below(2) == 0 { 8..24.min(state.len()) } else { 0..state.len() };
            let at = range.start + rng.below(range.len() as u64) as usize;
            state[at] = [0, 1, 0x7f, 0xff, rng.next() as u8][rng.below(5) as usize];
        }
        let [decoder] = &mut decoders;
        let before = state.clone();
        let outcomes = [
            decoder.disclose(state, &[rng.below(case.code.block_length() as u64 + 2) as u32], &[1]).is_ok(),
            decoder.rollback(state, rng.below(case.segments.len() as u64 + 2) as usize).is_ok(),
            decoder.run(state).is_ok(),
            decoder.finish(state, &mut vec![0; case.code.block_length() / 8]).is_ok(),
        ];
        refused += usize::from(!outcomes[2]);
        run += usize::from(outcomes[2]);
        assert!(outcomes.contains(&true) || *state == before);
    }
    assert!(refused > 50 && run > 50, "{refused} refused, {run} run");
}

#[test]
fn what_cannot_be_asked_is_refused_and_changes_nothing() {
    let mut rng = Rng(33);
    let mut info = vec![0u64; 4];
    info[1] = !0;
    info[3] = !0 << 8;
    let case = Case {
        code: Code::new(256, &info, 0, Check::None).unwrap(),
        segments: vec![(128, 12), (64, 0), (64, 12)],
        list_sizes: ListSizes::escalating(&[], 8).unwrap(),
    };
    let partition = Partition::new(256, &case.segments).unwrap();
    let new = |input| {
        InteractiveDecoder::<i8>::new(case.code.clone(), partition.clone(), case.list_sizes, input, EngineName::best())
            .unwrap()
    };
    let mut decoders = [new(Input::Hard)];
    let mut block = begin(&mut rng, &case, &mut decoders, |_| Seen::Hard(8.into()));
    let [decoder] = &mut decoders;
    let state = &mut block.states[0];
    decoder.disclose(state, &[64], &[0]).unwrap();
    let before = state.clone();
    let undisclosable = |outcome| matches!(outcome, Err(Error::Undisclosable { .. }));
    for positions in [[0, 70], [64, 70], [70, 70], [256, 70], [70, u32::MAX]] {
        assert!(undisclosable(decoder.disclose(state, &positions, &[0, 1])), "{positions:?}");
    }
    assert!(matches!(decoder.disclose(state, &[70], &[2]), Err(Error::OutOfRange { .. })));
    assert!(matches!(decoder.disclose(state, &[70], &[]), Err(Error::Length { .. })));
    assert!(matches!(decoder.rollback(state, 1), Err(Error::Standing { expected: 1, got: 0, .. })));
    assert!(matches!(decoder.finish(state, &mut [0; 32]), Err(Error::Standing { expected: 3, .. })));
    assert!(matches!(decoder.run(&mut state[1..]), Err(Error::Length { .. })));
    assert!(matches!(decoder.begin(&[0; 32], &[0; 32], &[0, 1, 0], 8, state), Err(Error::OutOfRange { .. })));
    assert!(matches!(decoder.begin(&[0; 32], &[0; 32], &[0; 2], 8, state), Err(Error::Length { .. })));
    assert!(matches!(decoder.begin(&[0; 32], &[0; 32], &[0; 3], -1, state), Err(Error::OutOfRange { .. })));
    let mut soft = new(Input::Soft);
    let mut none = vec![0; soft.state_bytes()];
    assert!(matches!(soft.run(&mut none), Err(Error::ForeignState { .. })));
    assert_eq!(*state, before);
    for (length, segments, index) in
        [(256, &[(96, 0), (160, 0)][..], 0), (256, &[(64, 0), (128, 0), (64, 0)], 1), (256, &[(256, 0), (32, 0)], 1)]
    {
        assert!(matches!(Partition::new(length, segments), Err(Error::SegmentCut { index: i, .. }) if i == index));
    }
    assert!(matches!(Partition::new(256, &[(128, 0)]), Err(Error::Length { expected: 256, got: 128, .. })));
    assert!(matches!(Partition::new(256, &[(256, 33)]), Err(Error::OutOfRange { .. })));
    assert!(matches!(Partition::new(32, &[(32, 0)]), Err(Error::BlockLength { .. })));
}

#[test]
fn no_part_of_an_information_set_has_a_longer_program_than_there_is_room_for() {
    let mut rng = Rng(34);
    let mut tight = 0;
    for _ in 0..2000 {
        let log_length = 6 + rng.below(6) as u32;
        let info = information_set(&mut rng, 1 << log_length);
        let part: Vec<u64> = match rng.below(4) {
            0 => info.clone(),
            1 => info.iter().map(|word| word & rng.next()).collect(),
            2 => info.iter().map(|word| word & (rng.next() | rng.next() | rng.next())).collect(),
            _ => info.iter().map(|word| word & 0x1111_1111_1111_1111).collect(),
        };
        let code = Code::new(1 << log_length, &part, 0, Check::None).unwrap();
        let list = schedule::compile(&code, Flavour::List).unwrap().len();
        let most = schedule::most_instructions(&info, log_length);
        assert!(list <= most, "{list} of {most}");
        tight += usize::from(4 * list > 3 * most);
        assert!(single::compile(&code).unwrap().len() <= single::most_steps(&info, log_length));
    }
    assert!(tight > 200, "{tight}");
}
