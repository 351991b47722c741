//! The written rules, path by path: slow, allocating, and meant to be read beside `specs/rust-polar-crate.md`.
//!
//! Nothing is shared with the fast decoders but the scalar arithmetic of [`crate::llr`] and the code itself: every path
//! carries whole vectors, a fork clones them, and selection sorts. Engines are held against it bit for bit. It is public
//! for people who want to study the decoder; it is of no use for anything else.

use crate::checksum::Check;
use crate::code::{Attempt, Code, ListSizes, Segmentation};
use crate::llr::{Llr, Metric, Total};

/// A surviving path: its metric and its word.
pub type Survivor<T> = (<T as Llr>::Metric, Vec<bool>);

#[derive(Clone)]
struct Path<T: Llr> {
    metric: T::Metric,
    /// LLRs of the nodes being visited, the innermost last.
    alpha: Vec<Vec<T>>,
    /// Bits of settled nodes waiting for their sibling or parent.
    beta: Vec<Vec<bool>>,
}

struct Naive<'a, T: Llr> {
    info: &'a [bool],
    list_size: usize,
    threshold: T::Metric,
    paths: Vec<Path<T>>,
}

/// A candidate: the path it comes from, its metric, and what it appends or flips.
struct Candidate<T: Llr> {
    path: usize,
    metric: T::Metric,
    flips: bool,
}

fn total<T: Llr>(node: &[T], part: fn(T) -> T::Metric) -> T::Total {
    let widened = |value: &T| T::widen(part(*value));
    if node.len() <= 32 {
        return node.iter().fold(T::Total::default(), |sum, value| sum.plus(widened(value)));
    }
    let mut partial = [T::Total::default(); 16];
    for (index, value) in node.iter().enumerate() {
        partial[index % 16] = partial[index % 16].plus(widened(value));
    }
    for half in [8, 4, 2, 1] {
        for index in 0..half {
            partial[index] = partial[index].plus(partial[index + half]);
        }
    }
    partial[0]
}

fn hard<T: Llr>(node: &[T]) -> Vec<bool> {
    node.iter().map(|llr| llr.is_negative()).collect()
}

fn is_odd(bits: &[bool]) -> bool {
    bits.iter().filter(|&&bit| bit).count() % 2 == 1
}

fn smallest<T: Llr>(node: &[T]) -> T::Metric {
    node.iter().map(|llr| llr.magnitude()).fold(T::Metric::DEAD, |a, b| if b < a { b } else { a })
}

/// Positions by magnitude, equal ones by position.
fn by_reliability<T: Llr>(node: &[T]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..node.len()).collect();
    order.sort_by_key(|&position| (node[position].magnitude().key(), position));
    order
}

