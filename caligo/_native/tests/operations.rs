//! A decode does no more work than it did, but for two per cent: the operations of fixed decodes, counted and compared with
//! `operations.txt`.
//!
//! All engines run the same decoder and differ in their kernels alone, so an engine that counts what it is asked says what
//! the others are asked too, `avx512` included, whose instructions valgrind cannot count. A count is exact and the same on
//! every machine. To accept the present ones: `make bench-accept`. Not here: what an operation costs (`benches/`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use caligo_polar::decoder::list::{ListState, ListTask};
use caligo_polar::decoder::schedule::{self, Flavour};
use caligo_polar::decoder::single::{self, Channel, SingleState, SingleTask};
use caligo_polar::llr::Llr;
use caligo_polar::simd::lanes::{LANES, LaneBits, LaneSigns, Lanes, Selection, Survivors};
use caligo_polar::simd::{Kernels, Portable, Task};
use std::cell::RefCell;
use std::collections::BTreeMap;
use workloads::{Noise, channel, code};

#[path = "../benches/workloads/mod.rs"]
mod workloads;

thread_local! {
    static COUNTS: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

fn count(operation: &'static str, amount: usize) {
    COUNTS.with_borrow_mut(|counts| *counts.entry(operation).or_default() += amount as u64);
}

/// The portable engine, counting.
#[derive(Clone, Copy)]
struct Counting;

impl Kernels<i8> for Counting {
    fn left(self, node: &[i8], out: &mut [i8]) {
        count("f values", out.len());
        Portable.left(node, out);
    }
    fn right(self, node: &[i8], bits: &[u64], out: &mut [i8]) {
        count("g values", out.len());
        Portable.right(node, bits, out);
    }
    fn left_block(self, low: &[i8; 64], high: &[i8; 64], out: &mut [i8; 64]) {
        count("f values", 64);
        Portable.left_block(low, high, out);
    }
    fn right_block(self, low: &[i8; 64], high: &[i8; 64], word: u64, out: &mut [i8; 64]) {
        count("g values", 64);
        Portable.right_block(low, high, word, out);
    }
    fn left_lanes<const W: usize>(self, node: &[i8], out: &mut [i8]) {
        count("f rows", out.len() / W);
        Portable.left_lanes::<W>(node, out);
    }
    fn right_lanes<const W: usize>(self, node: &[i8], source: &Selection, bits: &LaneBits, out: &mut [i8]) {
        count("g rows", out.len() / W);
        Portable.right_lanes::<W>(node, source, bits, out);
    }
    fn smallest(self, node: &[i8]) -> <i8 as Llr>::Metric {
        count("values searched for the smallest", node.len());
        Portable.smallest(node)
    }
    fn signs_lanes<const W: usize>(self, node: &[i8]) -> LaneSigns<<i8 as Llr>::Metric> {
        count("rows decided", node.len() / W);
        Portable.signs_lanes::<W>(node)
    }
    fn next_keys<const W: usize>(
        self,
        keys: &[Lanes<<i8 as Llr>::Key>],
        last: &Lanes<<i8 as Llr>::Key>,
    ) -> Lanes<<i8 as Llr>::Key> {
        count("searches for the next offer", 1);
        <Portable as Kernels<i8>>::next_keys::<W>(Portable, keys, last)
    }
    fn within_threshold(
        self,
        stay: &[<i8 as Llr>::Metric; LANES],
        flip: Option<&[<i8 as Llr>::Metric; LANES]>,
        live: usize,
        threshold: <i8 as Llr>::Metric,
    ) -> (<i8 as Llr>::Metric, u32, u32) {
        count("forks asked", 1);
        <Portable as Kernels<i8>>::within_threshold(Portable, stay, flip, live, threshold)
    }
    fn survivors(
        self,
        stay: &[<i8 as Llr>::Metric; LANES],
        flip: &[<i8 as Llr>::Metric; LANES],
        best: <i8 as Llr>::Metric,
        masks: (u32, u32),
        list_size: usize,
    ) -> Survivors<<i8 as Llr>::Metric> {
        count("selections", 1);
        <Portable as Kernels<i8>>::survivors(Portable, stay, flip, best, masks, list_size)
    }
}

/// Operations of a few decodes, a line each.
fn operations() -> String {
    let mut lines = String::new();
    for (log_length, list_size, efficiency, noise) in [
        (12, 1, 1.7, Noise::Nominal),
        (12, 8, 1.5, Noise::Nominal),
        (12, 32, 1.5, Noise::Nominal),
        (16, 8, 1.24, Noise::Nominal),
        (16, 32, 1.24, Noise::Nominal),
        (16, 32, 1.24, Noise::Pure),
        (16, 32, 1.24, Noise::Zeros),
        (17, 32, 1.2, Noise::Nominal),
    ] {
        let code = code(log_length, efficiency);
        let channel = &*channel::<i8>(&code, noise, 0);
        COUNTS.with_borrow_mut(BTreeMap::clear);
        if list_size == 1 {
            let state = &mut SingleState::new(log_length);
            SingleTask {
                program: &single::compile(&code).unwrap(),
                info: code.info(),
                state,
                channel: Channel::Values(channel),
            }
            .run(Counting);
        } else {
            let state = &mut ListState::new(log_length, list_size);
            ListTask { program: &schedule::compile(&code, Flavour::List).unwrap(), state, channel }.run(Counting);
        }
        COUNTS.with_borrow(|counts| {
            for (operation, amount) in counts {
                lines += &format!("{amount:>9}  N=2^{log_length} L={list_size} {}: {operation}\n", noise.name());
            }
        });
    }
    lines
}

fn table(text: &str) -> BTreeMap<&str, u64> {
    text.lines().map(|line| line.trim().split_once("  ").unwrap()).map(|(n, what)| (what, n.parse().unwrap())).collect()
}

#[test]
fn no_decode_does_noticeably_more_work_than_accepted() {
    let counted = operations();
    if std::env::var_os("CALIGO_ACCEPT").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/operations.txt"), &counted).unwrap();
        return;
    }
    let (counted, accepted) = (table(&counted), table(include_str!("operations.txt")));
    let excess: Vec<String> = counted
        .iter()
        .filter_map(|(what, &amount)| {
            let was = accepted.get(what).copied().unwrap_or(0);
            (amount > was + was / 50).then(|| format!("{what}: {amount}, accepted {was}"))
        })
        .collect();
    assert!(excess.is_empty(), "{}\nif that is wanted: make bench-accept, and commit the file", excess.join("\n"));
}
