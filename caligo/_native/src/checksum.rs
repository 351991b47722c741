//! CRCs, which tell the decoder which path is right, and the universal hash, which proves two keys equal.
//!
//! **Checks.** Three named CRCs over the packed bytes of a block. Whatever a CRC's initial value and final XOR, it is an
//! affine function of its message: `crc(x) ⊕ crc(y) = linear(x ⊕ y)` for equal lengths, where `linear` is the same CRC
//! with both set to zero. That is what lets a decoder work on the error pattern alone ([`Check::linear_value`]).
//! Sixteen bytes at a time through tables made at compile time ("slicing-by-16", Kounavis and Berry, 2008); where the CPU
//! multiplies polynomials, long messages are first folded to 64 bytes of the same CRC (Gopal et al., 2009).
//!
//! **Universal hash.** A polynomial over GF(2¹²⁸) evaluated at a secret point and masked with a pad. Bit `i` of a
//! little-endian 16-byte block is the coefficient of `x^i`, modulo `x¹²⁸ + x⁷ + x² + x + 1`. A message of `b` bits is
//! `n = ⌈b/128⌉` blocks `m₁ … mₙ` (the last padded with zeros); with evaluation point `r` and pad `s`,
//!
//! ```text
//! tag = s + m₁·r^{n+1} + m₂·r^n + … + mₙ·r² + b·r
//! ```
//!
//! Two different messages (`b` included) differ by a non-zero polynomial in `r` of degree at most `n + 1` without a
//! constant term, so for uniform `r` any fixed difference of their tags has probability at most `ε = (n + 1)/2¹²⁸`,
//! `n` taken from the longer one: ε-almost-XOR-universal, and strongly so with a fresh uniform pad. The point must be
//! drawn after both messages are fixed, and used for them only.
//!
//! Not covered: what the tags and checks are counted as (leakage), and who draws the key.

use crate::bits;
use crate::error::{Error, Result};

/// A CRC by name, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// No check: the best path is taken as it is.
    None,
    /// CRC-16/XMODEM: polynomial 0x1021, initial value 0; 0x31C3 for "123456789".
    Crc16,
    /// CRC-24/LTE-A: polynomial 0x864CFB, initial value 0; 0xCDE703 for "123456789".
    Crc24,
    /// CRC-32/ISO-HDLC: polynomial 0x04C11DB7 reflected, initial value and final XOR all ones; 0xCBF43926 for "123456789".
    Crc32,
}

/// Bytes taken from the message at a time.
const SLICES: usize = 16;

type Tables = [[u32; 256]; SLICES];

/// One CRC register, kept so that a shift by a byte and a table look-up advance it.
trait Register {
    const TABLES: &'static Tables;
    /// The register with `bytes` more bytes shifted out of it.
    fn shift(register: u32) -> u32;
    /// The table index of the byte that leaves the register next, XORed with the message byte.
    fn leaving(register: u32, byte: u8) -> usize;
    /// The register as its first four message bytes see it.
    fn as_bytes(register: u32) -> [u8; 4];
    /// Sixteen message bytes, read low byte first, as the 128-bit polynomial of their [`Register::FOLD`]; an involution.
    fn open(low: u64, high: u64) -> (u64, u64);
    /// What the low and the high half of such a polynomial are multiplied by to move it [`FOLD_BITS`] towards the end.
    const FOLD: [u64; 2];
}

/// Distance over which a folding step moves: four blocks of 16 bytes.
const FOLD_BITS: u32 = 512;
/// Words of a folding step.
const FOLD_WORDS: usize = FOLD_BITS as usize / 64;

/// x^exponent modulo x³² + `polynomial`, bit i the coefficient of x^i.
const fn power(polynomial: u32, exponent: u32) -> u64 {
    let mut power = 1u64;
    let mut step = 0;
    while step < exponent {
        power <<= 1;
        if power >> 32 == 1 {
            power ^= 1 << 32 | polynomial as u64;
        }
        step += 1;
    }
    power
}

/// First bit of a byte is its highest; the register is left-aligned in 32 bits.
struct HighFirst<const POLYNOMIAL: u32>;
/// First bit of a byte is its lowest; `POLYNOMIAL` is written reflected.
struct LowFirst<const POLYNOMIAL: u32>;

impl<const POLYNOMIAL: u32> HighFirst<POLYNOMIAL> {
    const MADE: Tables = make_tables(POLYNOMIAL, false);
}

