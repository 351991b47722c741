//! Laws of the designs: exactness where everything can be enumerated, order, shortening, golden digests.

use caligo_polar::checksum::Check;
use caligo_polar::design::{
    self, Mixture, density_evolution, density_evolution_threaded, gaussian, nr, polarization_weight,
};
use caligo_polar::error::Error;

/// LLRs of every decision of a successive cancellation decoder that is told the (all-zero) past, by the written rules.
fn decisions(llrs: &[i32]) -> Vec<i32> {
    if llrs.len() == 1 {
        return llrs.to_vec();
    }
    let (low, high) = llrs.split_at(llrs.len() / 2);
    let check = low.iter().zip(high).map(|(a, b)| {
        let (small, large) = (a.abs().min(b.abs()), a.abs().max(b.abs()));
        let magnitude = if large - small <= 2 { (small - 1).max(0) } else { small };
        magnitude * a.signum() * b.signum()
    });
    let repeat = low.iter().zip(high).map(|(a, b)| (a + b).clamp(-127, 127));
    [decisions(&check.collect::<Vec<_>>()), decisions(&repeat.collect::<Vec<_>>())].concat()
}

/// The magnitudes of two channels, as the specification has them.
fn magnitudes(at_zero: f64, at_one: f64) -> (i32, i32) {
    let [zero, one] = [at_zero, at_one].map(|qber: f64| ((1.0 - qber) / qber).ln());
    let round = |value: f64| value.round().clamp(1.0, 127.0) as i32;
    let (a, b) = (round(2.0 * zero), round(2.0 * one));
    let apart = (zero - one).abs();
    if (a - b).abs() > 2 || apart < 0.5625 {
        return (a, b);
    }
    let less = round(zero.min(one) * 8.0 / 3.0);
    let more = less + round(apart * 8.0 / 3.0).max(3);
    if zero < one { (less, more) } else { (more, less) }
}

/// Error probabilities by going through every error pattern and, where it matters, every word that Bob may have.
fn enumerated(block_length: usize, payload_length: usize, channel: Mixture) -> Vec<f64> {
    let (zero, one) = magnitudes(channel.at_zero, channel.at_one);
    let words = if channel.at_zero == channel.at_one { 1 } else { 1u32 << payload_length };
    let mut errors = vec![0.0; block_length];
    for (pattern, word) in (0u32..1 << payload_length).flat_map(|pattern| (0..words).map(move |word| (pattern, word))) {
        let mut probability = 1.0;
        let llrs: Vec<i32> = (0..block_length)
            .map(|i| {
                if i >= payload_length {
                    return 127;
                }
                let (size, qber, share) = match (words, word >> i & 1) {
                    (1, _) => (zero, channel.at_zero, 1.0),
                    (_, 0) => (zero, channel.at_zero, channel.zero_weight),
                    _ => (one, channel.at_one, 1.0 - channel.zero_weight),
                };
                let wrong = pattern >> i & 1 == 1;
                probability *= share * if wrong { qber } else { 1.0 - qber };
                if wrong { -size } else { size }
            })
            .collect();
        for (error, decision) in errors.iter_mut().zip(decisions(&llrs)) {
            *error += probability * f64::from(1 - decision.signum()) / 2.0;
        }
    }
    errors[payload_length..].fill(0.0);
    errors
}

#[test]
fn the_number_of_threads_changes_no_bit_of_a_design() {
    for (block_length, payload_length, qber) in [(2, 1, 0.1), (1 << 12, 1 << 12, 0.02), (1 << 13, 5000, 0.07)] {
        let one = density_evolution(block_length, payload_length, qber).unwrap();
        for threads in [0, 2, 3, 200] {
            let several = density_evolution_threaded(block_length, payload_length, qber, threads).unwrap();
            assert!(one.iter().map(|p| p.to_bits()).eq(several.iter().map(|p| p.to_bits())));
        }
    }
}

