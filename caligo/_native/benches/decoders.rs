//! Throughput of the decoders, by engine, code and list; and on the best engine what bad input costs.
//!
//! Coded bits a second are shown as elements a second. Not here: threads, and Python's share (`caligo bench decoder`).

use caligo_polar::decoder::Decoder;
use caligo_polar::simd::EngineName;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use workloads::{Batch, Block, Noise, code, engines};

mod workloads;

/// log2 of the block length, list size, leakage over the Shannon limit.
const CODES: [(u32, usize, f64); 9] = [
    (12, 1, 1.7),
    (12, 8, 1.5),
    (12, 32, 1.5),
    (16, 1, 1.4),
    (16, 8, 1.24),
    (16, 32, 1.24),
    (20, 1, 1.26),
    (20, 8, 1.15),
    (20, 32, 1.14),
];

fn bench_blocks(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    (log_length, list_size, efficiency): (u32, usize, f64),
    engine: EngineName,
    noise: Noise,
) {
    let code = code(log_length, efficiency);
    let mut blocks: Vec<Block<i8>> = (0..8).map(|number| Block::new(&code, noise, number)).collect();
    let mut decoder = Decoder::new(code, list_size, engine).expect("the engine is there and memory too");
    group.throughput(Throughput::Elements(1 << log_length));
    let mut next = (0..8).cycle();
    group.bench_function(id, |bencher| {
        bencher.iter(|| blocks[next.next().unwrap_or(0)].decode(&mut decoder));
    });
}

fn bench_engines(criterion: &mut Criterion) {
    for engine in engines() {
        let mut group = criterion.benchmark_group(format!("decode/{}", engine.name()));
        for case in CODES {
            let id = BenchmarkId::new(format!("L{}", case.1), format!("2^{}", case.0));
            bench_blocks(&mut group, id, case, engine, Noise::Nominal);
        }
        group.finish();
    }
}

/// Short blocks of a batch, side by side where that is how they are decoded.
fn bench_batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode/batch");
    for engine in engines() {
        for (log_length, list_size, efficiency) in [(12, 1, 1.7), (12, 8, 1.5)] {
            let code = code(log_length, efficiency);
            let mut batch = Batch::<i8>::new(&code, Noise::Nominal, 256);
            let mut decoder = Decoder::new(code, list_size, engine).expect("the engine is there and memory too");
            group.throughput(Throughput::Elements(256 << log_length));
            let id = BenchmarkId::new(format!("{} L{list_size}", engine.name()), format!("2^{log_length}"));
            group.bench_function(id, |bencher| bencher.iter(|| batch.decode(&mut decoder)));
        }
    }
    group.finish();
}

fn bench_bad_input(criterion: &mut Criterion) {
    for noise in Noise::ALL.into_iter().skip(1) {
        let mut group = criterion.benchmark_group(format!("decode/{}", noise.name()));
        for case in CODES {
            let id = BenchmarkId::new(format!("L{}", case.1), format!("2^{}", case.0));
            bench_blocks(&mut group, id, case, EngineName::best(), noise);
        }
        group.finish();
    }
}

criterion_group!(decoders, bench_engines, bench_batches, bench_bad_input);
criterion_main!(decoders);
