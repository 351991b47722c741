//! Whatever bytes and numbers come in, the crate answers or refuses: it does not panic, hang, or differ between engines.
//!
//! Generated input for every function that takes bytes, bits or parameters from outside. A case is a function of its seed:
//! mostly well-formed input near the edges, and some that is wrong on purpose. Each target runs for `CALIGO_FUZZ_SECONDS`
//! (`inf` is a number) from a seed of the clock, or, when that is not set, for a second from seed 0, and names the seed it
//! failed at; `CALIGO_FUZZ_SEED` repeats that case alone.
//!
//! Honestly: these are random structured inputs. Nothing follows the coverage of the code, as libFuzzer would (which needs
//! an unstable toolchain), and nothing shrinks a case. Not here: the rules of decoding (`engines`), Python's arguments
//! (`tests/test_native_arguments.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use caligo_polar::bits::{bytes_for, check_packed, words_for};
use caligo_polar::checksum::{Check, HASH_KEY_BYTES, universal_hash, universal_hash_portable};
use caligo_polar::code::{Code, ListSizes, Segmentation};
use caligo_polar::decoder::{Checks, Decoder, Magnitudes, required_bytes};
use caligo_polar::design;
use caligo_polar::error::Error;
use caligo_polar::random::{Source, bernoulli_bits, random_bits, standard_normal};
use caligo_polar::simd::{EngineName, KernelLlr};
use caligo_polar::transform::polar_transform;
use common::{Rng, information_set, keep_below};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

mod common;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
}

/// Runs cases until the time is over; at least one.
fn fuzz(target: &str, case: fn(&mut Rng)) {
    if let Some(seed) = setting("CALIGO_FUZZ_SEED") {
        return case(&mut Rng(seed));
    }
    let given: Option<f64> = setting("CALIGO_FUZZ_SECONDS");
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (began, first) = (Instant::now(), given.map_or(0, |_| clock()));
    let limit = Duration::try_from_secs_f64(given.unwrap_or(1.0)).unwrap_or(Duration::MAX);
    for seed in first.. {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(&mut Rng(seed)))) {
            eprintln!("repeat with: CALIGO_FUZZ_SEED={seed} cargo test --test fuzz {target}");
            resume_unwind(panic);
        }
        if began.elapsed() > limit {
            eprintln!("{target}: {} cases", seed - first + 1);
            return;
        }
    }
}

macro_rules! targets {
    ($($name:ident: $case:expr;)*) => {$(
        #[test]
        fn $name() {
            fuzz(stringify!($name), $case);
        }
    )*};
}

targets! {
    hard_blocks_are_decoded_or_refused_by_int8_engines_alike: decode::<i8>;
    hard_blocks_are_decoded_or_refused_by_f32_engines_alike: decode::<f32>;
    soft_blocks_are_decoded_or_refused_by_int8_engines_alike: decode_soft::<i8>;
    soft_blocks_are_decoded_or_refused_by_f32_engines_alike: decode_soft::<f32>;
    batches_decode_as_their_blocks_do_with_int8_engines: batch::<i8>;
    batches_decode_as_their_blocks_do_with_f32_engines: batch::<f32>;
    codes_and_list_sizes_are_made_or_refused: codes;
    blocks_are_transformed_back_or_refused: transform;
    checks_are_linear_whatever_they_read: check_kinds;
    tags_are_the_same_with_and_without_special_instructions: hashes;
    designs_are_probabilities_or_refused: designs;
    random_numbers_fill_what_they_are_given: randomness;
}

/// A number near the edges of what is asked for.
fn count(rng: &mut Rng, usual: usize) -> usize {
    match rng.below(16) {
        0 => 0,
        1 => usual + 1,
        2 => usual.saturating_sub(1),
        3 => rng.below(2 * usual as u64 + 2) as usize,
        _ => usual,
    }
}

