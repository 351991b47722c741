//! What a segmented decode promises: the written rules, on every engine, and the same end however it is paused and sent back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use caligo_polar::bits;
use caligo_polar::checksum::Check;
use caligo_polar::code::{Code, ListSizes, Segmentation};
use caligo_polar::decoder::segments::{Root, SegmentedState};
use caligo_polar::decoder::{Checks, Decoder, Magnitudes, naive, required_bytes};
use caligo_polar::error::Error;
use caligo_polar::llr::Llr;
use caligo_polar::simd::{EngineName, KernelLlr};
use caligo_polar::transform::{polar_transform, split_segments};
use common::{Rng, information_set, keep_below};

mod common;

const SIZES: [(&[usize], usize); 6] =
    [(&[], 1), (&[], 8), (&[4], 32), (&[1, 4], 16), (&[1], 2), (&[1, 2, 4, 8, 16], 32)];

fn random_sizes(rng: &mut Rng) -> ListSizes {
    let (escalation, list_size) = SIZES[rng.below(SIZES.len() as u64) as usize];
    ListSizes::escalating(escalation, list_size).unwrap()
}

/// A segmented code with its lengths, information set and shortening at random; half of them polarised, so that decoding
/// gets somewhere.
fn random_code(rng: &mut Rng) -> Code {
    let log_length = 7 + rng.below(6);
    let length = 1usize << log_length;
    let mut info = information_set(rng, length);
    if rng.below(2) == 0 {
        let threshold = 0.5 + 0.15 * rng.unit();
        info.fill(0);
        for index in 0..length {
            let weight = f64::from((index as u32).count_ones()) / log_length as f64;
            info[index / 64] |=
                u64::from(0.6 * weight + 0.4 * index as f64 / length as f64 > threshold) << (index % 64);
        }
    }
    let shortened = if rng.below(2) == 0 { 0 } else { rng.below(length as u64 / 2) as usize };
    keep_below(&mut info, length - shortened);
    let check = [Check::Crc16, Check::Crc24, Check::Crc32][rng.below(3) as usize];
    let code = Code::new(length, &info, shortened, Check::Crc32).unwrap();
    let segmentation = Segmentation::new(length, 64 << rng.below(log_length - 6), check).unwrap();
    code.with_segments(Some(segmentation))
}

fn random_block(rng: &mut Rng, code: &Code, density: f64) -> Vec<u64> {
    let mut block = vec![0u64; code.words()];
    for position in 0..code.payload_length() {
        block[position / 64] |= u64::from(rng.unit() < density) << (position % 64);
    }
    block
}

fn xor(a: &[u64], b: &[u64]) -> Vec<u64> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
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

/// Each segment's part of u, transformed on its own: the definition of a segment word.
fn segment_words(code: &Code, block: &[u64]) -> Vec<u64> {
    transformed(block).chunks(code.segmentation().unwrap().words()).flat_map(transformed).collect()
}

/// The check values of a block and of its segments.
fn checks(code: &Code, block: &[u64]) -> (u32, Vec<u32>) {
    let segmentation = code.segmentation().unwrap();
    let value = |word: &[u64]| segmentation.check().value(&packed(word));
    let segments = segment_words(code, block).chunks(segmentation.words()).map(value).collect();
    (code.check().value(&packed(block)), segments)
}

