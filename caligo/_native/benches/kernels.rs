//! Throughput of the foundations: transform, checks, hash, randomness, designs. Bits a second are shown as bytes a second.

use caligo_polar::checksum::{self, Check};
use caligo_polar::design;
use caligo_polar::random::{self, Source};
use caligo_polar::transform;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const SOURCE: Source = Source { seed: 1, stream: 2, block: 3 };

fn noise(bits: usize) -> Vec<u64> {
    let mut words = vec![0; bits / 64];
    let drawn = random::random_bits(SOURCE, bits, &mut words);
    assert!(drawn.is_ok());
    words
}

fn bench_transform(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transform");
    for log2_length in [10, 12, 16, 20, 24] {
        let mut words = noise(1 << log2_length);
        group.throughput(Throughput::Bytes(8 * words.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(log2_length), |bencher| {
            bencher.iter(|| transform::transform_words(black_box(&mut words)));
        });
    }
    group.finish();
}

fn bench_checks(criterion: &mut Criterion) {
    let words = noise(1 << 20);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut group = criterion.benchmark_group("check");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    for check in Check::ALL.into_iter().skip(1) {
        group.bench_function(check.name(), |bencher| bencher.iter(|| check.value(black_box(&bytes))));
    }
    group.bench_function("crc32-words", |bencher| {
        bencher.iter(|| Check::Crc32.linear_value(black_box(&words), bytes.len()));
    });
    let key = [3; 32];
    group.bench_function("hash", |bencher| {
        bencher.iter(|| checksum::universal_hash(&key, black_box(&bytes), 8 * bytes.len()));
    });
    group.bench_function("hash-portable", |bencher| {
        bencher.iter(|| checksum::universal_hash_portable(&key, black_box(&bytes), 8 * bytes.len()));
    });
    group.finish();
}

fn bench_random(criterion: &mut Criterion) {
    let bits = 1 << 20;
    let mut words = vec![0; bits / 64];
    let mut group = criterion.benchmark_group("random");
    group.throughput(Throughput::Bytes((bits / 8) as u64));
    group.bench_function("bits", |bencher| bencher.iter(|| random::random_bits(SOURCE, bits, black_box(&mut words))));
    for probability in [0.02, 0.11] {
        group.bench_function(BenchmarkId::new("bernoulli", probability), |bencher| {
            bencher.iter(|| random::bernoulli_bits(SOURCE, bits, probability, black_box(&mut words)));
        });
    }
    let mut numbers = vec![0.0; 1 << 16];
    group.throughput(Throughput::Elements(numbers.len() as u64));
    group.bench_function("normal", |bencher| {
        bencher.iter(|| random::standard_normal(SOURCE, black_box(&mut numbers)));
    });
    group.finish();
}

fn bench_designs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("design");
    group.sample_size(10);
    for log2_length in [12, 16, 20] {
        let block_length = 1 << log2_length;
        let shortened = block_length - block_length / 10 - 1;
        group.bench_function(BenchmarkId::new("de", log2_length), |bencher| {
            bencher.iter(|| design::density_evolution(block_length, block_length, 0.02));
        });
        group.bench_function(BenchmarkId::new("de-shortened", log2_length), |bencher| {
            bencher.iter(|| design::density_evolution(block_length, shortened, 0.02));
        });
        group.bench_function(BenchmarkId::new("ga", log2_length), |bencher| {
            bencher.iter(|| design::gaussian(block_length, block_length, 0.8));
        });
        group.bench_function(BenchmarkId::new("pw", log2_length), |bencher| {
            bencher.iter(|| design::polarization_weight(block_length));
        });
    }
    group.finish();
}

criterion_group!(kernels, bench_transform, bench_checks, bench_random, bench_designs);
criterion_main!(kernels);
