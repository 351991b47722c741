//! `PolarDecoder`, `required_bytes` and the engines.
//!
//! A decoder is one workspace and serves one thread at a time. A call decodes a batch, group by group; the interpreter is let
//! go of while it does, is asked for signals between groups every now and then, and nothing is allocated from the first
//! block to the last.

use super::arguments::{integer, name, number_or_pair, type_of};
use super::arrays::{check_row_length, readable, rows_of, writable};
use super::error::{config_error, shape_error};
use crate::bits;
use crate::checksum::Check;
use crate::code::{Code, ListSizes, Segmentation};
use crate::decoder::{self, Decoder, Magnitudes};
use crate::error::{Error, Result};
use crate::llr::Llr;
use crate::simd::EngineName;
use crate::transform::block_log2;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

const PRECISIONS: &[&str] = &[<i8 as Llr>::NAME, <f32 as Llr>::NAME];

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(engines, module)?)?;
    module.add_function(wrap_pyfunction!(required_bytes, module)?)?;
    module.add_class::<PolarDecoder>()
}

/// The engines this CPU can run, best first.
#[pyfunction]
fn engines() -> Vec<&'static str> {
    EngineName::ALL.into_iter().filter(|engine| engine.available()).map(EngineName::name).collect()
}

#[derive(Clone, Copy)]
pub enum Precision {
    Int8,
    F32,
}

impl Precision {
    pub fn name(self) -> &'static str {
        match self {
            Precision::Int8 => <i8 as Llr>::NAME,
            Precision::F32 => <f32 as Llr>::NAME,
        }
    }
}

pub fn precision_named(precision: &str) -> Result<Precision> {
    if precision == <i8 as Llr>::NAME {
        Ok(Precision::Int8)
    } else if precision == <f32 as Llr>::NAME {
        Ok(Precision::F32)
    } else {
        Err(Error::UnknownName { what: "precision", got: precision.to_owned(), known: PRECISIONS })
    }
}

pub fn packed_words(what: &'static str, object: &Bound<'_, PyAny>, block_length: usize) -> PyResult<Vec<u64>> {
    let array = readable::<u8>(what, object, 1)?;
    check_row_length(object.py(), what, bits::bytes_for(block_length), array.len())?;
    bits::check_packed(what, array.as_slice()?, block_length)?;
    let mut words = vec![0; bits::words_for(block_length)];
    bits::words_from_bytes(&mut words, array.as_slice()?);
    Ok(words)
}

/// The list sizes to try: `escalation`, a sequence of integers or None, before `list_size`.
pub fn list_sizes(escalation: Option<&Bound<'_, PyAny>>, list_size: &Bound<'_, PyAny>) -> PyResult<ListSizes> {
    let list_size: usize = integer("list_size", list_size)?;
    let Some(escalation) = escalation else { return Ok(ListSizes::escalating(&[], list_size)?) };
    let items = escalation.try_iter().map_err(|_| {
        let remedy = "pass a tuple such as (1, 8)";
        config_error(escalation.py(), "escalation", "a sequence of list sizes", &type_of(escalation), remedy)
    })?;
    let sizes: Vec<usize> = items.map(|item| integer("escalation", &item?)).collect::<PyResult<_>>()?;
    Ok(ListSizes::escalating(&sizes, list_size)?)
}

/// Crossover probabilities where Bob has 0 and where he has 1, from one for both or a pair.
pub fn crossovers(qber: &Bound<'_, PyAny>) -> PyResult<(f64, f64)> {
    let qber = number_or_pair("qber", qber)?;
    for got in [qber.0, qber.1] {
        if !(got > 0.0 && got < 0.5) {
            return Err(Error::OutOfRange { what: "qber", got, min: f64::MIN_POSITIVE, max: 0.5 }.into());
        }
    }
    Ok(qber)
}