fn fill(rng: &mut Rng, length: usize) -> Vec<u8> {
    let style = rng.below(4);
    (0..length)
        .map(|_| match style {
            0 => 0,
            1 => 0xff,
            2 => rng.next() as u8,
            _ => 1 << rng.below(8) & rng.next() as u8,
        })
        .collect()
}

fn words(rng: &mut Rng, length: usize) -> Vec<u64> {
    fill(rng, 8 * length).as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

fn engines() -> impl Iterator<Item = EngineName> {
    EngineName::ALL.into_iter().filter(|engine| engine.available())
}

fn list_sizes(rng: &mut Rng) -> Result<ListSizes, Error> {
    let size = |rng: &mut Rng| match rng.below(12) {
        0 => rng.below(70) as usize,
        _ => 1 << rng.below(6),
    };
    let mut escalation: Vec<usize> = (0..rng.below(3)).map(|_| size(rng)).collect();
    escalation.sort_unstable();
    ListSizes::escalating(&escalation, size(rng))
}

/// A code that exists, in segments or not; now and then of a length at which rows share blocks.
fn code(rng: &mut Rng) -> Code {
    let log_length = if rng.below(40) == 0 { 13 + rng.below(3) } else { 1 + rng.below(11) };
    let length = 1usize << log_length;
    let mut info = information_set(rng, length);
    let shortened = if rng.below(3) == 0 { rng.below(length as u64) as usize } else { 0 };
    keep_below(&mut info, length - shortened);
    let code = Code::new(length, &info, shortened, Check::ALL[rng.below(4) as usize]).unwrap();
    let (segment_length, check) = (1usize << rng.below(2 * log_length), Check::ALL[rng.below(4) as usize]);
    code.with_segments(Segmentation::new(length, segment_length, check).ok())
}

/// Check values of a block and its segments, most often as many as there should be.
fn check_values(rng: &mut Rng, code: &Code) -> Vec<u32> {
    let length = 1 + count(rng, code.segment_count());
    (0..length).map(|_| rng.next() as u32 & [!0, 0][rng.below(2) as usize]).collect()
}

fn checks(values: &[u32]) -> Checks<'_> {
    Checks { block: values[0], segments: &values[1..] }
}

/// A packed row for a block of the code, most often without stray bits.
fn row(rng: &mut Rng, code: &Code, allowed: impl Fn(usize) -> u64) -> Vec<u8> {
    let mut row = words(rng, code.words());
    if rng.below(8) != 0 {
        keep_below(&mut row, code.payload_length());
        row.iter_mut().enumerate().for_each(|(index, word)| *word &= allowed(index));
    }
    let bytes: Vec<u8> = row.iter().flat_map(|word| word.to_le_bytes()).collect();
    let length = count(rng, bytes_for(code.block_length()));
    bytes.into_iter().chain(std::iter::repeat(0)).take(length).collect()
}

/// Decodes the same with every engine; what they say must be the same, and their memory what was announced.
fn with_every_engine<T: KernelLlr>(
    rng: &mut Rng,
    code: &Code,
    decode: impl Fn(&mut Decoder<T>, &mut [u8]) -> Result<bool, Error>,
) {
    let Ok(sizes) = list_sizes(rng) else { return };
    let length = count(rng, bytes_for(code.block_length()));
    let mut first = None;
    for engine in engines() {
        let mut decoder = match Decoder::<T>::with_list_sizes(code.clone(), sizes, engine) {
            Ok(decoder) => decoder,
            Err(error) => {
                assert!(matches!(error, Error::CheckRequired { .. }), "{error}");
                return;
            }
        };
        assert_eq!(decoder.allocated_bytes(), required_bytes::<T>(code, sizes));
        let mut decoded = vec![0xa5; length];
        let outcome = decode(&mut decoder, &mut decoded);
        if outcome.is_err() {
            assert!(decoded.iter().all(|&byte| byte == 0xa5), "a refused block was written");
        }
        let mut again = vec![0xa5; length];
        let second = decode(&mut decoder, &mut again);
        // As text, in which NaN is NaN.
        let found = (format!("{outcome:?}"), decoded);
        assert_eq!((format!("{second:?}"), again), found, "{} remembers", engine.name());
        assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "{}", engine.name());
    }
}

