//! Bits, transform, checks and randomness for Python.

use super::arguments::{byte_string, integer, name, number};
use super::arrays::{check_row_length, readable, rows_of, shaped, zeroed};
use crate::bits;
use crate::checksum::{self, Check};
use crate::code::Segmentation;
use crate::decoder::workspace::AlignedBuffer;
use crate::random::{self, Source};
use crate::transform;
use numpy::{PyArray1, PyArrayDyn};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(polar_transform, module)?)?;
    module.add_function(wrap_pyfunction!(check_names, module)?)?;
    module.add_function(wrap_pyfunction!(check_bits, module)?)?;
    module.add_function(wrap_pyfunction!(check_values, module)?)?;
    module.add_function(wrap_pyfunction!(segment_check_values, module)?)?;
    module.add_function(wrap_pyfunction!(universal_hash, module)?)?;
    module.add_function(wrap_pyfunction!(philox4x32, module)?)?;
    module.add_function(wrap_pyfunction!(random_bits, module)?)?;
    module.add_function(wrap_pyfunction!(bernoulli_bits, module)?)?;
    module.add_function(wrap_pyfunction!(standard_normal, module)?)
}

/// The polar transform of one packed block, or of each row of [blocks, bytes].
#[pyfunction]
fn polar_transform<'py>(
    py: Python<'py>,
    packed: &Bound<'py, PyAny>,
    block_length: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
    let block_length: usize = integer("block_length", block_length)?;
    transform::block_log2(block_length)?;
    let array = readable::<u8>("packed", packed, 2)?;
    let row_bytes = bits::bytes_for(block_length);
    check_row_length(py, "packed", row_bytes, rows_of(array.shape()).1)?;
    let input = array.as_slice()?;
    let mut output = zeroed(py, input.len())?;
    py.detach(|| {
        // A block of a key: its copy is wiped.
        let mut words = AlignedBuffer::<u64>::new(bits::words_for(block_length));
        for (row, out) in input.chunks_exact(row_bytes).zip(output.chunks_exact_mut(row_bytes)) {
            bits::check_packed("packed", row, block_length)?;
            bits::words_from_bytes(&mut words, row);
            transform::polar_transform(&mut words, block_length)?;
            bits::bytes_from_words(out, &words);
        }
        crate::error::Result::Ok(())
    })?;
    shaped(py, output, array.shape())
}

/// The names of the checks.
#[pyfunction]
fn check_names() -> [&'static str; 4] {
    Check::NAMES
}

/// Bits of the check called `name`.
#[pyfunction]
#[pyo3(signature = (name))]
fn check_bits(name: &Bound<'_, PyAny>) -> PyResult<u32> {
    Ok(check_of(name)?.bits())
}

fn check_of(object: &Bound<'_, PyAny>) -> PyResult<Check> {
    Ok(Check::from_name(&name("check", object)?)?)
}

/// The check of one packed block (an array of one element), or of each row of [blocks, bytes].
#[pyfunction]
fn check_values<'py>(
    py: Python<'py>,
    name: &Bound<'py, PyAny>,
    packed: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<u32>>> {
    let check = check_of(name)?;
    let array = readable::<u8>("packed", packed, 2)?;
    let (rows, row_bytes) = rows_of(array.shape());
    let input = array.as_slice()?;
    let mut values = zeroed(py, rows)?;
    py.detach(|| match row_bytes {
        0 => values.fill(check.value(&[])),
        _ => values.iter_mut().zip(input.chunks_exact(row_bytes)).for_each(|(value, row)| *value = check.value(row)),
    });
    Ok(PyArray1::from_vec(py, values))
}

/// The check of every segment of one packed block, or of each row of [blocks, bytes], one row of values per block: taken over
/// the transform of the segment's part of the block's transform.
#[pyfunction]
fn segment_check_values<'py>(
    py: Python<'py>,
    name: &Bound<'py, PyAny>,
    packed: &Bound<'py, PyAny>,
    segment_length: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArrayDyn<u32>>> {
    let array = readable::<u8>("packed", packed, 2)?;
    let (rows, row_bytes) = rows_of(array.shape());
    transform::block_log2(8 * row_bytes)?;
    let segmentation = Segmentation::new(8 * row_bytes, integer("segment_length", segment_length)?, check_of(name)?)?;
    let input = array.as_slice()?;
    let segments = row_bytes / 8 / segmentation.words();
    let mut values = zeroed(py, rows * segments)?;
    py.detach(|| {
        // A block of a key: its copy is wiped.
        let mut words = AlignedBuffer::<u64>::new(row_bytes / 8);
        for (values, row) in values.chunks_exact_mut(segments).zip(input.chunks_exact(row_bytes)) {
            bits::words_from_bytes(&mut words, row);
            segmentation.check_values(&mut words, values);
        }
    });
    shaped(py, values, &[rows, segments])
}

