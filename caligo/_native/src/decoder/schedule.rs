//! A code compiled into a flat program.
//!
//! The decoding tree of a code never changes, so it is walked once, here, and a decode is a loop over instructions: no
//! recursion, no per-node classification, and a program counter that says where in a block the decoder stands.
//!
//! Node kinds, by the pattern of frozen (F) and information (I) positions of a subtree (Sarkis et al. 2014):
//! rate-0 `F…F`, repetition `F…FI`, single-parity-check `FI…I` (at least 4 positions), rate-1 `I…I`.
//! The largest subtree of a kind is one node, except that the root of a list program of 64 positions or more is always
//! split, and that a list program carries, behind each rate-1 or single-parity-check node of more than 32 positions, the
//! same node split: it is entered when the node cannot be settled by hard decisions.

use crate::bits;
use crate::code::Code;
use crate::error::Result;
use crate::memory;

/// log2 of the positions of the largest node that the list decoder settles as a whole whatever its values.
pub const LOG_LANE_NODE: u32 = 5;

/// What a leaf of the program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// All frozen.
    Rate0,
    /// All frozen but the last.
    Repetition,
    /// All information but the first.
    ParityCheck,
    /// All information.
    Rate1,
}

/// What an instruction does; `stage` is the log2 size of the node it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// LLRs of the left child by the f-kernel.
    Left,
    /// LLRs of the right child by the g-kernel, given the left child's bits.
    Right,
    /// Bits of the node from those of its children.
    Combine,
    /// A node settled here.
    Leaf(NodeKind),
    /// A node settled here when its hard decisions are beyond doubt, `skip` instructions being jumped; else fall through.
    Try(NodeKind),
}

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub operation: Operation,
    /// log2 size of the node.
    pub stage: u8,
    /// 0: the node is a left child (or the root), 1: a right child.
    pub side: u8,
    /// Instructions to jump when a `Try` succeeds.
    pub skip: u32,
}

/// Which decoder the program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Successive cancellation: every special node is a leaf.
    Single,
    /// List: see the module documentation.
    List,
}

/// The kind of a node of `length` positions, `ones` of them information, if it is special.
#[must_use]
pub fn classify(ones: usize, length: usize, first: bool, last: bool) -> Option<NodeKind> {
    match ones {
        0 => Some(NodeKind::Rate0),
        _ if ones == length => Some(NodeKind::Rate1),
        1 if last => Some(NodeKind::Repetition),
        _ if ones == length - 1 && !first && length >= 4 => Some(NodeKind::ParityCheck),
        _ => None,
    }
}

struct Compiler<'a> {
    info: &'a [u64],
    flavour: Flavour,
    /// Instructions so far.
    length: usize,
    /// They themselves, unless they are only counted.
    program: Option<&'a mut Vec<Instruction>>,
}

impl Compiler<'_> {
    fn bit(&self, index: usize) -> bool {
        bits::get(self.info, index)
    }

    fn ones(&self, start: usize, length: usize) -> usize {
        match length {
            ..64 => bits::extract(self.info, start, length).count_ones() as usize,
            _ => bits::count_ones(&self.info[start / 64..][..length / 64]),
        }
    }

    fn push(&mut self, operation: Operation, stage: u32, side: u8) {
        self.length += 1;
        if let Some(program) = &mut self.program {
            program.push(Instruction { operation, stage: stage as u8, side, skip: 0 });
        }
    }

    fn node(&mut self, stage: u32, start: usize, side: u8, is_root: bool) {
        let length = 1usize << stage;
        let ones = self.ones(start, length);
        let mut kind = classify(ones, length, self.bit(start), self.bit(start + length - 1));
        let large = self.flavour == Flavour::List && stage > LOG_LANE_NODE;
        if large && is_root {
            kind = None;
        }
        match kind {
            Some(kind @ (NodeKind::Rate1 | NodeKind::ParityCheck)) if large => {
                let at = self.length;
                self.push(Operation::Try(kind), stage, side);
                self.split(stage, start, side);
                let skip = (self.length - at - 1) as u32;
                if let Some(instruction) = self.program.as_mut().and_then(|program| program.get_mut(at)) {
                    instruction.skip = skip;
                }
            }
            Some(kind) => self.push(Operation::Leaf(kind), stage, side),
            None => self.split(stage, start, side),
        }
    }

    /// Instructions of a node for the worst part of its information positions. Where there is one before the last, that alone
    /// makes no special node; and all of them, or all but the first, may be tried before the node is split.
    fn most(&self, stage: u32, start: usize) -> usize {
        let length = 1usize << stage;
        let ones = self.ones(start, length);
        if ones == 0 || stage == 0 || (ones == 1 && self.bit(start + length - 1)) {
            return 1;
        }
        let tried = usize::from(stage > LOG_LANE_NODE && ones + 1 >= length);
        let half = length / 2;
        tried + 3 + self.most(stage - 1, start) + self.most(stage - 1, start + half)
    }

    fn split(&mut self, stage: u32, start: usize, side: u8) {
        self.push(Operation::Left, stage, side);
        self.node(stage - 1, start, 0, false);
        self.push(Operation::Right, stage, side);
        self.node(stage - 1, start + (1 << (stage - 1)), 1, false);
        self.push(Operation::Combine, stage, side);
    }
}

