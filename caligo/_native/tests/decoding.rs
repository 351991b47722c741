//! What a block's decode promises, whatever the code, the noise and the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use caligo_polar::bits;
use caligo_polar::checksum::Check;
use caligo_polar::code::{Attempt, Code, ListSizes};
use caligo_polar::decoder::{Decoder, Magnitudes, naive, required_bytes};
use caligo_polar::error::Error;
use caligo_polar::llr::Metric;
use caligo_polar::simd::{EngineName, KernelLlr};
use caligo_polar::transform::polar_transform;
use common::{Rng, information_set, keep_below};

mod common;

const CHECKS: [Check; 4] = [Check::None, Check::Crc16, Check::Crc24, Check::Crc32];

/// A code with its length, information set and shortening at random.
fn random_code(rng: &mut Rng) -> Code {
    let length = 1usize << (1 + rng.below(11));
    let mut info = information_set(rng, length);
    let shortened = if rng.below(2) == 0 { 0 } else { rng.below(length as u64 / 2) as usize };
    keep_below(&mut info, length - shortened);
    Code::new(length, &info, shortened, CHECKS[rng.below(4) as usize]).unwrap()
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

fn packed(code: &Code, words: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0; bits::bytes_for(code.block_length())];
    bits::bytes_from_words(&mut bytes, words);
    bytes
}

/// What Alice discloses: her transform on the frozen set, and her check.
fn disclosed(code: &Code, key: &[u64]) -> (Vec<u8>, u32) {
    let mut u = key.to_vec();
    polar_transform(&mut u, code.block_length()).unwrap();
    for (u, info) in u.iter_mut().zip(code.info()) {
        *u &= !info;
    }
    (packed(code, &u), code.check().value(&packed(code, key)))
}

/// Decodes `key` with errors `errors`; returns the outcome and the errors that were found.
fn outcome<T: KernelLlr>(
    decoder: &mut Decoder<T>,
    key: &[u64],
    errors: &[u64],
    magnitudes: impl Into<Magnitudes<T>>,
) -> (bool, Vec<u8>) {
    let code = decoder.code().clone();
    let (frozen_values, check) = disclosed(&code, key);
    let received = packed(&code, &xor(key, errors));
    let mut decoded = vec![0; received.len()];
    let ok = decoder.decode_bsc(&received, &frozen_values, check, magnitudes, &mut decoded).unwrap();
    assert_eq!(
        disclosed(&code, &words(&code, &decoded)).0,
        frozen_values,
        "the decoded word has Alice's syndrome, found or not"
    );
    (ok, decoded.iter().zip(&received).map(|(d, r)| d ^ r).collect())
}

fn words(code: &Code, bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![0; code.words()];
    bits::words_from_bytes(&mut words, bytes);
    words
}

fn list_size(rng: &mut Rng) -> usize {
    1 << rng.below(6)
}

#[test]
fn the_same_noise_on_another_key_has_the_same_outcome() {
    let mut rng = Rng(11);
    for _ in 0..250 {
        let code = random_code(&mut rng);
        let (list, density) = (list_size(&mut rng), [0.0, 0.02, 0.1, 0.4][rng.below(4) as usize]);
        let (first, second) = (random_block(&mut rng, &code, 0.5), random_block(&mut rng, &code, 0.5));
        let errors = random_block(&mut rng, &code, density);
        let mut hard = Decoder::<i8>::new(code.clone(), list, EngineName::best()).unwrap();
        assert_eq!(outcome(&mut hard, &first, &errors, 6), outcome(&mut hard, &second, &errors, 6));
        let mut soft = Decoder::<f32>::new(code, list, EngineName::best()).unwrap();
        assert_eq!(outcome(&mut soft, &first, &errors, 3.0), outcome(&mut soft, &second, &errors, 3.0));
    }
}

#[test]
fn a_block_without_errors_is_always_recovered() {
    let mut rng = Rng(12);
    for _ in 0..300 {
        let code = random_code(&mut rng);
        let list = list_size(&mut rng);
        let key = random_block(&mut rng, &code, 0.5);
        let none = vec![0; code.words()];
        let mut decoder = Decoder::<i8>::new(code.clone(), list, EngineName::best()).unwrap();
        assert_eq!(outcome(&mut decoder, &key, &none, 8), (true, packed(&code, &none)));
    }
}