/// What the specification says of a block that is decoded in segments, word for word, over the naive decoder.
fn outcome_by_the_rules<T: Llr>(
    code: &Code,
    list_sizes: ListSizes,
    key: &[u64],
    received: &[u64],
    magnitudes: Magnitudes<T>,
) -> (bool, Vec<u8>) {
    let syndrome = xor(&transformed(key), &transformed(received));
    let frozen: Vec<u64> = syndrome.iter().zip(code.info()).map(|(s, info)| s & !info).collect();
    let offset = transformed(&frozen);
    let channel: Vec<T> = (0..code.block_length())
        .map(|i| match bits::get(received, i) {
            _ if i >= code.payload_length() => T::CERTAIN,
            false => magnitudes.at_zero.negate_if(bits::get(&offset, i)),
            true => magnitudes.at_one.negate_if(bits::get(&offset, i)),
        })
        .collect();
    let (_, wanted) = checks(code, key);
    let base = segment_words(code, &xor(received, &offset));
    let segmentation = code.segmentation().unwrap();
    let words = segmentation.words();
    let (decided, word) = naive::segmented(code, list_sizes, &channel, |segment, bits| {
        let mut value = base[segment * words..(segment + 1) * words].to_vec();
        bits.iter().enumerate().filter(|(_, bit)| **bit).for_each(|(i, _)| bits::flip(&mut value, i));
        segmentation.check().value(&packed(&value)) == wanted[segment]
    });
    let mut result = xor(received, &offset);
    word.iter().enumerate().filter(|(_, bit)| **bit).for_each(|(i, _)| bits::flip(&mut result, i));
    let result = packed(&result);
    (decided && code.check().value(&result) == code.check().value(&packed(key)), result)
}

fn hold_against_the_rules<T: KernelLlr>(rng: &mut Rng, [at_zero, at_one]: [T; 2]) -> [usize; 2] {
    let at_one = if rng.below(3) == 0 { at_one } else { at_zero };
    let magnitudes = Magnitudes { at_zero, at_one };
    let (code, list_sizes) = (random_code(rng), random_sizes(rng));
    let key = random_block(rng, &code, 0.5);
    let density = [0.003, 0.01, 0.03, 0.1][rng.below(4) as usize];
    let received = xor(&key, &random_block(rng, &code, density));
    let expected = outcome_by_the_rules(&code, list_sizes, &key, &received, magnitudes);
    let frozen: Vec<u64> = transformed(&key).iter().zip(code.info()).map(|(u, info)| u & !info).collect();
    let (block, mut segments) = checks(&code, &key);
    // What is disclosed of a segment without information positions is not looked at.
    let words = code.segmentation().unwrap().words();
    for (value, info) in segments.iter_mut().zip(code.info().chunks(words)) {
        *value *= u32::from(info.iter().any(|&word| word != 0));
    }
    for engine in EngineName::ALL.into_iter().filter(|engine| engine.available()) {
        let mut decoder = Decoder::<T>::with_list_sizes(code.clone(), list_sizes, engine).unwrap();
        assert_eq!(decoder.allocated_bytes(), required_bytes::<T>(&code, list_sizes));
        let mut decoded = vec![0; 8 * code.words()];
        // A second decode with the same workspace forgets the first.
        for _ in 0..2 {
            let checks = Checks { block, segments: &segments };
            let (received, frozen) = (packed(&received), packed(&frozen));
            let ok = decoder.decode_bsc(&received, &frozen, checks, magnitudes, &mut decoded).unwrap();
            assert!((ok, &decoded) == (expected.0, &expected.1), "{} {list_sizes:?} {code:?}", engine.name());
        }
    }
    [usize::from(expected.0), usize::from(!expected.0)]
}

#[test]
fn every_engine_agrees_with_the_naive_segmented_decoder() {
    let mut rng = Rng(21);
    let (mut found, mut failed) = (0, 0);
    for _ in 0..300 {
        let [ok, not] = hold_against_the_rules::<i8>(&mut rng, [8, 6]);
        let [ok_f32, not_f32] = hold_against_the_rules::<f32>(&mut rng, [4.0, 3.125]);
        found += ok + ok_f32;
        failed += not + not_f32;
    }
    assert!(found > 100 && failed > 100, "{found} found, {failed} failed");
}

/// A channel, the offset and what was disclosed for it, for a state by itself.
fn noisy_block(rng: &mut Rng, code: &Code) -> (Vec<i8>, Vec<u64>, Vec<u32>) {
    let density = [0.003, 0.02][rng.below(2) as usize];
    let errors = random_block(rng, code, density);
    let frozen: Vec<u64> = transformed(&errors).iter().zip(code.info()).map(|(u, info)| u & !info).collect();
    let offset = transformed(&frozen);
    let channel = (0..code.block_length())
        .map(|i| if i < code.payload_length() { 8i8.negate_if(bits::get(&offset, i)) } else { i8::CERTAIN })
        .collect();
    let check = code.segmentation().unwrap().check();
    let of_zero = check.value(&vec![0; 8 * code.segmentation().unwrap().words()]);
    (channel, offset, checks(code, &errors).1.iter().map(|value| value ^ of_zero).collect())
}