impl<const POLYNOMIAL: u32> LowFirst<POLYNOMIAL> {
    const MADE: Tables = make_tables(POLYNOMIAL, true);
}

impl<const POLYNOMIAL: u32> Register for HighFirst<POLYNOMIAL> {
    const TABLES: &'static Tables = &Self::MADE;
    #[inline(always)]
    fn shift(register: u32) -> u32 {
        register << 8
    }
    #[inline(always)]
    fn leaving(register: u32, byte: u8) -> usize {
        usize::from((register >> 24) as u8 ^ byte)
    }
    #[inline(always)]
    fn as_bytes(register: u32) -> [u8; 4] {
        register.to_be_bytes()
    }
    #[inline(always)]
    fn open(low: u64, high: u64) -> (u64, u64) {
        (high.swap_bytes(), low.swap_bytes())
    }
    const FOLD: [u64; 2] = [power(POLYNOMIAL, FOLD_BITS), power(POLYNOMIAL, FOLD_BITS + 64)];
}

impl<const POLYNOMIAL: u32> Register for LowFirst<POLYNOMIAL> {
    const TABLES: &'static Tables = &Self::MADE;
    #[inline(always)]
    fn shift(register: u32) -> u32 {
        register >> 8
    }
    #[inline(always)]
    fn leaving(register: u32, byte: u8) -> usize {
        usize::from(register as u8 ^ byte)
    }
    #[inline(always)]
    fn as_bytes(register: u32) -> [u8; 4] {
        register.to_le_bytes()
    }
    #[inline(always)]
    fn open(low: u64, high: u64) -> (u64, u64) {
        (low, high)
    }
    // Bit i of a half stands for x^(63 − i), and a product of two halves, read as 128 bits, is x times too large.
    const FOLD: [u64; 2] = [
        power(POLYNOMIAL.reverse_bits(), FOLD_BITS + 63).reverse_bits(),
        power(POLYNOMIAL.reverse_bits(), FOLD_BITS - 1).reverse_bits(),
    ];
}

/// Table `k` holds the register after a byte and `k` zero bytes.
const fn make_tables(polynomial: u32, low_first: bool) -> Tables {
    let mut tables = [[0; 256]; SLICES];
    let mut byte = 0;
    while byte < 256 {
        let mut register = if low_first { byte as u32 } else { (byte as u32) << 24 };
        let mut bit = 0;
        while bit < 8 {
            let out = if low_first { register & 1 } else { register >> 31 };
            register = if low_first { register >> 1 } else { register << 1 };
            if out == 1 {
                register ^= polynomial;
            }
            bit += 1;
        }
        tables[0][byte] = register;
        byte += 1;
    }
    let mut slice = 1;
    while slice < SLICES {
        byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = if low_first {
                (before >> 8) ^ tables[0][(before & 0xff) as usize]
            } else {
                (before << 8) ^ tables[0][(before >> 24) as usize]
            };
            byte += 1;
        }
        slice += 1;
    }
    tables
}

#[inline(always)]
fn advance_sixteen<R: Register>(register: u32, mut block: [u8; SLICES]) -> u32 {
    for (byte, own) in block.iter_mut().zip(R::as_bytes(register)) {
        *byte ^= own;
    }
    let mut next = 0;
    for (slice, byte) in R::TABLES.iter().rev().zip(block) {
        next ^= slice[usize::from(byte)];
    }
    next
}

fn advance<R: Register>(mut register: u32, bytes: &[u8]) -> u32 {
    let mut bytes = bytes;
    #[cfg(target_arch = "x86_64")]
    if let (Some(engine), (chunks @ [_, _, ..], rest)) = (clmul::Pclmul::new(), bytes.as_chunks::<64>()) {
        let words = |chunk: &[u8; 64]| {
            let (words, _) = chunk.as_chunks::<8>();
            std::array::from_fn(|i| u64::from_le_bytes(words[i]))
        };
        register = advance_tables::<R>(0, &engine.fold::<R>(register, chunks.iter().map(words)));
        bytes = rest;
    }
    advance_tables::<R>(register, bytes)
}

#[inline(always)]
fn advance_tables<R: Register>(mut register: u32, bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<SLICES>();
    for block in blocks {
        register = advance_sixteen::<R>(register, *block);
    }
    for byte in rest {
        register = R::shift(register) ^ R::TABLES[0][R::leaving(register, *byte)];
    }
    register
}