/// §4 of the specification, word for word, over the naive decoder: what is accepted is the best survivor that has Alice's
/// check, or else the best one.
fn outcome_by_the_rules(
    code: &Code,
    attempt: Attempt,
    key: &[u64],
    received: &[u64],
    magnitudes: &[i8],
) -> (bool, Vec<u8>) {
    let length = code.block_length();
    let transformed = |words: &[u64]| {
        let mut words = words.to_vec();
        polar_transform(&mut words, length).unwrap();
        words
    };
    let syndrome: Vec<u64> = xor(&transformed(key), &transformed(received));
    let offset = transformed(&syndrome.iter().zip(code.info()).map(|(s, info)| s & !info).collect::<Vec<_>>());
    let channel: Vec<i8> = (0..length)
        .map(|i| match i {
            i if i >= code.payload_length() => 127,
            i if bits::get(&offset, i) => -magnitudes[i],
            _ => magnitudes[i],
        })
        .collect();
    let threshold = if attempt.last { u16::THRESHOLD } else { u16::narrow_threshold(code.log_length()) };
    let mut survivors = naive::survivors_within(code, attempt.list_size, threshold, &channel);
    survivors.sort_by_key(|(metric, _)| *metric);
    let words = survivors.iter().map(|(_, word)| {
        let mut words = xor(received, &offset);
        word.iter().enumerate().filter(|(_, bit)| **bit).for_each(|(i, _)| bits::flip(&mut words, i));
        packed(code, &words)
    });
    let words: Vec<_> = words.collect();
    let check = code.check().value(&packed(code, key));
    match words.iter().find(|word| code.check().value(word) == check) {
        Some(word) => (true, word.clone()),
        None => (false, words[0].clone()),
    }
}

#[test]
fn what_is_accepted_is_the_best_survivor_with_the_check() {
    let mut rng = Rng(14);
    let (mut found, mut later, mut failed) = (0, 0, 0);
    for _ in 0..600 {
        let code = random_code(&mut rng);
        let length = code.block_length();
        let (list, density) = (list_size(&mut rng), [0.01, 0.03, 0.06, 0.12][rng.below(4) as usize]);
        let key = random_block(&mut rng, &code, 0.5);
        let mut received = xor(&key, &random_block(&mut rng, &code, density));
        let (frozen_values, check) = disclosed(&code, &key);
        let mut decoder = Decoder::<i8>::new(code.clone(), list, EngineName::best()).unwrap();
        let mut decoded = vec![0; bits::bytes_for(length)];
        let is_soft = rng.below(2) == 1;
        let (at_zero, at_one) = [(6, 6), (6, 7), (9, 4)][rng.below(3) as usize];
        let magnitudes: Vec<i8> = (0..length)
            .map(|i| match (is_soft, bits::get(&received, i)) {
                (true, _) => rng.below(12) as i8,
                (false, false) => at_zero,
                (false, true) => at_one,
            })
            .collect();
        let ok = if is_soft {
            let sign = |i: usize| if bits::get(&received, i) { -0.5 } else { 0.5 };
            let llr: Vec<f32> = (0..length).map(|i| sign(i) * f32::from(magnitudes[i])).collect();
            // Zeros, of either sign, are decided 0.
            (0..length).filter(|i| magnitudes[*i] == 0).for_each(|i| bits::set(&mut received, i, false));
            decoder.decode_soft(&llr, &frozen_values, check, &mut decoded).unwrap()
        } else {
            let (received, both) = (packed(&code, &received), Magnitudes { at_zero, at_one });
            decoder.decode_bsc(&received, &frozen_values, check, both, &mut decoded).unwrap()
        };
        let attempt = Attempt { list_size: list, last: true };
        let expected = outcome_by_the_rules(&code, attempt, &key, &received, &magnitudes);
        assert_eq!((ok, decoded), expected, "L = {list}, soft: {is_soft}, {at_zero} and {at_one}, {code:?}");
        let unchecked = Code::new(length, code.info(), length - code.payload_length(), Check::None).unwrap();
        let best = outcome_by_the_rules(&unchecked, attempt, &key, &received, &magnitudes).1;
        found += usize::from(ok);
        failed += usize::from(!ok);
        later += usize::from(ok && best != expected.1);
    }
    assert!(found > 100 && later > 5 && failed > 100, "{found} found, {later} not the best path, {failed} failed");
}

#[test]
fn an_escalating_decoder_is_its_attempts_one_after_the_other() {
    let mut rng = Rng(15);
    let mut settled_by = [0; 7];
    for case in 0..400 {
        let code = loop {
            let code = random_code(&mut rng);
            if code.check() != Check::None {
                break code;
            }
        };
        let mut sizes: Vec<usize> = (0..6).filter(|_| rng.below(2) == 0).map(|exponent| 1 << exponent).collect();
        if let Some(&largest @ 2..) = sizes.last()
            && rng.below(2) == 0
        {
            sizes.push(largest);
        }
        let [escalation @ .., list_size] = &sizes[..] else { continue };
        let sizes = ListSizes::escalating(escalation, *list_size).unwrap();
        let density = [0.01, 0.03, 0.06, 0.12][rng.below(4) as usize];
        let (key, errors) = (random_block(&mut rng, &code, 0.5), random_block(&mut rng, &code, density));
        let engine = EngineName::ALL[case % 3];
        let engine = if engine.available() { engine } else { EngineName::Portable };
        let mut decoder = Decoder::<i8>::with_list_sizes(code.clone(), sizes, engine).unwrap();
        assert_eq!(decoder.allocated_bytes(), required_bytes::<i8>(&code, sizes));
        let mut expected = (false, Vec::new());
        let received = xor(&key, &errors);
        for (index, attempt) in sizes.attempts().enumerate() {
            let (found, word) = outcome_by_the_rules(&code, attempt, &key, &received, &vec![6; code.block_length()]);
            expected = (found, word.iter().zip(packed(&code, &received)).map(|(word, bits)| word ^ bits).collect());
            if found {
                settled_by[index] += 1;
                break;
            }
        }
        // The second time the workspace has been used.
        for _ in 0..2 {
            assert_eq!(outcome(&mut decoder, &key, &errors, 6), expected, "{sizes:?} {code:?}");
        }
    }
    assert!(settled_by[..4].iter().all(|&count| count > 0), "{settled_by:?}");
    let unchecked = Code::new(64, &[!0], 0, Check::None).unwrap();
    let sizes = ListSizes::escalating(&[1], 8).unwrap();
    assert!(matches!(
        Decoder::<i8>::with_list_sizes(unchecked, sizes, EngineName::Portable),
        Err(Error::CheckRequired { what: "escalation" })
    ));
}

