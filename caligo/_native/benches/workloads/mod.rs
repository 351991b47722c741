//! Codes and received blocks for the benchmarks of the decoders: designed codes, seeded noise, and the cases that hurt.
//!
//! Not here: what is measured about them (`decoders`: time; `instructions`: instructions).
#![allow(dead_code, reason = "each benchmark uses what it needs")]

use caligo_polar::checksum::Check;
use caligo_polar::code::Code;
use caligo_polar::decoder::Decoder;
use caligo_polar::design;
use caligo_polar::llr::Llr;
use caligo_polar::random::{self, Source};
use caligo_polar::simd::{EngineName, KernelLlr};
use caligo_polar::transform;

/// Crossover probability that every code is designed for.
pub const QBER: f64 = 0.02;

/// What happens to a block on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Noise {
    /// Errors at the rate the code is designed for.
    Nominal,
    /// Half as many errors again.
    Excess,
    /// Nothing of the block is left.
    Pure,
    /// As nominal, but every LLR is zero: every comparison a tie.
    Zeros,
    /// As nominal, but every LLR is as large as can be.
    Saturated,
}

impl Noise {
    /// All of them, the usual one first.
    pub const ALL: [Noise; 5] = [Noise::Nominal, Noise::Excess, Noise::Pure, Noise::Zeros, Noise::Saturated];

    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Noise::Nominal => "nominal",
            Noise::Excess => "excess",
            Noise::Pure => "pure",
            Noise::Zeros => "zeros",
            Noise::Saturated => "saturated",
        }
    }

    fn rate(self) -> f64 {
        match self {
            Noise::Excess => 1.5 * QBER,
            Noise::Pure => 0.5,
            Noise::Nominal | Noise::Zeros | Noise::Saturated => QBER,
        }
    }

    fn magnitude<T: Llr>(self) -> T {
        match self {
            Noise::Zeros => T::default(),
            Noise::Saturated => T::CERTAIN,
            Noise::Nominal | Noise::Excess | Noise::Pure => T::from_crossover(QBER),
        }
    }
}

/// A code of 2^`log_length` positions for a leakage of `efficiency` times the Shannon limit, a 32-bit check included.
pub fn code(log_length: u32, efficiency: f64) -> Code {
    let length = 1usize << log_length;
    let entropy = -(QBER * QBER.log2() + (1.0 - QBER) * (1.0 - QBER).log2());
    let leakage = (efficiency * entropy * length as f64).round() as usize;
    let errors = design::density_evolution(length, length, QBER).expect("the QBER is within its range");
    let mut order: Vec<usize> = (0..length).collect();
    order.sort_by(|&a, &b| errors[a].total_cmp(&errors[b]).then(b.cmp(&a)));
    let mut info = vec![0u64; length.div_ceil(64)];
    for &index in &order[..length + 32 - leakage] {
        info[index / 64] |= 1 << (index % 64);
    }
    Code::new(length, &info, 0, Check::Crc32).expect("the set fits its length")
}

/// A block as Bob has it, and as Alice sent it.
pub struct Block<T> {
    sent: Vec<u8>,
    received: Vec<u8>,
    frozen_values: Vec<u8>,
    check_value: u32,
    magnitude: T,
    decoded: Vec<u8>,
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl<T: KernelLlr> Block<T> {
    /// Block `number` of a code; the same number gives the same block.
    pub fn new(code: &Code, noise: Noise, number: u64) -> Self {
        let length = code.block_length();
        let (mut sent, mut errors) = (vec![0; code.words()], vec![0; code.words()]);
        random::random_bits(Source { seed: 1, stream: 1, block: number }, length, &mut sent).expect("it fits");
        random::bernoulli_bits(Source { seed: 1, stream: 2, block: number }, length, noise.rate(), &mut errors)
            .expect("it fits");
        let received: Vec<u64> = sent.iter().zip(&errors).map(|(a, b)| a ^ b).collect();
        let mut frozen = sent.clone();
        transform::polar_transform(&mut frozen, length).expect("it fits");
        frozen.iter_mut().zip(code.info()).for_each(|(word, info)| *word &= !info);
        let sent = bytes(&sent);
        Self {
            check_value: code.check().value(&sent),
            received: bytes(&received),
            frozen_values: bytes(&frozen),
            magnitude: noise.magnitude(),
            decoded: vec![0; sent.len()],
            sent,
        }
    }

    /// Decodes it; true if that gives what was sent.
    pub fn decode(&mut self, decoder: &mut Decoder<T>) -> bool {
        let Self { received, frozen_values, check_value, magnitude, decoded, .. } = self;
        let found = decoder.decode_bsc(received, frozen_values, *check_value, *magnitude, decoded);
        found.expect("the block fits the code") && self.decoded == self.sent
    }
}

/// Blocks one after the other, as a batch call takes them.
pub struct Batch<T> {
    received: Vec<u8>,
    frozen_values: Vec<u8>,
    check_values: Vec<u32>,
    magnitude: T,
    decoded: Vec<u8>,
    accepted: Vec<bool>,
}

impl<T: KernelLlr> Batch<T> {
    /// Blocks 0 to `count` of a code.
    pub fn new(code: &Code, noise: Noise, count: u64) -> Self {
        let blocks: Vec<Block<T>> = (0..count).map(|number| Block::new(code, noise, number)).collect();
        Self {
            received: blocks.iter().flat_map(|block| block.received.clone()).collect(),
            frozen_values: blocks.iter().flat_map(|block| block.frozen_values.clone()).collect(),
            check_values: blocks.iter().map(|block| block.check_value).collect(),
            magnitude: noise.magnitude(),
            decoded: blocks.iter().flat_map(|block| block.decoded.clone()).collect(),
            accepted: vec![false; blocks.len()],
        }
    }

    /// Decodes it; the blocks that were accepted.
    pub fn decode(&mut self, decoder: &mut Decoder<T>) -> usize {
        let Self { received, frozen_values, check_values, magnitude, decoded, accepted } = self;
        let done = decoder.decode_bsc_batch(received, frozen_values, check_values, *magnitude, decoded, accepted);
        done.expect("the blocks fit the code");
        accepted.iter().filter(|accepted| **accepted).count()
    }
}

/// Channel LLRs of the error of block `number`: what the decoder proper works on.
pub fn channel<T: Llr>(code: &Code, noise: Noise, number: u64) -> Vec<T> {
    let mut errors = vec![0; code.words()];
    random::bernoulli_bits(
        Source { seed: 1, stream: 2, block: number },
        code.block_length(),
        noise.rate(),
        &mut errors,
    )
    .expect("it fits");
    let negative = |index: usize| errors[index / 64] >> (index % 64) & 1 == 1;
    (0..code.block_length()).map(|index| noise.magnitude::<T>().negate_if(negative(index))).collect()
}

/// The engines of this CPU.
pub fn engines() -> impl Iterator<Item = EngineName> {
    EngineName::ALL.into_iter().filter(|engine| engine.available())
}
