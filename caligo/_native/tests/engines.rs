//! Every engine of this CPU agrees with the written rules, bit for bit: the same survivors, metrics and order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use caligo_polar::checksum::Check;
use caligo_polar::code::{Attempt, Code, ListSizes};
use caligo_polar::decoder::naive;
use caligo_polar::decoder::{Decoder, required_bytes};
use caligo_polar::design;
use caligo_polar::llr::Metric;
use caligo_polar::simd::{EngineName, KernelLlr};
use caligo_polar::transform::polar_transform;
use common::{Rng, information_set, keep_below};

mod common;

trait Sample: KernelLlr {
    fn sample(rng: &mut Rng, style: u64) -> Self;
}

impl Sample for i8 {
    fn sample(rng: &mut Rng, style: u64) -> i8 {
        match style {
            // A binary symmetric channel near and far from its capacity; uniform; saturated; mostly ties; all zero.
            0 => {
                if rng.unit() < 0.02 {
                    -8
                } else {
                    8
                }
            }
            1 => {
                if rng.unit() < 0.11 {
                    -4
                } else {
                    4
                }
            }
            2 => (rng.below(255) as i32 - 127) as i8,
            3 => {
                if rng.unit() < 0.3 {
                    -127
                } else {
                    127
                }
            }
            4 => rng.below(3) as i8 - 1,
            5 => 0,
            _ => ((rng.unit() + rng.unit() + rng.unit() - 1.2) * 12.0) as i8,
        }
    }
}

impl Sample for f32 {
    fn sample(rng: &mut Rng, style: u64) -> f32 {
        match style {
            0 => {
                if rng.unit() < 0.02 {
                    -3.9
                } else {
                    3.9
                }
            }
            1 => 0.0,
            2 => rng.below(3) as f32 - 1.0,
            3 => {
                if rng.unit() < 0.3 {
                    -1e6
                } else {
                    1e6
                }
            }
            _ => ((rng.unit() + rng.unit() + rng.unit() - 1.1) * 6.0) as f32,
        }
    }
}

fn compare<T: Sample>(rng: &mut Rng, length: usize, list_size: usize) {
    let mut info = information_set(rng, length);
    // Every third code is shortened: known positions, and the saturated LLRs they lead to.
    let shortened = if rng.below(3) == 0 { rng.below(length as u64) as usize } else { 0 };
    keep_below(&mut info, length - shortened);
    let style = rng.below(8);
    let mut channel: Vec<T> = (0..length).map(|_| T::sample(rng, style)).collect();
    channel[length - shortened..].fill(T::CERTAIN);
    let code = Code::new(length, &info, shortened, Check::None).unwrap();
    hold_against_naive(&code, Attempt { list_size, last: rng.below(4) > 0 }, &channel);
}

fn hold_against_naive<T: Sample>(code: &Code, attempt: Attempt, channel: &[T]) {
    let (length, list_size) = (code.block_length(), attempt.list_size);
    let narrow = T::Metric::narrow_threshold(code.log_length());
    let threshold = if attempt.last { T::Metric::THRESHOLD } else { narrow };
    let expected: Vec<_> = naive::survivors_within(code, list_size, threshold, channel)
        .into_iter()
        .map(|(metric, bits)| {
            let mut words = vec![0u64; length.div_ceil(64)];
            for (index, bit) in bits.iter().enumerate() {
                words[index / 64] |= u64::from(*bit) << (index % 64);
            }
            (metric, words)
        })
        .collect();
    for engine in EngineName::ALL.into_iter().filter(|engine| engine.available()) {
        let mut decoder = Decoder::<T>::new(code.clone(), list_size, engine).unwrap();
        let got = decoder.survivors_of(channel, attempt).unwrap();
        if list_size == 1 {
            assert_eq!(got[0].1, expected[0].1, "{} N={length} info {:x?}", engine.name(), code.info());
        } else {
            assert!(
                got == expected,
                "{} N={length} L={list_size} info {:x?}\n got {:?}\n expected {:?}",
                engine.name(),
                code.info(),
                got.iter().map(|g| g.0).collect::<Vec<_>>(),
                expected.iter().map(|e| e.0).collect::<Vec<_>>()
            );
            // A second decode with the same workspace forgets the first.
            assert_eq!(decoder.survivors_of(channel, attempt).unwrap(), expected);
        }
        assert_eq!(
            decoder.allocated_bytes(),
            required_bytes::<T>(code, ListSizes::escalating(&[], list_size).unwrap())
        );
    }
}

fn sweep<T: Sample>(seed: u64, cases: &[(u32, usize)]) {
    let mut rng = Rng(seed);
    for &(log_length, count) in cases {
        for _ in 0..count {
            let list_size = 1usize << rng.below(6);
            compare::<T>(&mut rng, 1 << log_length, list_size);
        }
    }
}

const CASES: [(u32, usize); 16] = [
    (1, 200),
    (2, 300),
    (3, 400),
    (4, 400),
    (5, 400),
    (6, 400),
    (7, 400),
    (8, 300),
    (9, 150),
    (10, 80),
    (11, 40),
    (12, 16),
    (13, 8),
    (14, 6),
    (15, 4),
    (16, 3),
];

#[test]
fn every_int8_engine_agrees_with_the_naive_decoder() {
    sweep::<i8>(1, &CASES);
}

#[test]
fn every_f32_engine_agrees_with_the_naive_decoder() {
    sweep::<f32>(2, &CASES);
}

