//! Laws of the packed-bit primitives, against plain vectors of bits.

use caligo_polar::bits;
use caligo_polar::error::Error;
use proptest::prelude::*;

fn unpack(words: &[u64], count: usize) -> Vec<bool> {
    (0..count).map(|i| bits::get(words, i)).collect()
}

fn pack(values: &[bool]) -> Vec<u64> {
    let mut words = vec![0; bits::words_for(values.len())];
    for (i, value) in values.iter().enumerate() {
        bits::set(&mut words, i, *value);
    }
    words
}

proptest! {
    #[test]
    fn bytes_and_words_are_two_views_of_one_row(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut words = vec![u64::MAX; bytes.len().div_ceil(8) + 1];
        bits::words_from_bytes(&mut words, &bytes);
        for i in 0..8 * bytes.len() {
            prop_assert_eq!(bits::get(&words, i), (bytes[i / 8] >> (i % 8)) & 1 == 1);
        }
        prop_assert_eq!(bits::first_one_from(&words, 8 * bytes.len()), None);
        let mut back = vec![0; bytes.len()];
        bits::bytes_from_words(&mut back, &words);
        prop_assert_eq!(back, bytes);
    }

    #[test]
    fn copying_moves_exactly_the_range(
        source in prop::collection::vec(any::<bool>(), 1..300),
        target in prop::collection::vec(any::<bool>(), 1..300),
        a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), c in any::<prop::sample::Index>(),
    ) {
        let (from, to) = (a.index(source.len()), b.index(target.len()));
        let count = c.index((source.len() - from).min(target.len() - to) + 1);
        let mut expected = target.clone();
        expected[to..to + count].copy_from_slice(&source[from..from + count]);
        let mut words = pack(&target);
        bits::copy_bits(&mut words, to, &pack(&source), from, count);
        prop_assert_eq!(unpack(&words, target.len()), expected);
    }

    #[test]
    fn counting_and_xor_agree_with_bits(pairs in prop::collection::vec(any::<(bool, bool)>(), 0..200)) {
        let (a, b): (Vec<bool>, Vec<bool>) = pairs.iter().copied().unzip();
        let mut words = pack(&a);
        bits::xor_into(&mut words, &pack(&b));
        prop_assert_eq!(unpack(&words, a.len()), pairs.iter().map(|(x, y)| x ^ y).collect::<Vec<_>>());
        prop_assert_eq!(bits::count_ones(&words), pairs.iter().filter(|(x, y)| x != y).count());
        let stray = pairs.iter().position(|(x, y)| *x && !*y);
        prop_assert_eq!(bits::first_one_outside(&pack(&a), &pack(&b)), stray);
        for from in 0..a.len() {
            prop_assert_eq!(bits::first_one_from(&pack(&a), from), (from..a.len()).find(|i| a[*i]));
        }
    }

    #[test]
    fn padding_must_be_zero(count in 0usize..100, stray in 0usize..8) {
        let mut bytes = vec![0xff; bits::bytes_for(count)];
        if count % 8 != 0 {
            bytes[count / 8] = (1 << (count % 8)) - 1;
        }
        prop_assert_eq!(bits::check_packed("row", &bytes, count), Ok(()));
        if count % 8 != 0 && stray >= count % 8 {
            bytes[count / 8] |= 1 << stray;
            let position = count / 8 * 8 + stray;
            prop_assert_eq!(bits::check_packed("row", &bytes, count), Err(Error::StrayBits { what: "row", position }));
        }
        bytes.push(0);
        prop_assert!(bits::check_packed("row", &bytes, count).is_err());
    }
}