/// Segments of a block, None for none; their check is `crc16` unless it is named.
fn segmentation(
    block_length: usize,
    segment_length: Option<&Bound<'_, PyAny>>,
    segment_check: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Segmentation>> {
    let check = match segment_check {
        Some(value) => Check::from_name(&name("segment_check", value)?)?,
        None => Check::Crc16,
    };
    match segment_length {
        Some(value) => Ok(Some(Segmentation::new(block_length, integer("segment_length", value)?, check)?)),
        None => Ok(None),
    }
}

/// Bytes a decoder allocates: exact for an information set; without one, its workspace, to which the compiled code adds
/// (typically below a tenth).
#[pyfunction]
#[pyo3(
    signature = (block_length, list_size, precision, info_set = None, escalation = None, segment_length = None),
    text_signature = "(block_length, list_size, precision, info_set=None, escalation=(), segment_length=None)"
)]
fn required_bytes(
    block_length: &Bound<'_, PyAny>,
    list_size: &Bound<'_, PyAny>,
    precision: &Bound<'_, PyAny>,
    info_set: Option<&Bound<'_, PyAny>>,
    escalation: Option<&Bound<'_, PyAny>>,
    segment_length: Option<&Bound<'_, PyAny>>,
) -> PyResult<usize> {
    let block_length: usize = integer("block_length", block_length)?;
    let list_sizes = list_sizes(escalation, list_size)?;
    let precision = precision_named(&name("precision", precision)?)?;
    let log_length = block_log2(block_length)?;
    let segmentation = segmentation(block_length, segment_length, None)?;
    let Some(info_set) = info_set else {
        return Ok(match precision {
            Precision::Int8 => decoder::workspace_bytes::<i8>(log_length, segmentation, list_sizes),
            Precision::F32 => decoder::workspace_bytes::<f32>(log_length, segmentation, list_sizes),
        });
    };
    let info = packed_words("info_set", info_set, block_length)?;
    let code = Code::new(block_length, &info, 0, Check::None)?.with_segments(segmentation);
    Ok(match precision {
        Precision::Int8 => decoder::required_bytes::<i8>(&code, list_sizes),
        Precision::F32 => decoder::required_bytes::<f32>(&code, list_sizes),
    })
}

enum AnyDecoder {
    Int8(Decoder<i8>),
    F32(Decoder<f32>),
}

/// What goes with the received blocks of a group.
struct Group<'a> {
    frozen_values: &'a [u8],
    check_values: &'a [u32],
    decoded: &'a mut [u8],
    accepted: &'a mut [bool],
}

impl AnyDecoder {
    /// Blocks that are decoded together.
    fn group(&self) -> usize {
        match self {
            AnyDecoder::Int8(decoder) => decoder.group(),
            AnyDecoder::F32(decoder) => decoder.group(),
        }
    }

    fn decode_soft(&mut self, llr: &[f32], group: Group<'_>) -> Result<()> {
        let Group { frozen_values, check_values, decoded, accepted } = group;
        match self {
            AnyDecoder::Int8(decoder) => decoder.decode_soft_batch(llr, frozen_values, check_values, decoded, accepted),
            AnyDecoder::F32(decoder) => decoder.decode_soft_batch(llr, frozen_values, check_values, decoded, accepted),
        }
    }

    fn decode_bsc(&mut self, received: &[u8], (at_zero, at_one): (f64, f64), group: Group<'_>) -> Result<()> {
        let Group { frozen_values, check_values, decoded, accepted } = group;
        match self {
            AnyDecoder::Int8(decoder) => {
                let magnitudes = Magnitudes::from_crossovers(at_zero, at_one);
                decoder.decode_bsc_batch(received, frozen_values, check_values, magnitudes, decoded, accepted)
            }
            AnyDecoder::F32(decoder) => {
                let magnitudes = Magnitudes::from_crossovers(at_zero, at_one);
                decoder.decode_bsc_batch(received, frozen_values, check_values, magnitudes, decoded, accepted)
            }
        }
    }
}

/// The largest group.
const LARGEST_GROUP: usize = 64;

/// How long blocks are decoded before the interpreter is asked whether somebody wants to stop.
pub const PATIENCE: Duration = Duration::from_millis(50);

/// A decoder for one code: the workspace of one thread.
#[pyclass(frozen, module = "caligo._native._core")]
struct PolarDecoder {
    block_length: usize,
    segment_count: usize,
    list_sizes: ListSizes,
    engine: EngineName,
    precision: Precision,
    allocated_bytes: usize,
    decoder: Mutex<AnyDecoder>,
}

