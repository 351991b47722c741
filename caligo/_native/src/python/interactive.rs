//! `InteractiveDecoder`, `interactive_required_bytes` and `interactive_check_values`.
//!
//! A decoder is one workspace and serves one thread at a time; blocks are rows of bytes that the caller keeps. Calls over
//! batches go row by row, let go of the interpreter meanwhile and allocate nothing.

use super::arguments::{integer, name, type_of};
use super::arrays::{Readable, Writable, check_row_length, readable, rows_of, shaped, writable, zeroed};
use super::decoder::{PATIENCE, Precision, crossovers, list_sizes, packed_words, precision_named};
use super::error::{config_error, shape_error};
use crate::bits;
use crate::checksum::Check;
use crate::code::{Code, ListSizes, Partition};
use crate::decoder::Magnitudes;
use crate::decoder::interactive::{self, Input, InteractiveDecoder as Decoder};
use crate::decoder::workspace::AlignedBuffer;
use crate::error::Result;
use crate::simd::EngineName;
use crate::transform::block_log2;
use numpy::PyArrayDyn;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(interactive_check_values, module)?)?;
    module.add_function(wrap_pyfunction!(interactive_required_bytes, module)?)?;
    module.add_class::<InteractiveDecoder>()
}

/// Segments of a block: a sequence of pairs, length and check bits.
fn partition(block_length: usize, segments: &Bound<'_, PyAny>) -> PyResult<Partition> {
    let refused = |got: &Bound<'_, PyAny>| {
        let expected = "a sequence of pairs (length, check_bits)";
        config_error(got.py(), "segments", expected, &type_of(got), "pass a tuple such as ((4096, 12), (4096, 0))")
    };
    let items = segments.try_iter().map_err(|_| refused(segments))?;
    let mut pairs = Vec::new();
    for item in items {
        let item = item?;
        let (length, check_bits) =
            item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().map_err(|_| refused(&item))?;
        pairs.push((integer("segments", &length)?, integer("segments", &check_bits)?));
    }
    Ok(Partition::new(block_length, &pairs)?)
}

fn input_kind(soft: Option<&Bound<'_, PyAny>>) -> PyResult<Input> {
    let Some(soft) = soft else { return Ok(Input::Hard) };
    match soft.extract::<bool>() {
        Ok(true) => Ok(Input::Soft),
        Ok(false) => Ok(Input::Hard),
        Err(_) => Err(config_error(soft.py(), "soft", "a bool", &type_of(soft), "pass True or False")),
    }
}

/// The check of every segment of one packed block, or of each row of [blocks, bytes], one row of values per block.
#[pyfunction]
fn interactive_check_values<'py>(
    py: Python<'py>,
    packed: &Bound<'py, PyAny>,
    segments: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArrayDyn<u32>>> {
    let array = readable::<u8>("packed", packed, 2)?;
    let (rows, row_bytes) = rows_of(array.shape());
    let partition = partition(8 * row_bytes, segments)?;
    let input = array.as_slice()?;
    let count = partition.segments().len();
    let mut values = zeroed(py, rows * count)?;
    py.detach(|| {
        // A block of a key: its copy is wiped.
        let mut words = AlignedBuffer::<u64>::new(row_bytes / 8);
        for (values, row) in values.chunks_exact_mut(count).zip(input.chunks_exact(row_bytes)) {
            bits::words_from_bytes(&mut words, row);
            partition.check_values(&mut words, values);
        }
    });
    shaped(py, values, &[rows, count])
}

/// Bytes a decoder allocates, and those of the state of a block.
#[pyfunction]
#[pyo3(
    signature = (block_length, info_set, segments, list_size, precision = None, escalation = None, soft = None),
    text_signature = "(block_length, info_set, segments, list_size, precision='int8', escalation=(), soft=False)"
)]
fn interactive_required_bytes(
    block_length: &Bound<'_, PyAny>,
    info_set: &Bound<'_, PyAny>,
    segments: &Bound<'_, PyAny>,
    list_size: &Bound<'_, PyAny>,
    precision: Option<&Bound<'_, PyAny>>,
    escalation: Option<&Bound<'_, PyAny>>,
    soft: Option<&Bound<'_, PyAny>>,
) -> PyResult<(usize, usize)> {
    let block_length: usize = integer("block_length", block_length)?;
    block_log2(block_length)?;
    let list_sizes = list_sizes(escalation, list_size)?;
    let precision = precision_of(precision)?;
    let input = input_kind(soft)?;
    let partition = partition(block_length, segments)?;
    let info = packed_words("info_set", info_set, block_length)?;
    let code = Code::new(block_length, &info, 0, Check::None)?;
    Ok(match precision {
        Precision::Int8 => (
            interactive::required_bytes::<i8>(&code, &partition, list_sizes, input),
            interactive::state_bytes::<i8>(&partition, input),
        ),
        Precision::F32 => (
            interactive::required_bytes::<f32>(&code, &partition, list_sizes, input),
            interactive::state_bytes::<f32>(&partition, input),
        ),
    })
}

