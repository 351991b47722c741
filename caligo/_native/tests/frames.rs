//! Blocks decoded together come out as they do alone, on every engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use caligo_polar::bits;
use caligo_polar::checksum::Check;
use caligo_polar::code::{Code, ListSizes};
use caligo_polar::decoder::{Decoder, Magnitudes, required_bytes};
use caligo_polar::error::Error;
use caligo_polar::simd::{EngineName, KernelLlr};
use caligo_polar::transform::polar_transform;
use common::{Rng, information_set, keep_below};

mod common;

/// A batch of `count` blocks of `code`, with errors at a rate of their own each.
struct Batch {
    received: Vec<u8>,
    llr: Vec<f32>,
    frozen_values: Vec<u8>,
    check_values: Vec<u32>,
}

fn batch(rng: &mut Rng, code: &Code, count: usize) -> Batch {
    let (length, payload) = (code.block_length(), code.payload_length());
    let mut batch = Batch { received: vec![], llr: vec![], frozen_values: vec![], check_values: vec![] };
    let packed = |words: &[u64]| {
        let mut bytes = vec![0; bits::bytes_for(length)];
        bits::bytes_from_words(&mut bytes, words);
        bytes
    };
    for _ in 0..count {
        let mut key: Vec<u64> = (0..code.words()).map(|_| rng.next()).collect();
        keep_below(&mut key, payload);
        let density = [0.0, 0.01, 0.03, 0.1, 0.5][rng.below(5) as usize];
        let mut received = key.clone();
        (0..payload).filter(|_| rng.unit() < density).for_each(|position| bits::flip(&mut received, position));
        // Coarse values: many ties, many zeros.
        batch.llr.extend((0..length).map(|position| {
            let magnitude = rng.below(9) as f32 * 0.5;
            if bits::get(&received, position) { -magnitude } else { magnitude }
        }));
        let mut frozen_values = key.clone();
        polar_transform(&mut frozen_values, length).unwrap();
        for (value, info) in frozen_values.iter_mut().zip(code.info()) {
            *value &= !info;
        }
        batch.received.extend(packed(&received));
        batch.frozen_values.extend(packed(&frozen_values));
        batch.check_values.push(code.check().value(&packed(&key)));
    }
    batch
}

/// Decodes block by block.
fn alone<T: KernelLlr>(
    decoder: &mut Decoder<T>,
    batch: &Batch,
    magnitudes: Option<Magnitudes<T>>,
) -> (Vec<u8>, Vec<bool>) {
    let (length, mut decoded) = (decoder.code().block_length(), vec![0; batch.received.len()]);
    let bytes = bits::bytes_for(length);
    let accepted = decoded
        .chunks_exact_mut(bytes)
        .enumerate()
        .map(|(block, decoded)| {
            let (frozen_values, check) = (&batch.frozen_values[block * bytes..][..bytes], batch.check_values[block]);
            match magnitudes {
                Some(magnitudes) => {
                    let received = &batch.received[block * bytes..][..bytes];
                    decoder.decode_bsc(received, frozen_values, check, magnitudes, decoded).unwrap()
                }
                None => {
                    decoder.decode_soft(&batch.llr[block * length..][..length], frozen_values, check, decoded).unwrap()
                }
            }
        })
        .collect();
    (decoded, accepted)
}

fn together<T: KernelLlr>(
    decoder: &mut Decoder<T>,
    batch: &Batch,
    magnitudes: Option<Magnitudes<T>>,
) -> (Vec<u8>, Vec<bool>) {
    let mut decoded = vec![0xaa; batch.received.len()];
    let mut accepted = vec![false; batch.check_values.len()];
    let (frozen, checks) = (&batch.frozen_values, &batch.check_values);
    match magnitudes {
        Some(magnitudes) => {
            decoder.decode_bsc_batch(&batch.received, frozen, checks, magnitudes, &mut decoded, &mut accepted).unwrap();
        }
        None => decoder.decode_soft_batch(&batch.llr, frozen, checks, &mut decoded, &mut accepted).unwrap(),
    }
    (decoded, accepted)
}