#[test]
fn density_evolution_is_the_enumeration_of_all_error_patterns() {
    for block_length in [2, 4, 8, 16] {
        for payload_length in 1..=block_length {
            if payload_length > 12 && payload_length % 2 == 1 {
                continue;
            }
            for qber in [0.02, 0.11, 0.3, 1e-6, 0.499] {
                let expected = enumerated(block_length, payload_length, qber.into());
                let got = density_evolution(block_length, payload_length, qber).unwrap();
                for (position, (e, g)) in expected.iter().zip(&got).enumerate() {
                    let slack = 1e-5 * e + 1e-11;
                    assert!(
                        (e - f64::from(*g)).abs() <= slack,
                        "N={block_length} payload={payload_length} p={qber} u[{position}]: {e} against {g}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_mixture_is_the_enumeration_of_all_error_patterns_and_words() {
    for (block_length, payload_length) in [(2, 1), (2, 2), (4, 3), (8, 5), (8, 8)] {
        for (at_zero, at_one, zero_weight) in
            [(0.049, 0.024, 0.5), (0.01, 0.2, 0.3), (0.03, 1e-4, 0.9), (0.02, 0.1, 0.0), (0.03, 0.01, 0.5)]
        {
            let channel = Mixture { at_zero, at_one, zero_weight };
            let expected = enumerated(block_length, payload_length, channel);
            let got = density_evolution(block_length, payload_length, channel).unwrap();
            for (position, (e, g)) in expected.iter().zip(&got).enumerate() {
                assert!((e - f64::from(*g)).abs() <= 1e-5 * e + 1e-11, "{channel:?} u[{position}]: {e} against {g}");
            }
        }
    }
}

#[test]
fn a_mixture_of_equal_channels_is_that_channel_to_the_bit() {
    for (block_length, payload_length, qber) in [(1 << 10, 1 << 10, 0.02), (1 << 12, 3000, 0.05)] {
        let one = density_evolution(block_length, payload_length, qber).unwrap();
        for zero_weight in [0.0, 0.3, 0.5, 1.0] {
            let channel = Mixture { at_zero: qber, at_one: qber, zero_weight };
            let both = density_evolution_threaded(block_length, payload_length, channel, 2).unwrap();
            assert!(one.iter().map(|p| p.to_bits()).eq(both.iter().map(|p| p.to_bits())));
        }
    }
}

/// Swapping Bob's zeros and ones changes nothing.
#[test]
fn a_mixture_does_not_know_which_bit_is_which() {
    let (a, b) = (
        Mixture { at_zero: 0.05, at_one: 0.02, zero_weight: 0.25 },
        Mixture { at_zero: 0.02, at_one: 0.05, zero_weight: 0.75 },
    );
    assert_eq!(density_evolution(1 << 10, 1000, a).unwrap(), density_evolution(1 << 10, 1000, b).unwrap());
}

/// The disclosed fraction over h₂ at which successive cancellation fails one block in ten.
fn efficiency_at_ten_percent(errors: &[f32], qber: f64) -> f64 {
    let mut sorted: Vec<f64> = errors.iter().map(|e| f64::from(*e)).collect();
    sorted.sort_by(f64::total_cmp);
    let mut sum = 0.0;
    let kept = sorted
        .iter()
        .take_while(|e| {
            sum += **e;
            sum <= 0.1
        })
        .count();
    let entropy = -qber * qber.log2() - (1.0 - qber) * (1.0 - qber).log2();
    (errors.len() - kept) as f64 / (errors.len() as f64 * entropy)
}

/// Measured with a decoder at p = 2 %: 10 % of blocks fail at f = 1.67 (N = 2^12) and 1.39 (2^16).
#[test]
fn predicted_efficiencies_are_those_a_decoder_was_measured_at() {
    for (log2_length, efficiency) in [(12, 1.67), (16, 1.39)] {
        let errors = density_evolution(1 << log2_length, 1 << log2_length, 0.02).unwrap();
        let predicted = efficiency_at_ten_percent(&errors, 0.02);
        assert!((predicted - efficiency).abs() < 0.015, "N = 2^{log2_length}: {predicted}");
    }
}

/// More digits, more reliable (the universal order of channels that degrade); `slack` absorbs cut-off and quantisation.
fn assert_order(errors: &[f32], slack: f32) {
    for i in 0..errors.len() {
        for digit in 0..errors.len().trailing_zeros() {
            let j = i | 1 << digit;
            assert!(
                errors[j] <= errors[i] * (1.0 + slack) + 1e-10,
                "u[{i}] = {} and u[{j}] = {}",
                errors[i],
                errors[j]
            );
        }
    }
}

#[test]
fn a_position_with_more_digits_is_more_reliable() {
    for log2_length in [1, 4, 7, 10] {
        let block_length = 1 << log2_length;
        for qber in [0.005, 0.02, 0.11] {
            assert_order(&density_evolution(block_length, block_length, qber).unwrap(), 1e-3);
        }
        for sigma in [0.5, 0.9, 2.0] {
            assert_order(&gaussian(block_length, block_length, sigma).unwrap(), 1e-3);
        }
        assert_order(&nr(block_length).unwrap(), 0.0);
        assert_order(&polarization_weight(block_length).unwrap(), 0.0);
    }
}

#[test]
fn shortened_positions_are_certain_and_help_the_others() {
    let full = density_evolution(1024, 1024, 0.05).unwrap();
    let soft = gaussian(1024, 1024, 0.8).unwrap();
    for payload_length in [1, 2, 511, 512, 513, 700, 1000, 1023] {
        let errors = density_evolution(1024, payload_length, 0.05).unwrap();
        let means = gaussian(1024, payload_length, 0.8).unwrap();
        for (i, (short, all)) in errors.iter().zip(&full).chain(means.iter().zip(&soft)).enumerate() {
            let i = i % 1024;
            assert!(*short <= all * 1.001 + 1e-10, "payload {payload_length}: u[{i}] {short} {all}");
            assert!(i < payload_length || *short == 0.0, "payload {payload_length}: u[{i}] {short}");
        }
    }
}

/// The last position is a repetition and the first a parity of everything: both are known exactly for a Gaussian channel.
#[test]
fn the_gaussian_design_is_right_at_both_ends() {
    for sigma in [0.7, 1.0, 1.5] {
        let tail = |x: f64| 0.5 * libm::erfc(x / std::f64::consts::SQRT_2);
        for log2_length in 1..=4 {
            let block_length = 1usize << log2_length;
            let errors = gaussian(block_length, block_length, sigma).unwrap();
            let last = tail((block_length as f64).sqrt() / sigma);
            assert!((f64::from(errors[block_length - 1]) - last).abs() <= 1e-5 * last);
            let first = 0.5 * (1.0 - (1.0 - 2.0 * tail(1.0 / sigma)).powi(block_length as i32));
            assert!(
                (f64::from(errors[0]) - first).abs() <= 0.05 * first,
                "σ={sigma} N={block_length}: {} {first}",
                errors[0]
            );
        }
    }
}

/// Mutual information is conserved by polarisation; the approximation may lose a little of it, not more.
#[test]
fn the_gaussian_design_keeps_the_rate_of_the_channel() {
    // σ = 0.97865 is the BI-AWGN channel of capacity one half.
    let errors = gaussian(1 << 20, 1 << 20, 0.978_65).unwrap();
    let good = errors.iter().filter(|e| **e < 1e-3).count() as f64 / f64::from(1 << 20);
    assert!((0.45..0.5).contains(&good), "{good}");
}

fn order_of(errors: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..errors.len()).collect();
    order.sort_by(|a, b| errors[*b].total_cmp(&errors[*a]));
    order
}

#[test]
fn the_nr_sequence_is_the_standard_s() {
    let order = order_of(&nr(1024).unwrap());
    assert_eq!(order[..18], [0, 1, 2, 4, 8, 16, 32, 3, 5, 64, 9, 6, 17, 10, 18, 128, 12, 33]);
    assert_eq!(order[1015..], [1018, 991, 1020, 1007, 1015, 1019, 1021, 1022, 1023]);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..1024));
    for log2_length in 1..10 {
        let shorter: Vec<usize> = order.iter().copied().filter(|i| *i < 1 << log2_length).collect();
        assert_eq!(order_of(&nr(1 << log2_length).unwrap()), shorter);
    }
    assert!(matches!(nr(2048), Err(Error::BlockLength { max: 1024, .. })));
}

#[test]
fn polarization_weights_are_sorted_sums_of_powers() {
    for log2_length in 1..=14 {
        let weight =
            |i: usize| (0..24).filter(|k| (i >> k) & 1 == 1).map(|k| 2f64.powf(f64::from(k) / 4.0)).sum::<f64>();
        let mut expected: Vec<usize> = (0..1 << log2_length).collect();
        expected.sort_by(|a, b| weight(*a).total_cmp(&weight(*b)));
        assert_eq!(order_of(&polarization_weight(1 << log2_length).unwrap()), expected);
    }
}

#[test]
fn parameters_out_of_range_are_refused() {
    for qber in [0.0, 0.5, 1.0, -0.02, f64::NAN, f64::INFINITY] {
        assert!(matches!(density_evolution(8, 8, qber), Err(Error::OutOfRange { what: "qber", .. })));
        let mixture = Mixture { at_zero: 0.02, at_one: qber, zero_weight: 0.5 };
        assert!(matches!(density_evolution(8, 8, mixture), Err(Error::OutOfRange { what: "qber", .. })));
    }
    for zero_weight in [-0.1, 1.1, f64::NAN] {
        let mixture = Mixture { at_zero: 0.02, at_one: 0.03, zero_weight };
        assert!(matches!(density_evolution(8, 8, mixture), Err(Error::OutOfRange { what: "zero_weight", .. })));
    }
    for sigma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(gaussian(8, 8, sigma), Err(Error::OutOfRange { what: "sigma", .. })));
    }
    for payload_length in [0, 9] {
        assert!(matches!(density_evolution(8, payload_length, 0.1), Err(Error::OutOfRange { .. })));
        assert!(matches!(gaussian(8, payload_length, 0.1), Err(Error::OutOfRange { .. })));
    }
    for block_length in [0, 1, 6, 1 << 25] {
        assert!(matches!(density_evolution(block_length, 1, 0.1), Err(Error::BlockLength { .. })));
        assert!(matches!(polarization_weight(block_length), Err(Error::BlockLength { .. })));
    }
}

