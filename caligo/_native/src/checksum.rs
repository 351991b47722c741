//! CRCs, which tell the decoder which path is right, and the universal hash, which proves two keys equal.
//!
//! **Checks.** Three named CRCs over the packed bytes of a block. Whatever a CRC's initial value and final XOR, it is an
//! affine function of its message: `crc(x) ⊕ crc(y) = linear(x ⊕ y)` for equal lengths, where `linear` is the same CRC
//! with both set to zero. That is what lets a decoder work on the error pattern alone ([`Check::linear_value`]).
//! Sixteen bytes at a time through tables made at compile time ("slicing-by-16", Kounavis and Berry, 2008).
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

#[inline(always)]
fn advance<R: Register>(mut register: u32, bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<SLICES>();
    for block in blocks {
        register = advance_sixteen::<R>(register, *block);
    }
    for byte in rest {
        register = R::shift(register) ^ R::TABLES[0][R::leaving(register, *byte)];
    }
    register
}

#[inline(always)]
fn advance_words<R: Register>(mut register: u32, words: &[u64], bytes: usize) -> u32 {
    let (pairs, _) = words.as_chunks::<2>();
    let mut left = bytes;
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
    advance::<R>(register, rest.get(..left).unwrap_or(&[]))
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
        let bytes = bytes.min(8 * words.len());
        match self {
            Check::None => 0,
            Check::Crc16 => advance_words::<Xmodem>(0, words, bytes) >> 16,
            Check::Crc24 => advance_words::<LteA>(0, words, bytes) >> 8,
            Check::Crc32 => advance_words::<IsoHdlc>(0, words, bytes),
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
    let mut sum = 0;
    for block in blocks {
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

/// Product in GF(2)\[x\] / (x¹²⁸ + x⁷ + x² + x + 1).
#[inline(always)]
fn field_product(a: u128, b: u128, multiply: impl Fn(u64, u64) -> u128) -> u128 {
    let (a0, a1) = (a as u64, (a >> 64) as u64);
    let (b0, b1) = (b as u64, (b >> 64) as u64);
    let low = multiply(a0, b0);
    let high = multiply(a1, b1);
    let middle = multiply(a0 ^ a1, b0 ^ b1) ^ low ^ high;
    let (low, high) = (low ^ (middle << 64), high ^ (middle >> 64));
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

        pub fn tag(self, key: &[u8; super::HASH_KEY_BYTES], packed: &[u8], bits: usize) -> [u8; super::HASH_TAG_BYTES] {
            // SAFETY: the token exists only where `new` has detected PCLMULQDQ.
            unsafe { tag_pclmul(key, packed, bits) }
        }
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