impl<T: Llr> Naive<'_, T> {
    fn alpha(&self, path: usize) -> &[T] {
        self.paths[path].alpha.last().map_or(&[], Vec::as_slice)
    }

    /// Step 6 of the specification: threshold, then the L best, who stays before who flips, by lane.
    fn select(&mut self, mut candidates: Vec<Candidate<T>>) -> Vec<bool> {
        let best = candidates.iter().map(|c| c.metric).fold(T::Metric::DEAD, |a, b| if b < a { b } else { a });
        let limit = best.plus(self.threshold);
        candidates.retain(|candidate| candidate.metric <= limit);
        candidates.sort_by_key(|c| (c.metric.key(), c.flips, c.path));
        candidates.truncate(self.list_size);
        candidates.sort_by_key(|c| (c.flips, c.path));
        let old = std::mem::take(&mut self.paths);
        for candidate in &candidates {
            let mut path = old[candidate.path].clone();
            path.metric = candidate.metric.minus(best);
            self.paths.push(path);
        }
        candidates.iter().map(|c| c.flips).collect()
    }

    fn stay_only(&self, metrics: Vec<T::Metric>) -> Vec<Candidate<T>> {
        metrics.into_iter().enumerate().map(|(path, metric)| Candidate { path, metric, flips: false }).collect()
    }

    fn could_survive(&self, metric: T::Metric) -> bool {
        let worst = self.paths.iter().map(|p| p.metric).fold(T::Metric::ZERO, |a, b| if b > a { b } else { a });
        metric <= self.threshold && (self.paths.len() < self.list_size || metric < worst)
    }

    fn node(&mut self, start: usize, length: usize, is_root: bool) {
        let info = &self.info[start..start + length];
        let ones = info.iter().filter(|&&bit| bit).count();
        let single = self.list_size == 1;
        let special = single || length <= 32 || !is_root;
        if special && ones == 0 {
            return self.rate0();
        }
        if special && ones == 1 && length >= 2 && info[length - 1] {
            return self.repetition();
        }
        if special && ones == length && (single || length <= 32 || self.beyond_doubt(false)) {
            return self.rate1();
        }
        if special
            && ones == length - 1
            && length >= 4
            && !info[0]
            && (single || length <= 32 || self.beyond_doubt(true))
        {
            return self.parity_check();
        }
        let half = length / 2;
        for path in &mut self.paths {
            let node = path.alpha.last().cloned().unwrap_or_default();
            path.alpha.push((0..half).map(|i| node[i].f(node[i + half])).collect());
        }
        self.node(start, half, false);
        for path in &mut self.paths {
            path.alpha.pop();
            let node = path.alpha.last().cloned().unwrap_or_default();
            let bits = path.beta.last().cloned().unwrap_or_default();
            path.alpha.push((0..half).map(|i| node[i].g(node[i + half], bits[i])).collect());
        }
        self.node(start + half, half, false);
        for path in &mut self.paths {
            path.alpha.pop();
            let right = path.beta.pop().unwrap_or_default();
            let left = path.beta.pop().unwrap_or_default();
            let mut bits: Vec<bool> = left.iter().zip(&right).map(|(l, r)| l ^ r).collect();
            bits.extend(right);
            path.beta.push(bits);
        }
    }

    /// Whether hard decisions settle a large node of information positions, or of all but the first.
    fn beyond_doubt(&self, parity: bool) -> bool {
        (0..self.paths.len()).all(|path| {
            let node = self.alpha(path);
            let least = smallest(node);
            let cost = if parity { least.plus(least) } else { least };
            !(self.could_survive(self.paths[path].metric.plus(cost)) || parity && is_odd(&hard(node)))
        })
    }

    fn rate0(&mut self) {
        let costs = self.totals(T::negative_part);
        let length = self.alpha(0).len();
        let metrics = self.with_costs(&costs, &costs);
        self.select(self.stay_only(metrics));
        for path in &mut self.paths {
            path.beta.push(vec![false; length]);
        }
    }

    /// The sum of one part of every path's LLRs.
    fn totals(&self, part: fn(T) -> T::Metric) -> Vec<T::Total> {
        (0..self.paths.len()).map(|path| total(self.alpha(path), part)).collect()
    }

    /// The paths' metrics with `costs` added: as they are in nodes of at most 32 positions; in larger ones the smallest that
    /// `floor` leads to is taken off before totals become metrics.
    fn with_costs(&self, costs: &[T::Total], floor: &[T::Total]) -> Vec<T::Metric> {
        let metrics = || self.paths.iter().map(|path| path.metric);
        if self.alpha(0).len() <= 32 {
            return metrics().zip(costs).map(|(metric, &cost)| metric.plus(T::narrow(cost))).collect();
        }
        let sum = |(metric, &cost): (T::Metric, &T::Total)| T::widen(metric).plus(cost);
        let least = metrics().zip(floor).map(sum).reduce(|a, b| if b < a { b } else { a }).unwrap_or_default();
        metrics().zip(costs).map(sum).map(|sum| T::narrow(sum.minus(least))).collect()
    }

    fn repetition(&mut self) {
        let length = self.alpha(0).len();
        let (zeros, ones) = (self.totals(T::negative_part), self.totals(T::positive_part));
        let (mut cheap, mut dear) = (vec![], vec![]);
        for (path, (&zeros, &ones)) in self.paths.iter_mut().zip(zeros.iter().zip(&ones)) {
            // Above 32 positions it is metrics with their costs that are compared: in floats not quite the same.
            let floor = if length > 32 { T::widen(path.metric) } else { T::Total::default() };
            let one = floor.plus(ones) < floor.plus(zeros);
            path.beta.push(vec![one; length]);
            cheap.push(if one { ones } else { zeros });
            dear.push(if one { zeros } else { ones });
        }
        let mut candidates = self.stay_only(self.with_costs(&cheap, &cheap));
        if self.list_size > 1 {
            for (path, metric) in self.with_costs(&dear, &cheap).into_iter().enumerate() {
                candidates.push(Candidate { path, metric, flips: true });
            }
        }
        let flips = self.select(candidates);
        for (path, flips) in self.paths.iter_mut().zip(flips) {
            if flips && let Some(bits) = path.beta.last_mut() {
                bits.iter_mut().for_each(|bit| *bit = !*bit);
            }
        }
    }

    fn rate1(&mut self) {
        for path in &mut self.paths {
            let bits = hard(path.alpha.last().map_or(&[], Vec::as_slice));
            path.beta.push(bits);
        }
        let length = self.alpha(0).len();
        for step in 0..length.min(self.list_size - 1) {
            let offers: Vec<(usize, T::Metric)> = (0..self.paths.len())
                .map(|path| {
                    let node = self.alpha(path);
                    let position = by_reliability(node)[step];
                    (position, self.paths[path].metric.plus(node[position].magnitude()))
                })
                .collect();
            if !offers.iter().any(|&(_, metric)| self.could_survive(metric)) {
                break;
            }
            self.offer(&offers, None);
        }
    }

    /// Each path stays, or flips the offered position and, in a parity-check node, its least reliable one.
    fn offer(&mut self, offers: &[(usize, T::Metric)], odd: Option<&mut Vec<bool>>) {
        let mut candidates = self.stay_only(self.paths.iter().map(|p| p.metric).collect());
        for (path, &(_, metric)) in offers.iter().enumerate() {
            candidates.push(Candidate { path, metric, flips: true });
        }
        let parity = odd.is_some();
        let mut tags: Vec<(usize, usize, bool)> = (0..self.paths.len())
            .map(|path| {
                let least = by_reliability(self.alpha(path))[0];
                (offers[path].0, least, odd.as_ref().is_some_and(|odd| odd[path]))
            })
            .collect();
        // The tags travel with their path through the selection as one more layer of bits would.
        let width = self.alpha(0).len();
        for (path, tag) in self.paths.iter_mut().zip(&tags) {
            let mut layer = vec![false; 2 * width + 1];
            layer[tag.0] = true;
            layer[width + tag.1] = true;
            layer[2 * width] = tag.2;
            path.beta.push(layer);
        }
        let flips = self.select(candidates);
        tags.clear();
        let mut new_odd = vec![];
        for (path, flips) in self.paths.iter_mut().zip(flips) {
            let layer = path.beta.pop().unwrap_or_default();
            if flips && let Some(bits) = path.beta.last_mut() {
                for position in 0..width {
                    bits[position] ^= layer[position] ^ (parity && layer[width + position]);
                }
            }
            new_odd.push(layer[2 * width] ^ flips);
        }
        if let Some(odd) = odd {
            *odd = new_odd;
        }
    }

    fn parity_check(&mut self) {
        let length = self.alpha(0).len();
        let mut odd = vec![];
        let mut metrics = vec![];
        for path in &mut self.paths {
            let node = path.alpha.last().cloned().unwrap_or_default();
            let mut bits = hard(&node);
            let least = by_reliability(&node)[0];
            odd.push(is_odd(&bits));
            let mut metric = path.metric;
            if is_odd(&bits) {
                bits[least] = !bits[least];
                metric = metric.plus(node[least].magnitude());
            }
            metrics.push(metric);
            path.beta.push(bits);
        }
        if self.list_size == 1 {
            return;
        }
        if odd.contains(&true) {
            // Paths may be dropped here: carry the parity along.
            for (path, &odd) in self.paths.iter_mut().zip(&odd) {
                path.beta.push(vec![odd]);
            }
            self.select(self.stay_only(metrics));
            odd = self.paths.iter_mut().map(|path| path.beta.pop().unwrap_or_default()[0]).collect();
        }
        for step in 0..(length - 1).min(self.list_size - 1) {
            let offers: Vec<(usize, T::Metric)> = (0..self.paths.len())
                .map(|path| {
                    let node = self.alpha(path);
                    let order = by_reliability(node);
                    let (flip, least) = (node[order[step + 1]].magnitude(), node[order[0]].magnitude());
                    let cost = if odd[path] { flip.minus(least) } else { flip.plus(least) };
                    (order[step + 1], self.paths[path].metric.plus(cost))
                })
                .collect();
            if !offers.iter().any(|&(_, metric)| self.could_survive(metric)) {
                break;
            }
            self.offer(&offers, Some(&mut odd));
        }
    }
}