fn precision_of(precision: Option<&Bound<'_, PyAny>>) -> PyResult<Precision> {
    match precision {
        Some(value) => Ok(precision_named(&name("precision", value)?)?),
        None => Ok(Precision::Int8),
    }
}

enum AnyDecoder {
    Int8(Decoder<i8>),
    F32(Decoder<f32>),
}

/// Calls a method of the decoder, whatever its precision.
macro_rules! of_any {
    ($decoder:expr, |$inner:ident| $body:expr) => {
        match $decoder {
            AnyDecoder::Int8($inner) => $body,
            AnyDecoder::F32($inner) => $body,
        }
    };
}

impl AnyDecoder {
    fn begin(
        &mut self,
        received: &[u8],
        frozen_values: &[u8],
        check_values: &[u32],
        (at_zero, at_one): (f64, f64),
        state: &mut [u8],
    ) -> Result<()> {
        match self {
            AnyDecoder::Int8(decoder) => {
                let magnitudes = Magnitudes::from_crossovers(at_zero, at_one);
                decoder.begin(received, frozen_values, check_values, magnitudes, state)
            }
            AnyDecoder::F32(decoder) => {
                let magnitudes = Magnitudes::from_crossovers(at_zero, at_one);
                decoder.begin(received, frozen_values, check_values, magnitudes, state)
            }
        }
    }
}

/// A decoder of blocks that wait for answers: the workspace of one thread.
#[pyclass(frozen, module = "caligo._native._core")]
struct InteractiveDecoder {
    block_length: usize,
    segment_count: usize,
    list_sizes: ListSizes,
    engine: EngineName,
    precision: Precision,
    allocated_bytes: usize,
    state_bytes: usize,
    decoder: Mutex<AnyDecoder>,
}

impl InteractiveDecoder {
    fn workspace(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, AnyDecoder>> {
        self.decoder.try_lock().map_err(|_| {
            let remedy = "give each thread a decoder of its own";
            config_error(py, "InteractiveDecoder", "a decoder that no other thread uses", "one in use", remedy)
        })
    }

    /// States of blocks, and how many they are.
    fn states<'py>(&self, states: &Bound<'py, PyAny>, max_ndim: usize) -> PyResult<(Writable<'py, u8>, usize)> {
        let array = writable::<u8>("states", states, max_ndim)?;
        let (rows, got) = rows_of(array.shape());
        self.check_state_length(states.py(), got)?;
        Ok((array, rows))
    }

    fn check_state_length(&self, py: Python<'_>, got: usize) -> PyResult<()> {
        if got == self.state_bytes {
            return Ok(());
        }
        let (expected, got) = (format!("{} bytes a row", self.state_bytes), format!("{got} bytes"));
        Err(shape_error(py, "states", &expected, &got, "pass rows of state_bytes bytes"))
    }

    /// Begins rows: `begin(decoder, row, what goes with it)`.
    fn begin_rows<'py, I: numpy::Element + Sync>(
        &self,
        py: Python<'py>,
        (what, input, elements): (&'static str, &Bound<'py, PyAny>, usize),
        frozen_values: &Bound<'py, PyAny>,
        check_values: &Bound<'py, PyAny>,
        states: &Bound<'py, PyAny>,
        begin: impl Fn(&mut AnyDecoder, &[I], &[u8], &[u32], &mut [u8]) -> Result<()> + Sync,
    ) -> PyResult<()> {
        let input = readable::<I>(what, input, 2)?;
        let (rows, got) = rows_of(input.shape());
        check_elements(py, what, elements, got)?;
        let frozen_values = readable::<u8>("frozen_values", frozen_values, 2)?;
        let row_bytes = bits::bytes_for(self.block_length);
        check_row_length(py, "frozen_values", row_bytes, rows_of(frozen_values.shape()).1)?;
        let check_values = readable::<u32>("check_values", check_values, 2)?;
        check_elements(py, "check_values", self.segment_count, rows_of(check_values.shape()).1)?;
        let (mut states, count) = self.states(states, 2)?;
        let counts = [rows_of(frozen_values.shape()).0, rows_of(check_values.shape()).0, count];
        check_rows(py, rows, ["frozen_values", "check_values", "states"].into_iter().zip(counts))?;
        let mut workspace = self.workspace(py)?;
        let workspace = &mut *workspace;
        let blocks = input.as_slice()?.chunks_exact(elements);
        let blocks = blocks.zip(frozen_values.as_slice()?.chunks_exact(row_bytes));
        let blocks = blocks.zip(check_values.as_slice()?.chunks_exact(self.segment_count));
        let mut blocks = blocks.zip(states.as_slice_mut()?.chunks_exact_mut(self.state_bytes));
        with_patience(py, || {
            blocks.next().map(|(((row, frozen_values), check_values), state)| {
                begin(workspace, row, frozen_values, check_values, state)
            })
        })
    }
}