fn advance_words<R: Register>(mut register: u32, words: &[u64], bytes: usize) -> u32 {
    let mut left = bytes;
    let mut words = words;
    #[cfg(target_arch = "x86_64")]
    if let (Some(engine), true) = (clmul::Pclmul::new(), bytes >= 2 * 8 * FOLD_WORDS) {
        let (folded, rest) = words.split_at(bytes / (8 * FOLD_WORDS) * FOLD_WORDS);
        let folded = engine.fold::<R>(register, folded.as_chunks::<FOLD_WORDS>().0.iter().copied());
        register = advance_tables::<R>(0, &folded);
        words = rest;
        left %= 8 * FOLD_WORDS;
    }
    let bytes = left;
    let (pairs, _) = words.as_chunks::<2>();
    for pair in pairs.iter().take(bytes / SLICES) {
        let block = u128::from(pair[0]) | u128::from(pair[1]) << 64;
        register = advance_sixteen::<R>(register, block.to_le_bytes());
        left -= SLICES;
    }
    let mut rest = [0; SLICES];
    let done = (bytes - left) / 8;
    for (chunk, word) in rest.chunks_exact_mut(8).zip(words.iter().skip(done)) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    advance_tables::<R>(register, rest.get(..left).unwrap_or(&[]))
}

type Xmodem = HighFirst<0x1021_0000>;
type LteA = HighFirst<0x864c_fb00>;
type IsoHdlc = LowFirst<0xedb8_8320>;

impl Check {
    /// Every check, in the order of their lengths.
    pub const ALL: [Check; 4] = [Check::None, Check::Crc16, Check::Crc24, Check::Crc32];
    /// The names, in the same order.
    pub const NAMES: [&'static str; 4] = ["none", "crc16", "crc24", "crc32"];

    /// The check called `name`.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|check| check.name() == name).ok_or_else(|| Error::UnknownName {
            what: "check",
            got: name.to_owned(),
            known: &Self::NAMES,
        })
    }

    /// The name: `none`, `crc16`, `crc24` or `crc32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Check::None => "none",
            Check::Crc16 => "crc16",
            Check::Crc24 => "crc24",
            Check::Crc32 => "crc32",
        }
    }

    /// Bits of the check value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Check::None => 0,
            Check::Crc16 => 16,
            Check::Crc24 => 24,
            Check::Crc32 => 32,
        }
    }

    /// The published CRC of a byte string; 0 for [`Check::None`].
    #[must_use]
    pub fn value(self, bytes: &[u8]) -> u32 {
        match self {
            Check::None => 0,
            Check::Crc16 => advance::<Xmodem>(0, bytes) >> 16,
            Check::Crc24 => advance::<LteA>(0, bytes) >> 8,
            Check::Crc32 => !advance::<IsoHdlc>(!0, bytes),
        }
    }

    /// The linear part of the CRC of the first `bytes` bytes of a packed row: `value(x) ⊕ value(0)`.
    ///
    /// `words` holds at least that many bytes; those it lacks do not count.
    #[must_use]
    pub fn linear_value(self, words: &[u64], bytes: usize) -> u32 {
        self.linear_value_after(0, words, bytes)
    }

    /// The same of a row that goes on from one whose linear value is `before`.
    #[must_use]
    pub fn linear_value_after(self, before: u32, words: &[u64], bytes: usize) -> u32 {
        let bytes = bytes.min(8 * words.len());
        match self {
            Check::None => 0,
            Check::Crc16 => advance_words::<Xmodem>(before << 16, words, bytes) >> 16,
            Check::Crc24 => advance_words::<LteA>(before << 8, words, bytes) >> 8,
            Check::Crc32 => advance_words::<IsoHdlc>(before, words, bytes),
        }
    }
}

/// Bytes of a universal-hash key: 16 of the evaluation point, then 16 of the pad.
pub const HASH_KEY_BYTES: usize = 32;
/// Bytes of a universal-hash tag.
pub const HASH_TAG_BYTES: usize = 16;

