//! Code design for Python.

use super::arguments::{integer, number, number_or_pair};
use crate::design::{self, Mixture};
use numpy::PyArray1;
use pyo3::prelude::*;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(design_density_evolution, module)?)?;
    module.add_function(wrap_pyfunction!(design_gaussian, module)?)?;
    module.add_function(wrap_pyfunction!(design_nr, module)?)?;
    module.add_function(wrap_pyfunction!(design_polarization_weight, module)?)
}

fn designed<'py>(
    py: Python<'py>,
    work: impl FnOnce() -> crate::error::Result<Vec<f32>> + Send,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    Ok(PyArray1::from_vec(py, py.detach(work)?))
}

/// Error probability of every position of u on a BSC, or a mixture of two by Bob's bit, in int8 arithmetic, by at most so
/// many threads.
#[pyfunction]
#[pyo3(
    signature = (block_length, payload_length, qber, threads=None, *, zero_weight=None),
    text_signature = "(block_length, payload_length, qber, threads=None, *, zero_weight=0.5)"
)]
fn design_density_evolution<'py>(
    py: Python<'py>,
    block_length: &Bound<'py, PyAny>,
    payload_length: &Bound<'py, PyAny>,
    qber: &Bound<'py, PyAny>,
    threads: Option<&Bound<'py, PyAny>>,
    zero_weight: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let block_length = integer("block_length", block_length)?;
    let payload_length = integer("payload_length", payload_length)?;
    let (at_zero, at_one) = number_or_pair("qber", qber)?;
    let zero_weight = zero_weight.map_or(Ok(0.5), |weight| number("zero_weight", weight))?;
    let threads = threads.map_or(Ok(1), |threads| integer("threads", threads))?;
    let channel = Mixture { at_zero, at_one, zero_weight };
    designed(py, || design::density_evolution_threaded(block_length, payload_length, channel, threads))
}

/// Error probability of every position of u on a BI-AWGN channel, by Gaussian approximation.
#[pyfunction]
fn design_gaussian<'py>(
    py: Python<'py>,
    block_length: &Bound<'py, PyAny>,
    payload_length: &Bound<'py, PyAny>,
    sigma: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let block_length = integer("block_length", block_length)?;
    let payload_length = integer("payload_length", payload_length)?;
    let sigma = number("sigma", sigma)?;
    designed(py, || design::gaussian(block_length, payload_length, sigma))
}

/// Pseudo error probability of every position by the 5G NR sequence.
#[pyfunction]
fn design_nr<'py>(py: Python<'py>, block_length: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let block_length = integer("block_length", block_length)?;
    designed(py, || design::nr(block_length))
}

/// Pseudo error probability of every position by polarisation weight.
#[pyfunction]
fn design_polarization_weight<'py>(
    py: Python<'py>,
    block_length: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let block_length = integer("block_length", block_length)?;
    designed(py, || design::polarization_weight(block_length))
}