/// Bytes of the program that [`compile`] makes; allocates nothing.
#[must_use]
pub fn bytes_for(code: &Code, flavour: Flavour) -> usize {
    let mut compiler = Compiler { info: code.info(), flavour, length: 0, program: None };
    compiler.node(code.log_length(), 0, 0, true);
    compiler.length * size_of::<Instruction>()
}

/// Compiles `code`.
///
/// # Errors
/// [`Error::Memory`](crate::error::Error::Memory).
pub fn compile(code: &Code, flavour: Flavour) -> Result<Box<[Instruction]>> {
    let mut program = memory::reserved(bytes_for(code, flavour) / size_of::<Instruction>())?;
    compile_into(code.info(), code.log_length(), flavour, &mut program);
    Ok(program.into_boxed_slice())
}

/// Compiles the code of 2^`log_length` positions with information set `info` in place of what `program` holds.
pub fn compile_into(info: &[u64], log_length: u32, flavour: Flavour, program: &mut Vec<Instruction>) {
    program.clear();
    Compiler { info, flavour, length: 0, program: Some(program) }.node(log_length, 0, 0, true);
}

/// Instructions that a list program takes at most for an information set that is part of `info`, 2^`log_length` positions.
#[must_use]
pub fn most_instructions(info: &[u64], log_length: u32) -> usize {
    let compiler = Compiler { info, flavour: Flavour::List, length: 0, program: None };
    match log_length {
        ..=LOG_LANE_NODE => compiler.most(log_length, 0),
        _ => 3 + compiler.most(log_length - 1, 0) + compiler.most(log_length - 1, 1 << (log_length - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Check;

    fn kinds(block_length: usize, info: &[u64], flavour: Flavour) -> Vec<(Operation, u8)> {
        let code = Code::new(block_length, info, 0, Check::None).unwrap();
        compile(&code, flavour).unwrap().iter().map(|i| (i.operation, i.stage)).collect()
    }

    #[test]
    fn patterns_become_the_nodes_of_the_papers() {
        use NodeKind::*;
        let leaf = |bits: u64, n: usize| kinds(n, &[bits], Flavour::Single);
        assert_eq!(leaf(0b0000, 4), [(Operation::Leaf(Rate0), 2)]);
        assert_eq!(leaf(0b1000, 4), [(Operation::Leaf(Repetition), 2)]);
        assert_eq!(leaf(0b1110, 4), [(Operation::Leaf(ParityCheck), 2)]);
        assert_eq!(leaf(0b1111, 4), [(Operation::Leaf(Rate1), 2)]);
        assert_eq!(leaf(0b10, 2), [(Operation::Leaf(Repetition), 1)]);
        assert_eq!(
            leaf(0b01, 2),
            [
                (Operation::Left, 1),
                (Operation::Leaf(Rate1), 0),
                (Operation::Right, 1),
                (Operation::Leaf(Rate0), 0),
                (Operation::Combine, 1)
            ]
        );
    }

    #[test]
    fn a_skip_jumps_exactly_the_split_form_of_its_node() {
        let program = compile(&Code::new(256, &[0, 0, !0, !0], 0, Check::None).unwrap(), Flavour::List).unwrap();
        let at = program.iter().position(|i| matches!(i.operation, Operation::Try(_))).unwrap();
        let after = program[at + 1 + program[at].skip as usize];
        assert_eq!((after.operation, after.stage), (Operation::Combine, 8));
    }
}