impl PolarDecoder {
    fn workspace(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, AnyDecoder>> {
        self.decoder.try_lock().map_err(|_| {
            let remedy = "give each thread a decoder of its own";
            config_error(py, "PolarDecoder", "a decoder that no other thread uses", "one in use", remedy)
        })
    }

    /// Decodes rows, some at a time: `decode(rows, what goes with them)`. Signals are attended to between groups.
    #[allow(clippy::too_many_arguments, reason = "the arrays of a batch")]
    fn batch<'py, I: numpy::Element + Sync>(
        &self,
        py: Python<'py>,
        input: (&'static str, &Bound<'py, PyAny>, usize),
        frozen_values: &Bound<'py, PyAny>,
        check_values: &Bound<'py, PyAny>,
        decoded: &Bound<'py, PyAny>,
        ok: &Bound<'py, PyAny>,
        elapsed_ns: &Bound<'py, PyAny>,
        decode: impl Fn(&mut AnyDecoder, &[I], Group<'_>) -> Result<()> + Sync,
    ) -> PyResult<()> {
        let (what, input, elements) = input;
        let row_bytes = bits::bytes_for(self.block_length);
        let input = readable::<I>(what, input, 2)?;
        let (rows, got) = rows_of(input.shape());
        if got != elements {
            let (expected, got) = (format!("{elements} elements a row"), format!("{got} elements"));
            return Err(shape_error(py, what, &expected, &got, "pass one row per block"));
        }
        let frozen_values = readable::<u8>("frozen_values", frozen_values, 2)?;
        // Of the block, then of its segments.
        let checks_of_block = 1 + self.segment_count;
        let check_values = readable::<u32>("check_values", check_values, if self.segment_count > 0 { 2 } else { 1 })?;
        let check_rows = match self.segment_count {
            0 => check_values.len(),
            _ => {
                let (rows, got) = rows_of(check_values.shape());
                if got != checks_of_block {
                    let expected = format!("{checks_of_block} values a row, the block's and its segments'");
                    let remedy = "pass one row per block";
                    return Err(shape_error(py, "check_values", &expected, &got.to_string(), remedy));
                }
                rows
            }
        };
        let mut decoded = writable::<u8>("decoded", decoded, 2)?;
        let mut ok = writable::<bool>("ok", ok, 1)?;
        let mut elapsed_ns = writable::<u64>("elapsed_ns", elapsed_ns, 1)?;
        for (what, shape) in [("frozen_values", frozen_values.shape()), ("decoded", decoded.shape())] {
            check_row_length(py, what, row_bytes, rows_of(shape).1)?;
        }
        for (what, got) in [
            ("frozen_values", rows_of(frozen_values.shape()).0),
            ("check_values", check_rows),
            ("decoded", rows_of(decoded.shape()).0),
            ("ok", ok.len()),
            ("elapsed_ns", elapsed_ns.len()),
        ] {
            if got != rows {
                let remedy = "pass arrays of one batch";
                return Err(shape_error(py, what, &format!("{rows} blocks"), &got.to_string(), remedy));
            }
        }
        let mut workspace = self.workspace(py)?;
        let (input, frozen_values) = (input.as_slice()?, frozen_values.as_slice()?);
        let check_values = check_values.as_slice()?;
        let (decoded, ok) = (decoded.as_slice_mut()?, ok.as_bytes_mut()?);
        let elapsed_ns = elapsed_ns.as_slice_mut()?;
        let workspace = &mut *workspace;
        let size = workspace.group();
        let blocks = input
            .chunks(size * elements)
            .zip(frozen_values.chunks(size * row_bytes))
            .zip(check_values.chunks(size * checks_of_block));
        let results = decoded.chunks_mut(size * row_bytes).zip(ok.chunks_mut(size)).zip(elapsed_ns.chunks_mut(size));
        let mut groups = blocks.zip(results);
        loop {
            let finished = py.detach(|| {
                let began = Instant::now();
                for (((input, frozen_values), check_values), ((decoded, ok), elapsed_ns)) in groups.by_ref() {
                    let start = Instant::now();
                    let mut accepted = [false; LARGEST_GROUP];
                    let accepted = &mut accepted[..ok.len()];
                    let group = Group { frozen_values, check_values, decoded, accepted };
                    let outcome = decode(workspace, input, group);
                    let spent = start.elapsed().as_nanos() / elapsed_ns.len() as u128;
                    elapsed_ns.fill(u64::try_from(spent).unwrap_or(u64::MAX));
                    for (ok, accepted) in ok.iter_mut().zip(accepted) {
                        *ok = u8::from(*accepted);
                    }
                    outcome?;
                    if began.elapsed() > PATIENCE {
                        return Result::Ok(false);
                    }
                }
                Result::Ok(true)
            })?;
            py.check_signals()?;
            if finished {
                return Ok(());
            }
        }
    }
}

#[pymethods]
impl PolarDecoder {
    #[new]
    #[pyo3(
        signature = (
            block_length, info_set, list_size, *, shortened = None, check = None, precision = None, engine = None,
            escalation = None, segment_length = None, segment_check = None
        ),
        text_signature = "(block_length, info_set, list_size, *, shortened=0, check='crc32', precision='int8', \
            engine=None, escalation=(), segment_length=None, segment_check='crc16')"
    )]
    #[allow(clippy::too_many_arguments, reason = "keywords of a constructor")]
    fn new(
        block_length: &Bound<'_, PyAny>,
        info_set: &Bound<'_, PyAny>,
        list_size: &Bound<'_, PyAny>,
        shortened: Option<&Bound<'_, PyAny>>,
        check: Option<&Bound<'_, PyAny>>,
        precision: Option<&Bound<'_, PyAny>>,
        engine: Option<&Bound<'_, PyAny>>,
        escalation: Option<&Bound<'_, PyAny>>,
        segment_length: Option<&Bound<'_, PyAny>>,
        segment_check: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let block_length: usize = integer("block_length", block_length)?;
        block_log2(block_length)?;
        let list_sizes = list_sizes(escalation, list_size)?;
        let shortened: usize = shortened.map_or(Ok(0), |value| integer("shortened", value))?;
        let check =
            check.map_or(Ok(Check::Crc32), |value| Ok::<_, PyErr>(Check::from_name(&name("check", value)?)?))?;
        let precision = match precision {
            Some(value) => precision_named(&name("precision", value)?)?,
            None => Precision::Int8,
        };
        let engine = match engine {
            Some(value) => EngineName::choose(Some(&name("engine", value)?))?,
            None => EngineName::best(),
        };
        let info = packed_words("info_set", info_set, block_length)?;
        let segmentation = segmentation(block_length, segment_length, segment_check)?;
        let code = Code::new(block_length, &info, shortened, check)?.with_segments(segmentation);
        let segment_count = code.segment_count();
        let (decoder, allocated_bytes) = match precision {
            Precision::Int8 => {
                let decoder = Decoder::with_list_sizes(code, list_sizes, engine)?;
                let bytes = decoder.allocated_bytes();
                (AnyDecoder::Int8(decoder), bytes)
            }
            Precision::F32 => {
                let decoder = Decoder::with_list_sizes(code, list_sizes, engine)?;
                let bytes = decoder.allocated_bytes();
                (AnyDecoder::F32(decoder), bytes)
            }
        };
        let decoder = Mutex::new(decoder);
        Ok(Self { block_length, segment_count, list_sizes, engine, precision, allocated_bytes, decoder })
    }

    #[getter]
    fn block_length(&self) -> usize {
        self.block_length
    }

    #[getter]
    fn list_size(&self) -> usize {
        self.list_sizes.largest()
    }

    #[getter]
    fn escalation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let sizes: Vec<usize> = self.list_sizes.iter().collect();
        PyTuple::new(py, &sizes[..sizes.len() - 1])
    }

    #[getter]
    fn engine(&self) -> &'static str {
        self.engine.name()
    }

    #[getter]
    fn precision(&self) -> &'static str {
        self.precision.name()
    }

    #[getter]
    fn allocated_bytes(&self) -> usize {
        self.allocated_bytes
    }

    fn __repr__(&self) -> String {
        format!(
            "PolarDecoder(block_length={}, list_size={}, precision={:?}, engine={:?})",
            self.block_length,
            self.list_sizes.largest(),
            self.precision(),
            self.engine()
        )
    }

    /// Decodes hard decisions: errors have one probability, or one where the bit is 0 and another where it is 1.
    #[allow(clippy::too_many_arguments, reason = "the arrays of a batch")]
    fn decode_bsc(
        &self,
        py: Python<'_>,
        received: &Bound<'_, PyAny>,
        frozen_values: &Bound<'_, PyAny>,
        check_values: &Bound<'_, PyAny>,
        qber: &Bound<'_, PyAny>,
        decoded: &Bound<'_, PyAny>,
        ok: &Bound<'_, PyAny>,
        elapsed_ns: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let qber = crossovers(qber)?;
        let input = ("received", received, bits::bytes_for(self.block_length));
        self.batch::<u8>(py, input, frozen_values, check_values, decoded, ok, elapsed_ns, |decoder, rows, group| {
            decoder.decode_bsc(rows, qber, group)
        })
    }

    /// Decodes LLRs in nats.
    #[allow(clippy::too_many_arguments, reason = "the arrays of a batch")]
    fn decode_soft(
        &self,
        py: Python<'_>,
        llr: &Bound<'_, PyAny>,
        frozen_values: &Bound<'_, PyAny>,
        check_values: &Bound<'_, PyAny>,
        decoded: &Bound<'_, PyAny>,
        ok: &Bound<'_, PyAny>,
        elapsed_ns: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let input = ("llr", llr, self.block_length);
        self.batch::<f32>(py, input, frozen_values, check_values, decoded, ok, elapsed_ns, AnyDecoder::decode_soft)
    }
}