/// Rate-1 and parity-check nodes of 64 positions and more, left and right, among free positions that let many paths reach
/// them, with LLRs so small that now one flip is beyond doubt, now two: the edge between settling a large node by hard
/// decisions and splitting it.
#[test]
fn every_engine_agrees_with_the_naive_decoder_where_large_nodes_are_barely_settled() {
    let mut rng = Rng(3);
    for _ in 0..2000 {
        let length = 128usize << rng.below(3);
        let mut info: Vec<u64> = (0..length / 64)
            .map(|_| match rng.below(4) {
                0 => !0,
                1 => !1,
                2 => 1 << rng.below(64) | 1 << rng.below(64),
                _ => 0,
            })
            .collect();
        if rng.below(2) == 0 {
            info[length / 128..].fill(!0);
            info[length / 128] &= !rng.below(2);
        }
        let code = Code::new(length, &info, 0, Check::None).unwrap();
        let (least, spread, errors) = (1 + rng.below(24), 1 + rng.below(16), rng.unit() * 0.1);
        let channel: Vec<i8> = (0..length)
            .map(|_| {
                let magnitude = (least + rng.below(spread)) as i8;
                if rng.unit() < errors { -magnitude } else { magnitude }
            })
            .collect();
        hold_against_naive(&code, Attempt { list_size: 2 << rng.below(5), last: rng.below(4) > 0 }, &channel);
    }
}

/// Words of the code with few errors and small LLRs, where a single decoder may now skip a descent and now must not: some
/// LLR below becomes 0, and decides 0.
#[test]
fn every_engine_agrees_with_the_naive_decoder_where_a_descent_is_barely_skipped() {
    let mut rng = Rng(4);
    for _ in 0..4000 {
        let length = 4usize << rng.below(9);
        // Reed-Muller sets, whose nodes are like those of designed codes, and a few strays.
        let (weight, strays) = (rng.below(6) as u32, rng.unit() * 0.03);
        let mut info = vec![0u64; length.div_ceil(64)];
        for index in 0..length {
            let chosen = index.count_ones() >= weight;
            info[index / 64] |= u64::from(chosen != (rng.unit() < strays)) << (index % 64);
        }
        let mut word: Vec<u64> = info.iter().map(|info| info & rng.next()).collect();
        polar_transform(&mut word, length).unwrap();
        let code = Code::new(length, &info, 0, Check::None).unwrap();
        let (least, spread, errors) = (rng.below(12), 1 + rng.below(8), rng.unit() * rng.unit() * 0.02);
        let channel: Vec<i8> = (0..length)
            .map(|index| {
                let negative = (word[index / 64] >> (index % 64) & 1 == 1) != (rng.unit() < errors);
                let magnitude = (least + rng.below(spread)) as i8;
                if negative { -magnitude } else { magnitude }
            })
            .collect();
        hold_against_naive(&code, Attempt { list_size: 1, last: true }, &channel);
        let soft: Vec<f32> = channel.iter().map(|&llr| f32::from(llr)).collect();
        hold_against_naive(&code, Attempt { list_size: 1, last: true }, &soft);
    }
}

/// A designed code at its channel, where many paths live for long and differ near the root: what shared rows are for.
fn compare_designed<T: Sample>(log_length: u32, list_size: usize, frames: usize) {
    let length = 1usize << log_length;
    let qber = 0.02;
    let reliability = design::density_evolution(length, length, qber).unwrap();
    let mut order: Vec<usize> = (0..length).collect();
    order.sort_by(|&a, &b| reliability[a].total_cmp(&reliability[b]).then(b.cmp(&a)));
    let mut info = vec![0u64; length / 64];
    for &index in &order[..length * 83 / 100] {
        info[index / 64] |= 1 << (index % 64);
    }
    let code = Code::new(length, &info, 0, Check::None).unwrap();
    let mut rng = Rng(u64::from(log_length));
    for _ in 0..frames {
        let channel: Vec<T> = (0..length).map(|_| T::sample(&mut rng, 0)).collect();
        let expected = naive::survivors(&code, list_size, &channel);
        for engine in EngineName::ALL.into_iter().filter(|engine| engine.available()) {
            let got = Decoder::<T>::new(code.clone(), list_size, engine).unwrap().survivors(&channel).unwrap();
            assert_eq!(got.len(), expected.len());
            for (lane, ((metric, word), (naive_metric, bits))) in got.iter().zip(&expected).enumerate() {
                assert_eq!(metric, naive_metric, "{} lane {lane}", engine.name());
                let same = bits.iter().enumerate().all(|(i, &bit)| (word[i / 64] >> (i % 64) & 1 == 1) == bit);
                assert!(same, "{} N={length} L={list_size} lane {lane}", engine.name());
            }
        }
    }
}

#[test]
fn every_engine_agrees_with_the_naive_decoder_on_designed_codes() {
    for (log_length, list_size, frames) in [
        (10, 1, 40),
        (10, 32, 20),
        (12, 1, 20),
        (13, 8, 4),
        (14, 1, 5),
        (14, 32, 2),
        (15, 16, 2),
        (16, 32, 2),
        (17, 32, 1),
    ] {
        compare_designed::<i8>(log_length, list_size, frames);
    }
    compare_designed::<f32>(12, 1, 10);
    compare_designed::<f32>(14, 32, 2);
    compare_designed::<f32>(15, 8, 1);
}