fn decode<T: KernelLlr>(rng: &mut Rng) {
    let code = code(rng);
    let received = row(rng, &code, |_| !0);
    let frozen = row(rng, &code, |index| !code.info()[index]);
    let (values, magnitudes) = (check_values(rng, &code), magnitudes(rng));
    with_every_engine::<T>(rng, &code, |decoder, decoded| {
        decoder.decode_bsc(&received, &frozen, checks(&values), magnitudes, decoded)
    });
}

/// One for both bits, or one for each.
fn magnitudes<T: KernelLlr>(rng: &mut Rng) -> Magnitudes<T> {
    let at_zero = magnitude(rng);
    Magnitudes { at_zero, at_one: if rng.below(2) == 0 { at_zero } else { magnitude(rng) } }
}

fn magnitude<T: KernelLlr>(rng: &mut Rng) -> T {
    let nats = rng.below(140) as f32 / 2.0;
    if rng.below(30) == 0 { T::CERTAIN.negate_if(true) } else { T::from_nats(nats) }
}

fn decode_soft<T: KernelLlr>(rng: &mut Rng) {
    let code = code(rng);
    let frozen = row(rng, &code, |index| !code.info()[index]);
    let (values, length) = (check_values(rng, &code), count(rng, code.block_length()));
    let llr = soft_values(rng, length);
    with_every_engine::<T>(rng, &code, |decoder, decoded| decoder.decode_soft(&llr, &frozen, checks(&values), decoded));
}

/// LLRs in nats: noisy, saturated, zero, mostly ties, any bits; now and then one that is none.
fn soft_values(rng: &mut Rng, length: usize) -> Vec<f32> {
    let style = rng.below(7);
    let odd = [f32::NAN, f32::INFINITY, f32::MIN_POSITIVE, f32::MAX, -0.0][rng.below(5) as usize];
    let mut llr: Vec<f32> = (0..length)
        .map(|_| match style {
            0 => 0.0,
            1 => [-1e30, 1e30][rng.below(2) as usize],
            2 => f32::from_bits(rng.next() as u32 & !(1 << 30)),
            3 => rng.below(3) as f32 - 1.0,
            _ => ((rng.unit() + rng.unit() + rng.unit() - 1.1) * 6.0) as f32,
        })
        .collect();
    if let (0, Some(value)) = (rng.below(6), llr.last_mut()) {
        *value = odd;
    }
    llr
}