#[test]
fn a_decode_that_is_paused_and_sent_back_ends_as_one_that_runs_through() {
    let mut rng = Rng(22);
    let (mut through, mut sent_back) = (0, 0);
    for _ in 0..400 {
        let (code, list_sizes) = (random_code(&mut rng), random_sizes(&mut rng));
        let segmentation = code.segmentation().unwrap();
        let partition = segmentation.partition(code.log_length());
        let (channel, mut offset, disclosed) = noisy_block(&mut rng, &code);
        split_segments(&mut offset, segmentation.words());
        let channel = Root::Values(&channel[..]);
        let engine = EngineName::best();
        let mut straight = SegmentedState::<i8>::new(&code, partition.clone(), list_sizes, false).unwrap();
        straight.begin(&offset, disclosed.iter().copied());
        let ended = (straight.run_to(engine, &code, channel, straight.count()), straight.next());
        let expected = straight.finish().to_vec();
        through += usize::from(ended.0);

        let mut state = SegmentedState::<i8>::new(&code, partition.clone(), list_sizes, false).unwrap();
        state.begin(&offset, disclosed.iter().copied());
        for _ in 0..rng.below(12) {
            let stop = rng.below(state.count() as u64 + 1) as usize;
            match rng.below(3) {
                0 => state.rollback(stop.min(state.next())),
                1 => assert_eq!(state.run_to(engine, &code, channel, stop), stop <= ended.1),
                _ => {
                    let attempts: Vec<_> = list_sizes.attempts().collect();
                    let attempt = attempts[rng.below(attempts.len() as u64) as usize];
                    let before = state.next();
                    let passed = state.retry(engine, &code, channel, attempt);
                    assert_eq!(state.next(), before + usize::from(passed));
                    // A check may be met by a list that a run would not have come to, and by another word then.
                    state.rollback(before);
                }
            }
            sent_back += 1;
        }
        assert_eq!((state.run_to(engine, &code, channel, state.count()), state.next()), ended);
        assert_eq!(state.finish(), expected);
        // Even from its end a decode can be sent back.
        state.rollback(ended.1 / 2);
        assert_eq!((state.run_to(engine, &code, channel, state.count()), state.next()), ended);
        assert_eq!(state.finish(), expected);
    }
    assert!((100..350).contains(&through) && sent_back > 1000, "{through} ran through, {sent_back} stops");
}

#[test]
fn a_segment_is_the_transform_of_its_positions_and_has_the_check_of_that() {
    let mut rng = Rng(23);
    for _ in 0..100 {
        let code = random_code(&mut rng);
        let block = random_block(&mut rng, &code, 0.5);
        let (mut split, mut values) = (block.clone(), vec![0; code.segment_count()]);
        code.segmentation().unwrap().check_values(&mut split, &mut values);
        assert_eq!((split, values), (segment_words(&code, &block), checks(&code, &block).1));
    }
}

#[test]
fn check_values_of_another_number_of_segments_are_refused() {
    let code = Code::new(256, &[0, 0, 0, !0], 0, Check::Crc32).unwrap();
    let cut = code.clone().with_segments(Segmentation::new(256, 64, Check::Crc16).ok());
    let (block, mut out) = ([0u8; 32], [0xaau8; 32]);
    for (code, segments) in [(code, &[0u32; 4][..]), (cut.clone(), &[]), (cut, &[0; 3])] {
        let mut decoder = Decoder::<i8>::new(code, 4, EngineName::best()).unwrap();
        let checks = Checks { block: 0, segments };
        assert!(matches!(decoder.decode_bsc(&block, &block, checks, 8, &mut out), Err(Error::Length { .. })));
    }
    assert_eq!(out, [0xaa; 32]);
}