/// Does one thing after the other until there is none; signals are attended to now and then.
fn with_patience(py: Python<'_>, mut step: impl FnMut() -> Option<Result<()>> + Send) -> PyResult<()> {
    loop {
        let finished = py.detach(|| {
            let began = Instant::now();
            while let Some(outcome) = step() {
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

fn check_elements(py: Python<'_>, what: &str, expected: usize, got: usize) -> PyResult<()> {
    if got == expected {
        return Ok(());
    }
    let (expected, got) = (format!("{expected} elements a row"), format!("{got} elements"));
    Err(shape_error(py, what, &expected, &got, "pass one row per block"))
}

fn check_rows(py: Python<'_>, rows: usize, arrays: impl Iterator<Item = (&'static str, usize)>) -> PyResult<()> {
    for (what, got) in arrays {
        if got != rows {
            let remedy = "pass arrays of one batch";
            return Err(shape_error(py, what, &format!("{rows} blocks"), &got.to_string(), remedy));
        }
    }
    Ok(())
}

#[pymethods]
impl InteractiveDecoder {
    #[new]
    #[pyo3(
        signature = (
            block_length, info_set, segments, list_size, *, shortened = None, escalation = None, precision = None,
            engine = None, soft = None
        ),
        text_signature = "(block_length, info_set, segments, list_size, *, shortened=0, escalation=(), \
            precision='int8', engine=None, soft=False)"
    )]
    #[allow(clippy::too_many_arguments, reason = "keywords of a constructor")]
    fn new(
        block_length: &Bound<'_, PyAny>,
        info_set: &Bound<'_, PyAny>,
        segments: &Bound<'_, PyAny>,
        list_size: &Bound<'_, PyAny>,
        shortened: Option<&Bound<'_, PyAny>>,
        escalation: Option<&Bound<'_, PyAny>>,
        precision: Option<&Bound<'_, PyAny>>,
        engine: Option<&Bound<'_, PyAny>>,
        soft: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let block_length: usize = integer("block_length", block_length)?;
        block_log2(block_length)?;
        let list_sizes = list_sizes(escalation, list_size)?;
        let shortened: usize = shortened.map_or(Ok(0), |value| integer("shortened", value))?;
        let precision = precision_of(precision)?;
        let engine = match engine {
            Some(value) => EngineName::choose(Some(&name("engine", value)?))?,
            None => EngineName::best(),
        };
        let input = input_kind(soft)?;
        let partition = partition(block_length, segments)?;
        let segment_count = partition.segments().len();
        let info = packed_words("info_set", info_set, block_length)?;
        let code = Code::new(block_length, &info, shortened, Check::None)?;
        let decoder = match precision {
            Precision::Int8 => AnyDecoder::Int8(Decoder::new(code, partition, list_sizes, input, engine)?),
            Precision::F32 => AnyDecoder::F32(Decoder::new(code, partition, list_sizes, input, engine)?),
        };
        let (allocated_bytes, state_bytes) =
            of_any!(&decoder, |decoder| (decoder.allocated_bytes(), decoder.state_bytes()));
        let decoder = Mutex::new(decoder);
        Ok(Self { block_length, segment_count, list_sizes, engine, precision, allocated_bytes, state_bytes, decoder })
    }

    #[getter]
    fn block_length(&self) -> usize {
        self.block_length
    }

    #[getter]
    fn segment_count(&self) -> usize {
        self.segment_count
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

    #[getter]
    fn state_bytes(&self) -> usize {
        self.state_bytes
    }

    fn __repr__(&self) -> String {
        format!(
            "InteractiveDecoder(block_length={}, segment_count={}, list_size={}, precision={:?}, engine={:?})",
            self.block_length,
            self.segment_count,
            self.list_sizes.largest(),
            self.precision(),
            self.engine()
        )
    }

    /// Begins blocks of hard decisions: fills their states.
    fn begin(
        &self,
        py: Python<'_>,
        received: &Bound<'_, PyAny>,
        frozen_values: &Bound<'_, PyAny>,
        check_values: &Bound<'_, PyAny>,
        qber: &Bound<'_, PyAny>,
        states: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let qber = crossovers(qber)?;
        let input = ("received", received, bits::bytes_for(self.block_length));
        self.begin_rows::<u8>(
            py,
            input,
            frozen_values,
            check_values,
            states,
            |decoder, row, frozen_values, check_values, state| {
                decoder.begin(row, frozen_values, check_values, qber, state)
            },
        )
    }

    /// Begins blocks of LLRs in nats: fills their states.
    fn begin_soft(
        &self,
        py: Python<'_>,
        llr: &Bound<'_, PyAny>,
        frozen_values: &Bound<'_, PyAny>,
        check_values: &Bound<'_, PyAny>,
        states: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let input = ("llr", llr, self.block_length);
        self.begin_rows::<f32>(
            py,
            input,
            frozen_values,
            check_values,
            states,
            |decoder, row, frozen_values, check_values, state| {
                of_any!(decoder, |decoder| decoder.begin_soft(row, frozen_values, check_values, state))
            },
        )
    }

    /// Decodes blocks from where each stands until a segment fails or all are decided.
    fn run(
        &self,
        py: Python<'_>,
        states: &Bound<'_, PyAny>,
        stopped: &Bound<'_, PyAny>,
        elapsed_ns: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (mut states, rows) = self.states(states, 2)?;
        let mut stopped = writable::<u32>("stopped", stopped, 1)?;
        let mut elapsed_ns = writable::<u64>("elapsed_ns", elapsed_ns, 1)?;
        let counts = [stopped.len(), elapsed_ns.len()];
        check_rows(py, rows, ["stopped", "elapsed_ns"].into_iter().zip(counts))?;
        let mut workspace = self.workspace(py)?;
        let workspace = &mut *workspace;
        let results = stopped.as_slice_mut()?.iter_mut().zip(elapsed_ns.as_slice_mut()?);
        let mut blocks = states.as_slice_mut()?.chunks_exact_mut(self.state_bytes).zip(results);
        with_patience(py, || {
            blocks.next().map(|(state, (stopped, elapsed_ns))| {
                let start = Instant::now();
                let outcome = of_any!(workspace, |decoder| decoder.run(state));
                *elapsed_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                *stopped = outcome? as u32;
                Ok(())
            })
        })
    }

    /// Discloses information positions of a block.
    fn disclose(
        &self,
        py: Python<'_>,
        state: &Bound<'_, PyAny>,
        positions: &Bound<'_, PyAny>,
        values: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (mut state, _) = self.states(state, 1)?;
        let positions: Readable<'_, u32> = readable("positions", positions, 1)?;
        let values = readable::<u8>("values", values, 1)?;
        let mut workspace = self.workspace(py)?;
        let (state, positions, values) = (state.as_slice_mut()?, positions.as_slice()?, values.as_slice()?);
        Ok(of_any!(&mut *workspace, |decoder| decoder.disclose(state, positions, values))?)
    }

    /// Sends a block back to a segment that has been decided.
    fn rollback(&self, py: Python<'_>, state: &Bound<'_, PyAny>, segment: &Bound<'_, PyAny>) -> PyResult<()> {
        let segment: usize = integer("segment", segment)?;
        let (mut state, _) = self.states(state, 1)?;
        let mut workspace = self.workspace(py)?;
        let state = state.as_slice_mut()?;
        Ok(of_any!(&mut *workspace, |decoder| decoder.rollback(state, segment))?)
    }

    /// The decoded blocks, of blocks that are through.
    fn finish(&self, py: Python<'_>, states: &Bound<'_, PyAny>, decoded: &Bound<'_, PyAny>) -> PyResult<()> {
        let states = readable::<u8>("states", states, 2)?;
        let (rows, got) = rows_of(states.shape());
        self.check_state_length(py, got)?;
        let mut decoded = writable::<u8>("decoded", decoded, 2)?;
        let row_bytes = bits::bytes_for(self.block_length);
        let (count, got) = rows_of(decoded.shape());
        check_row_length(py, "decoded", row_bytes, got)?;
        check_rows(py, rows, std::iter::once(("decoded", count)))?;
        let mut workspace = self.workspace(py)?;
        let workspace = &mut *workspace;
        let blocks = states.as_slice()?.chunks_exact(self.state_bytes);
        let mut blocks = blocks.zip(decoded.as_slice_mut()?.chunks_exact_mut(row_bytes));
        with_patience(py, || {
            let (state, decoded) = blocks.next()?;
            Some(of_any!(workspace, |decoder| decoder.finish(state, decoded)))
        })
    }
}