/// A batch, hard or soft, with every engine, against its blocks one by one: up to the first that is refused.
fn batch<T: KernelLlr>(rng: &mut Rng) {
    let code = code(rng);
    if code.log_length() > 11 {
        return;
    }
    let (length, bytes) = (code.block_length(), bytes_for(code.block_length()));
    let sizes = if rng.below(2) == 0 { ListSizes::escalating(&[], 1) } else { list_sizes(rng) };
    let Ok(sizes) = sizes else { return };
    let blocks = [1, 23, 24, 63, 64, 65, 100][rng.below(7) as usize];
    let (mut received, mut frozen, mut llr, mut values) = (vec![], vec![], vec![], vec![]);
    let (soft, magnitudes) = (rng.below(3) == 0, magnitudes::<T>(rng));
    for _ in 0..blocks {
        let fit = |mut row: Vec<u8>| {
            row.resize(bytes, 0);
            row
        };
        // A batch is refused for one bad block in it, so bad blocks are rare.
        let sound = rng.below(100) != 0;
        let masked = |mut row: Vec<u8>, allowed: &dyn Fn(usize) -> u64| {
            let mask: Vec<u8> = (0..code.words()).flat_map(|index| allowed(index).to_le_bytes()).collect();
            row.iter_mut().zip(mask).for_each(|(byte, mask)| *byte &= if sound { mask } else { !0 });
            row
        };
        let mut sent = vec![!0; code.words()];
        keep_below(&mut sent, code.payload_length());
        received.extend(masked(fit(row(rng, &code, |_| !0)), &|index| sent[index]));
        frozen.extend(masked(fit(row(rng, &code, |_| !0)), &|index| sent[index] & !code.info()[index]));
        let mut soft_block = soft_values(rng, length);
        if sound {
            soft_block.iter_mut().for_each(|value| *value = if value.is_finite() { *value } else { 1.0 });
        }
        llr.extend(soft_block);
        values.extend((0..=code.segment_count()).map(|_| rng.next() as u32 & [!0, 0][rng.below(2) as usize]));
    }
    let Ok(mut reference) = Decoder::<T>::with_list_sizes(code.clone(), sizes, EngineName::Portable) else { return };
    let mut expected = (vec![0; blocks * bytes], vec![false; blocks]);
    let refused = (0..blocks).find_map(|block| {
        let (frozen, values) = (&frozen[block * bytes..][..bytes], &values[block * (1 + code.segment_count())..]);
        let checks = checks(&values[..=code.segment_count()]);
        let decoded = &mut expected.0[block * bytes..][..bytes];
        let outcome = if soft {
            reference.decode_soft(&llr[block * length..][..length], frozen, checks, decoded)
        } else {
            reference.decode_bsc(&received[block * bytes..][..bytes], frozen, checks, magnitudes, decoded)
        };
        match outcome {
            Ok(found) => {
                expected.1[block] = found;
                None
            }
            Err(error) => Some((block, format!("{error:?}"))),
        }
    });
    let done = refused.as_ref().map_or(blocks, |(block, _)| *block);
    for engine in engines() {
        let mut decoder = Decoder::<T>::with_list_sizes(code.clone(), sizes, engine).unwrap();
        let (mut decoded, mut accepted) = (vec![0; blocks * bytes], vec![false; blocks]);
        let outcome = if soft {
            decoder.decode_soft_batch(&llr, &frozen, &values, &mut decoded, &mut accepted)
        } else {
            decoder.decode_bsc_batch(&received, &frozen, &values, magnitudes, &mut decoded, &mut accepted)
        };
        assert_eq!(outcome.err().map(|error| format!("{error:?}")), refused.as_ref().map(|(_, text)| text.clone()));
        assert_eq!(decoded[..done * bytes], expected.0[..done * bytes], "{} {code:?} {sizes:?}", engine.name());
        assert_eq!(accepted[..done], expected.1[..done], "{}", engine.name());
        let short = &received[..received.len() - 1];
        assert!(decoder.decode_bsc_batch(short, &frozen, &values, magnitudes, &mut decoded, &mut accepted).is_err());
    }
}

fn codes(rng: &mut Rng) {
    let usual = 1 << rng.below(12);
    let length = count(rng, usual);
    let info_words = count(rng, words_for(length));
    let mut info = words(rng, info_words);
    let shortened = count(rng, length / 2);
    if rng.below(2) == 0 {
        keep_below(&mut info, length.saturating_sub(shortened));
    }
    if let Ok(code) = Code::new(length, &info, shortened, Check::Crc16) {
        assert_eq!((code.block_length(), code.payload_length() + shortened), (length, length));
        assert_eq!(code.info(), info);
        assert!(info.iter().map(|word| word.count_ones() as usize).sum::<usize>() <= code.payload_length());
    }
    if let Ok(sizes) = list_sizes(rng) {
        assert_eq!(sizes.iter().last(), Some(sizes.largest()));
        assert_eq!(sizes.iter().next(), Some(sizes.smallest()));
    }
    for length in [0, 1, 1 << 25, usize::MAX, 1 << 63] {
        assert!(matches!(Code::new(length, &info, 0, Check::None), Err(Error::BlockLength { .. })));
    }
}