/// Tag of a packed message of `bits` bits (formula and bound: module documentation).
///
/// # Errors
/// [`Error::Length`] if `packed` is not `⌈bits/8⌉` bytes; [`Error::StrayBits`] if its padding is not zero.
pub fn universal_hash(key: &[u8; HASH_KEY_BYTES], packed: &[u8], bits: usize) -> Result<[u8; HASH_TAG_BYTES]> {
    bits::check_packed("packed", packed, bits)?;
    #[cfg(target_arch = "x86_64")]
    if let Some(engine) = clmul::Pclmul::new() {
        return Ok(engine.tag(key, packed, bits));
    }
    Ok(tag(key, packed, bits, clmul::portable))
}

/// [`universal_hash`] without any special instruction; the two agree bit for bit.
///
/// # Errors
/// As [`universal_hash`].
pub fn universal_hash_portable(key: &[u8; HASH_KEY_BYTES], packed: &[u8], bits: usize) -> Result<[u8; HASH_TAG_BYTES]> {
    bits::check_packed("packed", packed, bits)?;
    Ok(tag(key, packed, bits, clmul::portable))
}

#[inline(always)]
fn tag(
    key: &[u8; HASH_KEY_BYTES],
    packed: &[u8],
    bits: usize,
    multiply: impl Fn(u64, u64) -> u128 + Copy,
) -> [u8; HASH_TAG_BYTES] {
    let (halves, _) = key.as_chunks::<16>();
    let [point, pad] = [halves[0], halves[1]].map(u128::from_le_bytes);
    let (blocks, rest) = packed.as_chunks::<16>();
    let (strides, single) = blocks.as_chunks::<STRIDE>();
    let mut sum = 0;
    if !strides.is_empty() {
        // Horner's rule, eight blocks at a time: their products do not wait for each other, and are reduced together.
        let mut powers = [point; STRIDE];
        for exponent in 1..STRIDE {
            powers[exponent] = field_product(powers[exponent - 1], point, multiply);
        }
        powers.reverse();
        for stride in strides {
            let mut products = wide_product(sum ^ u128::from_le_bytes(stride[0]), powers[0], multiply);
            for (block, power) in stride.iter().zip(powers).skip(1) {
                let (low, high) = wide_product(u128::from_le_bytes(*block), power, multiply);
                products = (products.0 ^ low, products.1 ^ high);
            }
            sum = reduced(products);
        }
    }
    for block in single {
        sum = field_product(sum ^ u128::from_le_bytes(*block), point, multiply);
    }
    if !rest.is_empty() {
        let mut block = [0; 16];
        block[..rest.len()].copy_from_slice(rest);
        sum = field_product(sum ^ u128::from_le_bytes(block), point, multiply);
    }
    sum = field_product(sum ^ bits as u128, point, multiply);
    (sum ^ pad).to_le_bytes()
}

/// Blocks of a message that are taken at a time.
const STRIDE: usize = 8;

/// Product in GF(2)\[x\] / (x¹²⁸ + x⁷ + x² + x + 1).
#[inline(always)]
fn field_product(a: u128, b: u128, multiply: impl Fn(u64, u64) -> u128) -> u128 {
    reduced(wide_product(a, b, multiply))
}

/// Product in GF(2)\[x\]: its lower and its upper 128 coefficients.
#[inline(always)]
fn wide_product(a: u128, b: u128, multiply: impl Fn(u64, u64) -> u128) -> (u128, u128) {
    let (a0, a1) = (a as u64, (a >> 64) as u64);
    let (b0, b1) = (b as u64, (b >> 64) as u64);
    let low = multiply(a0, b0);
    let high = multiply(a1, b1);
    let middle = multiply(a0 ^ a1, b0 ^ b1) ^ low ^ high;
    (low ^ (middle << 64), high ^ (middle >> 64))
}

/// What is left of a wide product modulo x¹²⁸ + x⁷ + x² + x + 1.
#[inline(always)]
fn reduced((low, high): (u128, u128)) -> u128 {
    // x^128 = x^7 + x^2 + x + 1; what that pushes past x^127 again is less than seven bits wide.
    let over = (high >> 127) ^ (high >> 126) ^ (high >> 121);
    let fold = high ^ over;
    low ^ fold ^ (fold << 1) ^ (fold << 2) ^ (fold << 7)
}

/// Products of 64-bit polynomials over GF(2).
mod clmul {
    /// In plain integer arithmetic, in constant time: operands are split into four with three holes between their bits,
    /// so that carries die in the holes (Pornin, BearSSL, `ghash_ctmul64`). The upper half is the lower half of the
    /// reversed operands.
    #[inline]
    pub fn portable(a: u64, b: u64) -> u128 {
        let low = low_half(a, b);
        let high = low_half(a.reverse_bits(), b.reverse_bits()).reverse_bits() >> 1;
        u128::from(low) | u128::from(high) << 64
    }