/// The same block as hard decisions, of which a single decoder takes the bits as they are, and as soft values. Magnitudes as
/// the decoder's values and in nats.
fn compare_inputs<T: KernelLlr>(rng: &mut Rng, engine: EngineName, [at_zero, at_one]: [(T, f32); 2]) {
    let code = random_code(rng);
    let list = if rng.below(2) == 0 { 1 } else { list_size(rng) };
    let key = random_block(rng, &code, 0.5);
    let density = [0.0, 0.01, 0.03, 0.2][rng.below(4) as usize];
    let errors = random_block(rng, &code, density);
    let received = xor(&key, &errors);
    let (frozen_values, check) = disclosed(&code, &key);
    let llr: Vec<f32> =
        (0..code.block_length()).map(|i| if bits::get(&received, i) { -at_one.1 } else { at_zero.1 }).collect();
    let mut decoder = Decoder::<T>::new(code.clone(), list, engine).unwrap();
    let mut decoded = vec![0; bits::bytes_for(code.block_length())];
    let ok = decoder.decode_soft(&llr, &frozen_values, check, &mut decoded).unwrap();
    let found = decoded.iter().zip(packed(&code, &received)).map(|(d, r)| d ^ r).collect::<Vec<_>>();
    let magnitudes = Magnitudes { at_zero: at_zero.0, at_one: at_one.0 };
    assert_eq!((ok, found), outcome(&mut decoder, &key, &errors, magnitudes));
}

#[test]
fn soft_and_hard_inputs_of_the_same_magnitudes_decode_alike() {
    let mut rng = Rng(13);
    for _ in 0..500 {
        for engine in EngineName::ALL.into_iter().filter(|engine| engine.available()) {
            // From what one f-kernel takes to nothing to what one g-kernel saturates.
            let mut magnitudes = [0; 2].map(|_| [1, 2, 3, 8, 70, 127][rng.below(6) as usize]);
            if rng.below(2) == 0 {
                magnitudes[1] = magnitudes[0];
            }
            let nats = magnitudes.map(|magnitude| f32::from(magnitude) / 2.0);
            compare_inputs::<i8>(&mut rng, engine, [0, 1].map(|bit| (magnitudes[bit], nats[bit])));
            compare_inputs::<f32>(&mut rng, engine, nats.map(|nats| (nats, nats)));
        }
    }
}

#[test]
fn bad_arguments_are_refused_before_anything_is_written() {
    let code = Code::new(128, &[0, !0 >> 8], 8, Check::Crc16).unwrap();
    let mut decoder = Decoder::<i8>::new(code.clone(), 4, EngineName::best()).unwrap();
    let (good, mut out) = ([0u8; 16], [0xaau8; 16]);
    let mut shortened = good;
    shortened[15] = 1;
    let mut on_information = good;
    on_information[8] = 1;
    assert!(matches!(decoder.decode_bsc(&good[1..], &good, 0, 8, &mut out), Err(Error::Length { .. })));
    assert!(matches!(decoder.decode_bsc(&good, &good[1..], 0, 8, &mut out), Err(Error::Length { .. })));
    assert!(matches!(decoder.decode_bsc(&good, &good, 0, 8, &mut out[1..]), Err(Error::Length { .. })));
    assert!(matches!(decoder.decode_bsc(&shortened, &good, 0, 8, &mut out), Err(Error::StrayBits { .. })));
    assert!(matches!(
        decoder.decode_bsc(&good, &on_information, 0, 8, &mut out),
        Err(Error::StrayBits { position: 64, .. })
    ));
    let mut llr = [1.0f32; 128];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        llr[5] = bad;
        assert!(matches!(decoder.decode_soft(&llr, &good, 0, &mut out), Err(Error::OutOfRange { .. })));
    }
    assert_eq!(out, [0xaa; 16]);
    assert!(matches!(Decoder::<i8>::new(code, 33, EngineName::Portable), Err(Error::ListSize { got: 33 })));
}