/// The survivors of decoding `channel` with a list of `list_size` and the full threshold, in lane order.
#[must_use]
pub fn survivors<T: Llr>(code: &Code, list_size: usize, channel: &[T]) -> Vec<Survivor<T>> {
    survivors_within(code, list_size, T::Metric::THRESHOLD, channel)
}

/// The survivors of decoding `channel` with a list of `list_size` and paths within `threshold` of the best, in lane order.
#[must_use]
pub fn survivors_within<T: Llr>(
    code: &Code,
    list_size: usize,
    threshold: T::Metric,
    channel: &[T],
) -> Vec<Survivor<T>> {
    let length = code.block_length();
    let info: Vec<bool> = (0..length).map(|i| code.info()[i / 64] >> (i % 64) & 1 == 1).collect();
    let path = Path { metric: T::Metric::ZERO, alpha: vec![channel.to_vec()], beta: vec![] };
    let mut naive = Naive { info: &info, list_size, threshold, paths: vec![path] };
    naive.node(0, length, true);
    naive.paths.into_iter().map(|mut path| (path.metric, path.beta.pop().unwrap_or_default())).collect()
}

/// A segmented decode of one block.
struct Segmented<'a, T: Llr, A> {
    code: &'a Code,
    segmentation: Segmentation,
    list_sizes: ListSizes,
    accept: A,
    failed: bool,
    llr: std::marker::PhantomData<T>,
}

