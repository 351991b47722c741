//! Fixed decodes for counting instructions under callgrind: `benchmarks/instructions.py` runs it and compares.
//!
//! `instructions ENGINE` lists the workloads; `instructions ENGINE WORKLOAD` decodes one, once to warm up and once inside
//! [`measured`], which is what callgrind collects. Not here: time (`decoders`).

use caligo_polar::decoder::Decoder;
use caligo_polar::error::Result;
use caligo_polar::simd::{EngineName, KernelLlr};
use std::hint::black_box;
use workloads::{Batch, Block, Noise, code};

mod workloads;

/// Everything that is counted happens in here.
#[inline(never)]
fn measured<T: KernelLlr>(blocks: &mut [Block<T>], decoder: &mut Decoder<T>) -> usize {
    blocks.iter_mut().filter_map(|block| block.decode(decoder).then_some(())).count()
}

/// The same of a batch.
#[inline(never)]
fn measured_batch<T: KernelLlr>(batch: &mut Batch<T>, decoder: &mut Decoder<T>) -> usize {
    batch.decode(decoder)
}

/// A batch of blocks that are decoded side by side: its name, log2 of the block length, and leakage over the limit.
const SIDE_BY_SIDE: (&str, u32, f64) = ("single-12-batch", 12, 1.7);

fn run_batch(engine: EngineName) -> Result<()> {
    let code = code(SIDE_BY_SIDE.1, SIDE_BY_SIDE.2);
    let mut batch = Batch::<i8>::new(&code, Noise::Nominal, 128);
    let mut decoder = Decoder::new(code, 1, engine)?;
    black_box(batch.decode(&mut decoder));
    black_box(measured_batch(black_box(&mut batch), black_box(&mut decoder)));
    Ok(())
}

/// Name, whether `int8` (else `f32`), log2 of the block length, list size, leakage over the Shannon limit, and what happens to the blocks.
type Workload = (&'static str, bool, u32, usize, f64, Noise);

const WORKLOADS: [Workload; 11] = [
    ("single-12", true, 12, 1, 1.7, Noise::Nominal),
    ("single-16", true, 16, 1, 1.4, Noise::Nominal),
    ("list8-12", true, 12, 8, 1.5, Noise::Nominal),
    ("list32-12", true, 12, 32, 1.5, Noise::Nominal),
    ("list8-16", true, 16, 8, 1.24, Noise::Nominal),
    ("list32-16", true, 16, 32, 1.24, Noise::Nominal),
    ("list32-18", true, 18, 32, 1.18, Noise::Nominal),
    ("list32-16-pure", true, 16, 32, 1.24, Noise::Pure),
    ("list32-16-zeros", true, 16, 32, 1.24, Noise::Zeros),
    ("list8-12-f32", false, 12, 8, 1.5, Noise::Nominal),
    ("list32-12-f32", false, 12, 32, 1.5, Noise::Nominal),
];

fn run<T: KernelLlr>(engine: EngineName, (_, _, log_length, list_size, efficiency, noise): Workload) -> Result<()> {
    let code = code(log_length, efficiency);
    let frames = (1 << 16u32.saturating_sub(log_length)).min(8);
    let mut blocks: Vec<Block<T>> = (0..frames).map(|number| Block::new(&code, noise, number)).collect();
    let mut decoder = Decoder::new(code, list_size, engine)?;
    for block in &mut blocks {
        black_box(block.decode(&mut decoder));
    }
    black_box(measured(black_box(&mut blocks), black_box(&mut decoder)));
    Ok(())
}

fn main() -> Result<()> {
    // `cargo bench` adds an argument of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let engine = EngineName::choose(words.first().map(String::as_str))?;
    match words.get(1) {
        None => println!("{}", SIDE_BY_SIDE.0),
        Some(name) if name == SIDE_BY_SIDE.0 => run_batch(engine)?,
        Some(_) => {}
    }
    for workload in WORKLOADS {
        match words.get(1) {
            None => println!("{}", workload.0),
            Some(name) if name == workload.0 && workload.1 => run::<i8>(engine, workload)?,
            Some(name) if name == workload.0 => run::<f32>(engine, workload)?,
            Some(_) => {}
        }
    }
    Ok(())
}