fn compare<T: KernelLlr>(rng: &mut Rng, log_length: u32, magnitudes: &[T]) -> usize {
    let length = 1usize << log_length;
    let mut info = information_set(rng, length);
    let shortened = if rng.below(3) == 0 { rng.below(length as u64) as usize } else { 0 };
    keep_below(&mut info, length - shortened);
    let code = Code::new(length, &info, shortened, Check::ALL[rng.below(4) as usize]).unwrap();
    let escalation: &[usize] = if code.check() != Check::None && rng.below(3) == 0 { &[1, 2] } else { &[] };
    let sizes = ListSizes::escalating(escalation, if escalation.is_empty() { 1 } else { 4 }).unwrap();
    let count = [1, 23, 24, 40, 63, 64, 65, 100, 128][rng.below(9) as usize];
    let blocks = batch(rng, &code, count);
    let mut one = || magnitudes[rng.below(magnitudes.len() as u64) as usize];
    let (at_zero, at_one) = (one(), one());
    let at_one = if rng.below(2) == 0 { at_one } else { at_zero };
    let magnitudes = (rng.below(3) > 0).then_some(Magnitudes { at_zero, at_one });
    let mut reference = Decoder::<T>::with_list_sizes(code.clone(), sizes, EngineName::Portable).unwrap();
    let expected = alone(&mut reference, &blocks, magnitudes);
    for engine in EngineName::ALL.into_iter().filter(|engine| engine.available()) {
        let mut decoder = Decoder::<T>::with_list_sizes(code.clone(), sizes, engine).unwrap();
        assert_eq!(decoder.allocated_bytes(), required_bytes::<T>(&code, sizes));
        assert_eq!(decoder.group(), 64);
        for _ in 0..2 {
            let got = together(&mut decoder, &blocks, magnitudes);
            assert!(got == expected, "{} {count} blocks, {sizes:?}, {magnitudes:?}, {code:?}", engine.name());
        }
    }
    expected.1.iter().filter(|accepted| **accepted).count()
}

#[test]
fn blocks_decoded_together_come_out_as_they_do_alone() {
    let mut rng = Rng(21);
    let mut accepted = 0;
    for (log_length, cases) in
        [(1, 20), (2, 30), (3, 40), (4, 60), (5, 60), (6, 60), (7, 60), (8, 60), (9, 40), (10, 20), (11, 8), (12, 4)]
    {
        for _ in 0..cases {
            // From magnitudes that f takes to zero in one step to those that g clips.
            accepted += compare::<i8>(&mut rng, log_length, &[1, 2, 3, 8, 40, 70, 125, 126, 127]);
        }
        for _ in 0..cases / 4 {
            accepted += compare::<f32>(&mut rng, log_length, &[0.1, 3.9, 1e6]);
        }
    }
    assert!(accepted > 5000, "{accepted}");
}

#[test]
fn a_block_that_is_refused_ends_the_batch_after_those_before_it() {
    let mut rng = Rng(22);
    let code = Code::new(128, &[0, !0 >> 8], 8, Check::Crc16).unwrap();
    let blocks = batch(&mut rng, &code, 50);
    for bad in [0, 5, 30, 49] {
        let mut decoder = Decoder::<i8>::new(code.clone(), 1, EngineName::best()).unwrap();
        let expected = alone(&mut decoder, &blocks, Some(8.into()));
        let mut frozen_values = blocks.frozen_values.clone();
        frozen_values[16 * bad + 8] |= 1;
        let (mut decoded, mut accepted) = (vec![0xaa; blocks.received.len()], vec![false; 50]);
        let outcome = decoder.decode_bsc_batch(
            &blocks.received,
            &frozen_values,
            &blocks.check_values,
            8,
            &mut decoded,
            &mut accepted,
        );
        assert!(matches!(outcome, Err(Error::StrayBits { what: "frozen_values", position: 64 })));
        assert_eq!(decoded[..16 * bad], expected.0[..16 * bad]);
        assert_eq!(accepted[..bad], expected.1[..bad]);
        assert!(decoded[16 * bad..].iter().all(|&byte| byte == 0xaa) && !accepted[bad..].contains(&true));
    }
    let mut decoder = Decoder::<i8>::new(code, 1, EngineName::best()).unwrap();
    let (mut decoded, mut accepted) = (vec![0; 32], [false; 2]);
    assert!(matches!(
        decoder.decode_bsc_batch(&[0; 32], &[0; 31], &[0; 2], 8, &mut decoded, &mut accepted),
        Err(Error::Length { what: "frozen_values", expected: 32, got: 31 })
    ));
    let mut llr = vec![1.0; 256];
    llr[200] = f32::NAN;
    assert!(matches!(
        decoder.decode_soft_batch(&llr, &[0; 32], &[0; 2], &mut decoded, &mut accepted),
        Err(Error::OutOfRange { what: "llr", .. })
    ));
}