impl<T: Llr, A: Fn(usize, &[bool]) -> bool> Segmented<'_, T, A> {
    /// The bits of the node with LLRs `alpha` whose first position is `start`.
    fn node(&mut self, start: usize, alpha: &[T]) -> Vec<bool> {
        if alpha.len() == 1 << self.segmentation.log_length() {
            return self.segment(start / alpha.len(), alpha);
        }
        let (low, high) = alpha.split_at(alpha.len() / 2);
        let left: Vec<T> = low.iter().zip(high).map(|(a, b)| a.f(*b)).collect();
        let left = self.node(start, &left);
        let right: Vec<T> = low.iter().zip(high).zip(&left).map(|((a, b), &bit)| a.g(*b, bit)).collect();
        let right = self.node(start + low.len(), &right);
        left.iter().zip(&right).map(|(l, r)| l ^ r).chain(right.iter().copied()).collect()
    }

    fn segment(&mut self, index: usize, alpha: &[T]) -> Vec<bool> {
        let partition = self.segmentation.partition(self.code.log_length());
        let code = self.code.segment(&partition.segments()[index]);
        let mut best = vec![false; alpha.len()];
        if self.failed || code.info().iter().all(|&word| word == 0) {
            return best;
        }
        for attempt in self.list_sizes.attempts() {
            let narrow = T::Metric::narrow_threshold(code.log_length());
            let threshold = if attempt.last { T::Metric::THRESHOLD } else { narrow };
            let mut survivors = survivors_within(&code, attempt.list_size, threshold, alpha);
            survivors.sort_by_key(|(metric, _)| metric.key());
            if let Some((_, word)) = survivors.iter().find(|(_, word)| (self.accept)(index, word)) {
                return word.clone();
            }
            best = survivors.swap_remove(0).1;
        }
        self.failed = true;
        best
    }
}

/// The word of a segmented decode of `channel`, and whether every segment had a survivor that `accept` took: it is given the
/// segment and the survivor's bits. For a code with segments.
#[must_use]
pub fn segmented<T: Llr>(
    code: &Code,
    list_sizes: ListSizes,
    channel: &[T],
    accept: impl Fn(usize, &[bool]) -> bool,
) -> (bool, Vec<bool>) {
    let Some(segmentation) = code.segmentation() else { return (true, vec![]) };
    let mut block = Segmented { code, segmentation, list_sizes, accept, failed: false, llr: std::marker::PhantomData };
    let word = block.node(0, channel);
    (!block.failed, word)
}

/// The polar transform, bit by bit.
fn transform(bits: &[bool]) -> Vec<bool> {
    if bits.len() == 1 {
        return bits.to_vec();
    }
    let (low, high) = bits.split_at(bits.len() / 2);
    let (low, high) = (transform(low), transform(high));
    low.iter().zip(&high).map(|(l, h)| l ^ h).chain(high.iter().copied()).collect()
}

fn sum(a: &[bool], b: &[bool]) -> Vec<bool> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

fn packed(bits: &[bool]) -> Vec<u8> {
    bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |value, &bit| value << 1 | u8::from(bit))).collect()
}

/// A block that is decoded between questions. Nothing is kept but what is known of Alice's block; every run begins at the
/// root, with the offset of all that is known.
pub struct Interactive<'a, T: Llr> {
    /// The code.
    pub code: &'a Code,
    /// Length and check bits of every segment.
    pub segments: &'a [(usize, u32)],
    /// The list sizes that are tried.
    pub list_sizes: ListSizes,
    /// Bob's hard decisions.
    pub received: Vec<bool>,
    /// What they are worth.
    pub magnitudes: Vec<T>,
    /// Alice's u where it is known.
    pub known: Vec<Option<bool>>,
    /// Positions that were disclosed during the decode.
    pub disclosed: Vec<bool>,
    /// The checks of Alice's segments.
    pub check_values: Vec<u32>,
    /// The segment words of Alice's block that are decided.
    pub decided: Vec<Vec<bool>>,
    /// Where the last run stopped, if the block is still there.
    pub stopped: Option<usize>,
}