fn digest(errors: &[f32]) -> u32 {
    let bytes: Vec<u8> = errors.iter().flat_map(|e| e.to_le_bytes()).collect();
    Check::Crc32.value(&bytes)
}

/// CRC-32 of the little-endian `f32` values. A change here changes every code: cached designs and recorded runs with it.
#[test]
fn designs_are_the_same_on_every_machine() {
    let mixture = Mixture { at_zero: 0.049, at_one: 0.024, zero_weight: 0.5 };
    let golden = [
        ("de 2^14 4.9 % and 2.4 %", digest(&density_evolution(1 << 14, 1 << 14, mixture).unwrap()), 0x7d2f_c71e),
        ("de 2^13 4.9 % and 2.4 % shortened", digest(&density_evolution(1 << 13, 5000, mixture).unwrap()), 0xf54e_23f0),
        ("de 2^10 2 %", digest(&density_evolution(1 << 10, 1 << 10, 0.02).unwrap()), 0x7d7a_e623),
        ("de 2^14 5 % shortened", digest(&density_evolution(1 << 14, 12_345, 0.05).unwrap()), 0x0e6c_989e),
        ("de 2^16 11 %", digest(&density_evolution(1 << 16, 1 << 16, 0.11).unwrap()), 0x8a02_3fd3),
        ("ga 2^11 0.8", digest(&design::gaussian(1 << 11, 1 << 11, 0.8).unwrap()), 0x04ef_f8c3),
        ("ga 2^16 1.2 shortened", digest(&design::gaussian(1 << 16, 54_321, 1.2).unwrap()), 0xabb7_f281),
        ("nr 2^10", digest(&nr(1 << 10).unwrap()), 0xb687_81a2),
        ("pw 2^20", digest(&polarization_weight(1 << 20).unwrap()), 0x32d8_c773),
    ];
    for (name, got, expected) in golden {
        assert_eq!(got, expected, "{name}: {got:#010x}");
    }
}
