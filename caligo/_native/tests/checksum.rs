//! Laws of the checks and of the universal hash.

use caligo_polar::bits;
use caligo_polar::checksum::{self, Check};
use caligo_polar::error::Error;
use proptest::prelude::*;

/// The catalogue's values for "123456789" (CRC RevEng: CRC-16/XMODEM, CRC-24/LTE-A, CRC-32/ISO-HDLC).
#[test]
fn checks_have_their_published_values() {
    let values = [(Check::None, 0), (Check::Crc16, 0x31c3), (Check::Crc24, 0x00cd_e703), (Check::Crc32, 0xcbf4_3926)];
    for (check, value) in values {
        assert_eq!(check.value(b"123456789"), value, "{}", check.name());
        assert_eq!(Check::from_name(check.name()), Ok(check));
    }
    assert!(matches!(Check::from_name("crc8"), Err(Error::UnknownName { .. })));
}

/// A register, a bit at a time, straight from the definition.
fn bitwise(check: Check, bytes: &[u8]) -> u32 {
    let (width, polynomial, reflected, ones) = match check {
        Check::None => return 0,
        Check::Crc16 => (16, 0x1021, false, false),
        Check::Crc24 => (24, 0x86_4cfb, false, false),
        Check::Crc32 => (32, 0x04c1_1db7, true, true),
    };
    let mask = u32::MAX >> (32 - width);
    let mut register = if ones { mask } else { 0 };
    for byte in bytes {
        for place in 0..8 {
            let bit = if reflected { byte >> place } else { byte >> (7 - place) } & 1;
            let out = (register >> (width - 1)) & 1 != u32::from(bit);
            register = (register << 1) & mask;
            if out {
                register ^= polynomial;
            }
        }
    }
    let register = if reflected { register.reverse_bits() >> (32 - width) } else { register };
    if ones { register ^ mask } else { register }
}

fn words_of(bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![0; bytes.len().div_ceil(8)];
    bits::words_from_bytes(&mut words, bytes);
    words
}

proptest! {
    #[test]
    fn fast_registers_agree_with_the_bitwise_one(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for check in Check::ALL {
            prop_assert_eq!(check.value(&bytes), bitwise(check, &bytes));
        }
    }

    #[test]
    fn checks_are_linear_up_to_a_constant(pairs in prop::collection::vec(any::<(u8, u8)>(), 0..200)) {
        let (x, y): (Vec<u8>, Vec<u8>) = pairs.iter().copied().unzip();
        let difference: Vec<u8> = pairs.iter().map(|(a, b)| a ^ b).collect();
        for check in Check::ALL {
            let linear = check.linear_value(&words_of(&difference), difference.len());
            prop_assert_eq!(check.value(&x) ^ check.value(&y), linear);
            prop_assert_eq!(check.value(&x) ^ check.value(&vec![0; x.len()]), check.linear_value(&words_of(&x), x.len()));
            let (head, tail) = x.split_at(x.len() / 2);
            let before = check.linear_value(&words_of(head), head.len());
            let after = check.linear_value_after(before, &words_of(tail), tail.len());
            prop_assert_eq!(after, check.linear_value(&words_of(&x), x.len()));
        }
    }

    #[test]
    fn the_hash_is_the_same_with_and_without_carryless_multiply(
        key in any::<[u8; 32]>(), bytes in prop::collection::vec(any::<u8>(), 0..100), cut in 0usize..8,
    ) {
        let mut bytes = bytes;
        let mut count = 8 * bytes.len();
        if let Some(last) = bytes.last_mut() {
            *last &= 0xff >> cut;
            count -= cut;
        }
        let tag = checksum::universal_hash(&key, &bytes, count);
        prop_assert_eq!(&tag, &checksum::universal_hash_portable(&key, &bytes, count));
        prop_assert_eq!(tag.unwrap(), schoolbook_tag(&key, &bytes, count));
    }

    #[test]
    fn the_length_is_part_of_the_message(key in any::<[u8; 32]>(), zeros in 0usize..40) {
        prop_assume!(key[..16] != [0; 16]);
        let tag = |count: usize| checksum::universal_hash(&key, &vec![0; count.div_ceil(8)], count).unwrap();
        prop_assert_ne!(tag(zeros), tag(zeros + 1));
    }
}

/// Bit by bit: shift, and subtract the modulus when the top bit leaves.
fn schoolbook_product(a: u128, b: u128) -> u128 {
    (0..128).rev().fold(0, |sum: u128, place| {
        let shifted = (sum << 1) ^ if sum >> 127 == 1 { 0x87 } else { 0 };
        if (b >> place) & 1 == 1 { shifted ^ a } else { shifted }
    })
}

fn schoolbook_tag(key: &[u8; 32], bytes: &[u8], count: usize) -> [u8; 16] {
    let number = |part: &[u8]| part.iter().rev().fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
    let (point, pad) = (number(&key[..16]), number(&key[16..]));
    let mut terms: Vec<u128> = bytes.chunks(16).map(number).collect();
    terms.push(count as u128);
    let sum = terms.iter().fold(0, |sum, term| schoolbook_product(sum ^ term, point));
    (sum ^ pad).to_le_bytes()
}

#[test]
fn a_message_that_is_not_its_length_is_refused() {
    let key = [1; 32];
    assert!(matches!(checksum::universal_hash(&key, &[0; 3], 16), Err(Error::Length { .. })));
    assert!(matches!(checksum::universal_hash(&key, &[0, 4], 10), Err(Error::StrayBits { position: 10, .. })));
}