fn transform(rng: &mut Rng) {
    let usual = 1 << rng.below(17);
    let length = count(rng, usual);
    let held = count(rng, words_for(length));
    let mut block = words(rng, held);
    if rng.below(3) != 0 {
        keep_below(&mut block, length);
    }
    let before = block.clone();
    if polar_transform(&mut block, length).is_ok() {
        polar_transform(&mut block, length).unwrap();
    }
    assert_eq!(block, before);
}

fn check_kinds(rng: &mut Rng) {
    let length = rng.below(600) as usize;
    let (a, b) = (fill(rng, length), fill(rng, length));
    let sum: Vec<u8> = a.iter().zip(&b).map(|(a, b)| a ^ b).collect();
    let zero = vec![0; length];
    for check in Check::ALL {
        let value = |bytes: &[u8]| check.value(bytes);
        assert_eq!(value(&a) ^ value(&b) ^ value(&sum), value(&zero));
        assert!(u64::from(value(&a)) < 1 << check.bits());
        let whole = length / 8;
        let words: Vec<u64> = a.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let linear = value(&a[..8 * whole]) ^ value(&zero[..8 * whole]);
        assert_eq!(check.linear_value(&words, 8 * whole), linear);
    }
    let name: String = fill(rng, 6).into_iter().map(char::from).collect();
    assert_eq!(Check::from_name(&name).is_ok(), Check::ALL.iter().any(|check| check.name() == name));
}

fn hashes(rng: &mut Rng) {
    let bits = rng.below(5000) as usize;
    let length = count(rng, bytes_for(bits));
    let mut packed = fill(rng, length);
    if let (true, Some(last)) = (rng.below(3) != 0 && !bits.is_multiple_of(8), packed.last_mut()) {
        *last &= (1 << (bits % 8)) - 1;
    }
    let key: [u8; HASH_KEY_BYTES] = fill(rng, HASH_KEY_BYTES).try_into().unwrap();
    let tag = universal_hash(&key, &packed, bits);
    assert_eq!(tag, universal_hash_portable(&key, &packed, bits));
    assert_eq!(tag.is_ok(), check_packed("packed", &packed, bits).is_ok());
}

fn designs(rng: &mut Rng) {
    let usual = 1 << rng.below(11);
    let length = count(rng, usual);
    let usual = if rng.below(2) == 0 { length } else { rng.below(length as u64 + 1) as usize };
    let payload = count(rng, usual);
    let parameter = match rng.below(8) {
        0 => [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-300, 1e300, 0.5, 1e-6][rng.below(8) as usize],
        1 => 10f64.powf(-8.0 + 12.0 * rng.unit()),
        _ => rng.unit(),
    };
    for design in [
        design::density_evolution(length, payload, parameter),
        design::gaussian(length, payload, parameter),
        design::nr(length),
        design::polarization_weight(length),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(design.len(), length);
        assert!(design.iter().all(|error| (0.0..=0.5).contains(error)));
    }
}

fn randomness(rng: &mut Rng) {
    let source = Source { seed: rng.next(), stream: rng.next() as u32, block: rng.next() };
    let bits = rng.below(3000) as usize;
    let mut row = vec![!0; count(rng, words_for(bits))];
    let probability = [f64::NAN, -0.1, 0.0, rng.unit(), 1.0, 1.1][rng.below(6) as usize];
    for done in [random_bits(source, bits, &mut row), bernoulli_bits(source, bits, probability, &mut row)] {
        if done.is_ok() {
            let bytes: Vec<u8> = row.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert!(check_packed("row", &bytes[..bytes_for(bits)], bits).is_ok());
        }
    }
    let mut numbers = vec![f32::NAN; rng.below(300) as usize];
    standard_normal(source, &mut numbers).unwrap();
    assert!(numbers.iter().all(|number| number.abs() < 7.0));
}