impl<T: Llr> Interactive<'_, T> {
    /// Decides segments until one fails; where that is.
    pub fn run(&mut self) -> usize {
        let syndrome: Vec<bool> = transform(&self.received)
            .iter()
            .zip(&self.known)
            .map(|(received, known)| known.is_some_and(|known| known ^ received))
            .collect();
        let offset = transform(&syndrome);
        let channel: Vec<T> = self.magnitudes.iter().zip(&offset).map(|(llr, &bit)| llr.negate_if(bit)).collect();
        let base = transform(&sum(&self.received, &offset));
        self.node(0, &channel, &base, 0);
        let stopped = self.decided.len();
        self.stopped = (stopped < self.segments.len()).then_some(stopped);
        stopped
    }

    /// Sends the block back.
    pub fn rollback(&mut self, segment: usize) {
        if segment < self.decided.len() {
            self.decided.truncate(segment);
            self.stopped = None;
        }
    }

    /// The bits of a node, if it is decided, and the segment that follows it. `base` is the transform of y ⊕ v.
    fn node(&mut self, start: usize, alpha: &[T], base: &[bool], segment: usize) -> (Option<Vec<bool>>, usize) {
        if self.segments[segment].0 == alpha.len() {
            let base = transform(&base[start..start + alpha.len()]);
            if segment == self.decided.len()
                && let Some(word) = self.segment(segment, start, alpha, &base)
            {
                self.decided.push(sum(&word, &base));
            }
            return (self.decided.get(segment).map(|word| sum(word, &base)), segment + 1);
        }
        let (low, high) = alpha.split_at(alpha.len() / 2);
        let left: Vec<T> = low.iter().zip(high).map(|(a, b)| a.f(*b)).collect();
        let (left, segment) = self.node(start, &left, base, segment);
        let Some(left) = left else { return (None, segment) };
        let right: Vec<T> = low.iter().zip(high).zip(&left).map(|((a, b), &bit)| a.g(*b, bit)).collect();
        let (right, segment) = self.node(start + low.len(), &right, base, segment);
        let bits = right.map(|right| sum(&left, &right).into_iter().chain(right).collect());
        (bits, segment)
    }

    fn segment(&self, index: usize, start: usize, alpha: &[T], base: &[bool]) -> Option<Vec<bool>> {
        let range = start..start + alpha.len();
        let unknown: Vec<bool> = self.known[range.clone()].iter().map(Option::is_none).collect();
        let check_bits = self.segments[index].1;
        let mask = ((1u64 << check_bits) - 1) as u32;
        let accepts = |word: &[bool]| {
            let mut words: Vec<bool> = self.decided.concat();
            words.extend(sum(word, base));
            let value = Check::Crc32.value(&packed(&words)) ^ Check::Crc32.value(&vec![0; words.len() / 8]);
            value & mask == self.check_values[index]
        };
        if !unknown.contains(&true) {
            let word = vec![false; alpha.len()];
            return accepts(&word).then_some(word);
        }
        if check_bits == 0 && !unknown.contains(&false) {
            return Some(hard(alpha));
        }
        let words: Vec<u64> = unknown
            .chunks(64)
            .map(|word| word.iter().rev().fold(0, |value, &bit| value << 1 | u64::from(bit)))
            .collect();
        let code = Code::new(alpha.len(), &words, 0, Check::None).ok()?;
        let largest = self.list_sizes.largest();
        let mut attempts: Vec<Attempt> = self.list_sizes.attempts().collect();
        if check_bits == 0 {
            attempts = vec![Attempt { list_size: largest, last: false }];
        } else if self.disclosed[range].contains(&true) && largest > 1 {
            attempts.retain(|attempt| attempt.list_size > 1);
        }
        if self.stopped == Some(index) {
            attempts.retain(|attempt| attempt.last);
        }
        for attempt in attempts {
            let narrow = T::Metric::narrow_threshold(code.log_length());
            let threshold = if attempt.last { T::Metric::THRESHOLD } else { narrow };
            let mut survivors = survivors_within(&code, attempt.list_size, threshold, alpha);
            survivors.sort_by_key(|(metric, _)| metric.key());
            if let Some((_, word)) = survivors.into_iter().find(|(_, word)| accepts(word)) {
                return Some(word);
            }
        }
        None
    }

    /// Alice's block, if all segments are decided.
    #[must_use]
    pub fn block(&self) -> Vec<bool> {
        transform(&self.decided.iter().flat_map(|word| transform(word)).collect::<Vec<bool>>())
    }
}