/// The 16-byte universal-hash tag of a packed message of `bits` bits under a 32-byte key.
#[pyfunction]
fn universal_hash<'py>(
    py: Python<'py>,
    key: &Bound<'py, PyAny>,
    packed: &Bound<'py, PyAny>,
    bits: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let key = byte_string("key", key)?;
    let bits = integer("bits", bits)?;
    let array = readable::<u8>("packed", packed, 1)?;
    let input = array.as_slice()?;
    let tag = py.detach(|| checksum::universal_hash(&key, input, bits))?;
    Ok(PyBytes::new(py, &tag))
}

/// Philox4x32-10 of one counter.
#[pyfunction]
fn philox4x32(counter: &Bound<'_, PyAny>, key: &Bound<'_, PyAny>) -> PyResult<(u32, u32, u32, u32)> {
    let [a, b, c, d] = random::philox4x32(integers("counter", counter)?, integers("key", key)?);
    Ok((a, b, c, d))
}

fn integers<const N: usize>(what: &str, object: &Bound<'_, PyAny>) -> PyResult<[u32; N]> {
    object.extract().map_err(|_| {
        let expected = format!("{N} integers from 0 to 2^32 - 1");
        super::error::config_error(object.py(), what, &expected, "something else", "pass a tuple of that many words")
    })
}

fn source(seed: &Bound<'_, PyAny>, stream: &Bound<'_, PyAny>, block: &Bound<'_, PyAny>) -> PyResult<Source> {
    Ok(Source { seed: integer("seed", seed)?, stream: integer("stream", stream)?, block: integer("block", block)? })
}

/// A row of `bits` bits drawn by `fill`, packed.
fn packed_row<'py>(
    py: Python<'py>,
    bits: usize,
    max: usize,
    fill: impl FnOnce(&mut [u64]) -> crate::error::Result<()> + Send,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    random::check_count("bits", bits, max)?;
    let mut words = zeroed(py, bits::words_for(bits))?;
    let mut packed = zeroed(py, bits::bytes_for(bits))?;
    py.detach(|| {
        fill(&mut words)?;
        bits::bytes_from_words(&mut packed, &words);
        crate::error::Result::Ok(())
    })?;
    Ok(PyArray1::from_vec(py, packed))
}

/// `bits` fair bits, packed.
#[pyfunction]
fn random_bits<'py>(
    py: Python<'py>,
    seed: &Bound<'py, PyAny>,
    stream: &Bound<'py, PyAny>,
    block: &Bound<'py, PyAny>,
    bits: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let (source, bits) = (source(seed, stream, block)?, integer("bits", bits)?);
    packed_row(py, bits, random::MAX_RANDOM_BITS, |words| random::random_bits(source, bits, words))
}

/// `bits` bits, each one with `probability`, packed.
#[pyfunction]
fn bernoulli_bits<'py>(
    py: Python<'py>,
    seed: &Bound<'py, PyAny>,
    stream: &Bound<'py, PyAny>,
    block: &Bound<'py, PyAny>,
    bits: &Bound<'py, PyAny>,
    probability: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let (source, bits) = (source(seed, stream, block)?, integer("bits", bits)?);
    let probability = number("probability", probability)?;
    packed_row(py, bits, random::MAX_BERNOULLI_BITS, |words| random::bernoulli_bits(source, bits, probability, words))
}

/// `count` independent standard normal numbers.
#[pyfunction]
fn standard_normal<'py>(
    py: Python<'py>,
    seed: &Bound<'py, PyAny>,
    stream: &Bound<'py, PyAny>,
    block: &Bound<'py, PyAny>,
    count: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let (source, count) = (source(seed, stream, block)?, integer("count", count)?);
    random::check_count("count", count, random::MAX_NORMALS)?;
    let mut numbers = zeroed(py, count)?;
    py.detach(|| random::standard_normal(source, &mut numbers))?;
    Ok(PyArray1::from_vec(py, numbers))
}