    #[inline(always)]
    fn low_half(a: u64, b: u64) -> u64 {
        const HOLES: [u64; 4] =
            [0x1111_1111_1111_1111, 0x2222_2222_2222_2222, 0x4444_4444_4444_4444, 0x8888_8888_8888_8888];
        let parts_a = HOLES.map(|mask| a & mask);
        let parts_b = HOLES.map(|mask| b & mask);
        let mut product = 0;
        for (class, mask) in HOLES.iter().enumerate() {
            let mut sum = 0;
            for (i, part) in parts_a.iter().enumerate() {
                sum ^= part.wrapping_mul(parts_b[(4 + class - i) % 4]);
            }
            product |= sum & mask;
        }
        product
    }

    /// Proof that this CPU has PCLMULQDQ.
    #[cfg(target_arch = "x86_64")]
    #[derive(Clone, Copy)]
    pub struct Pclmul(());

    #[cfg(target_arch = "x86_64")]
    impl Pclmul {
        pub fn new() -> Option<Self> {
            std::arch::is_x86_feature_detected!("pclmulqdq").then_some(Self(()))
        }

        /// Folds a message to 64 bytes that take a register of 0 to where the message takes `register`.
        pub fn fold<R: super::Register>(
            self,
            register: u32,
            message: impl Iterator<Item = [u64; super::FOLD_WORDS]>,
        ) -> [u8; 8 * super::FOLD_WORDS] {
            // SAFETY: the token exists only where `new` has detected PCLMULQDQ.
            unsafe { fold_pclmul::<R>(register, message) }
        }

        pub fn tag(self, key: &[u8; super::HASH_KEY_BYTES], packed: &[u8], bits: usize) -> [u8; super::HASH_TAG_BYTES] {
            // SAFETY: the token exists only where `new` has detected PCLMULQDQ.
            unsafe { tag_pclmul(key, packed, bits) }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "pclmulqdq")]
    fn fold_pclmul<R: super::Register>(
        register: u32,
        message: impl Iterator<Item = [u64; super::FOLD_WORDS]>,
    ) -> [u8; 8 * super::FOLD_WORDS] {
        use std::arch::x86_64::{
            _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_setzero_si128, _mm_unpackhi_epi64,
            _mm_xor_si128,
        };
        let constants = _mm_set_epi64x(R::FOLD[1] as i64, R::FOLD[0] as i64);
        let mut sums = [_mm_setzero_si128(); super::FOLD_WORDS / 2];
        let mut opening = u64::from(u32::from_le_bytes(R::as_bytes(register)));
        for words in message {
            for (sum, pair) in sums.iter_mut().zip(words.as_chunks::<2>().0) {
                let (low, high) = R::open(pair[0] ^ opening, pair[1]);
                opening = 0;
                let moved_low = _mm_clmulepi64_si128::<0x00>(*sum, constants);
                let moved_high = _mm_clmulepi64_si128::<0x11>(*sum, constants);
                let moved = _mm_xor_si128(moved_low, moved_high);
                *sum = _mm_xor_si128(moved, _mm_set_epi64x(high as i64, low as i64));
            }
        }
        let mut bytes = [0; 8 * super::FOLD_WORDS];
        for (bytes, sum) in bytes.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
            let (low, high) = (_mm_cvtsi128_si64(sum), _mm_cvtsi128_si64(_mm_unpackhi_epi64(sum, sum)));
            let (low, high) = R::open(low as u64, high as u64);
            *bytes = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
        }
        bytes
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "pclmulqdq")]
    fn tag_pclmul(key: &[u8; super::HASH_KEY_BYTES], packed: &[u8], bits: usize) -> [u8; super::HASH_TAG_BYTES] {
        super::tag(key, packed, bits, |a, b| product(a, b))
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "pclmulqdq")]
    #[inline]
    fn product(a: u64, b: u64) -> u128 {
        use std::arch::x86_64::{_mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_unpackhi_epi64};
        let wide = _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(a as i64), _mm_cvtsi64_si128(b as i64));
        let low = _mm_cvtsi128_si64(wide) as u64;
        let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(wide, wide)) as u64;
        u128::from(low) | u128::from(high) << 64
    }
}
