//! The crate's errors as caligo's exceptions; the only place where one becomes the other.
//!
//! The classes live in `caligo/errors.py` and are imported once. Every exception says what was expected, what came and
//! what to do, and carries the same as `fields`.

use crate::error::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// The family of an exception.
#[derive(Clone, Copy)]
enum Family {
    Config,
    Shape,
    Resource,
}

impl Family {
    fn class(self, py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
        static CONFIG: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static SHAPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static RESOURCE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let (cell, name) = match self {
            Family::Config => (&CONFIG, "ConfigError"),
            Family::Shape => (&SHAPE, "ShapeError"),
            Family::Resource => (&RESOURCE, "ResourceError"),
        };
        cell.import(py, "caligo.errors", name)
    }

    fn raise(self, py: Python<'_>, message: String, fields: &Bound<'_, PyDict>) -> PyErr {
        match self.class(py).and_then(|class| class.call((message,), Some(fields))) {
            Ok(exception) => PyErr::from_value(exception),
            Err(error) => error,
        }
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        Python::attach(|py| convert(py, &error).unwrap_or_else(|failure| failure))
    }
}

fn convert(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let fields = PyDict::new(py);
    let (family, remedy) = match error {
        Error::BlockLength { got, min, max } => {
            fields.set_item("argument", "block_length")?;
            fields.set_item("got", got)?;
            fields.set_item("min", min)?;
            fields.set_item("max", max)?;
            (Family::Config, "choose a power of two")
        }
        Error::ListSize { got } => {
            fields.set_item("argument", "list_size")?;
            fields.set_item("expected", [1, 2, 4, 8, 16, 32])?;
            fields.set_item("got", got)?;
            (Family::Config, "choose one of these list sizes")
        }
        Error::Escalation { got, list_size } => {
            fields.set_item("argument", "escalation")?;
            fields.set_item("got", got)?;
            fields.set_item("list_size", list_size)?;
            (Family::Config, "choose sizes such as (1, 8) before 32")
        }
        Error::CheckRequired { what } => {
            fields.set_item("argument", what)?;
            fields.set_item("got", "none")?;
            (Family::Config, "choose one of the checks crc16, crc24, crc32")
        }
        Error::SegmentLength { got, min, max } => {
            fields.set_item("argument", "segment_length")?;
            fields.set_item("got", got)?;
            fields.set_item("min", min)?;
            fields.set_item("max", max)?;
            (Family::Config, "take at least two segments, or none")
        }
        Error::SegmentCut { index, start, length, min } => {
            fields.set_item("argument", "segments")?;
            fields.set_item("index", index)?;
            fields.set_item("start", start)?;
            fields.set_item("got", length)?;
            fields.set_item("min", min)?;
            (Family::Config, "cut the block at nodes of the code tree")
        }
        Error::Undisclosable { position } => {
            fields.set_item("argument", "positions")?;
            fields.set_item("position", position)?;
            (
                Family::Config,
                "disclose each information position once, before its segment is decided or after a rollback",
            )
        }
        Error::ForeignState { what } => {
            fields.set_item("argument", "states")?;
            fields.set_item("got", what)?;
            (Family::Config, "begin the block with a decoder of the same code, segments, precision and input")
        }
        Error::Standing { what, expected, got } => {
            fields.set_item("argument", what)?;
            fields.set_item("expected", expected)?;
            fields.set_item("got", got)?;
            (Family::Config, "run the block first")
        }
        Error::Length { what, expected, got } => {
            fields.set_item("argument", what)?;
            fields.set_item("expected", expected)?;
            fields.set_item("got", got)?;
            (Family::Shape, "pass an array of that many elements")
        }
        Error::OutOfRange { what, got, min, max } => {
            fields.set_item("argument", what)?;
            fields.set_item("got", got)?;
            fields.set_item("min", min)?;
            fields.set_item("max", max)?;
            (Family::Config, "choose a value in that range")
        }
        Error::UnknownName { what, got, known } => {
            fields.set_item("argument", what)?;
            fields.set_item("expected", known.to_vec())?;
            fields.set_item("got", got)?;
            (Family::Config, "choose one of these names")
        }
        Error::EngineUnavailable { engine } => {
            fields.set_item("argument", "engine")?;
            fields.set_item("got", engine)?;
            (Family::Resource, "see engines() for those this machine runs")
        }
        Error::Memory { bytes } => {
            fields.set_item("argument", "memory")?;
            fields.set_item("expected", bytes)?;
            (Family::Resource, "choose a shorter block or a smaller list; required_bytes says what they take")
        }
        Error::StrayBits { what, position } => {
            fields.set_item("argument", what)?;
            fields.set_item("position", position)?;
            (Family::Shape, "clear the unused bits before packing")
        }
    };
    Ok(family.raise(py, format!("{error}; {remedy}"), &fields))
}

/// A `ShapeError` about an array argument: what was expected, what came, what to do.
pub fn shape_error(py: Python<'_>, what: &str, expected: &str, got: &str, remedy: &str) -> PyErr {
    described(Family::Shape, py, what, expected, got, remedy)
}

/// A `ConfigError` about a scalar argument: what was expected, what came, what to do.
pub fn config_error(py: Python<'_>, what: &str, expected: &str, got: &str, remedy: &str) -> PyErr {
    described(Family::Config, py, what, expected, got, remedy)
}

/// A `ResourceError`: there is no memory for a result.
pub fn resource_error(py: Python<'_>, bytes: usize) -> PyErr {
    let expected = format!("{bytes} bytes of memory");
    described(Family::Resource, py, "result", &expected, "a refusal from the allocator", "ask for less at a time")
}

fn described(family: Family, py: Python<'_>, what: &str, expected: &str, got: &str, remedy: &str) -> PyErr {
    let fields = PyDict::new(py);
    let filled = [("argument", what), ("expected", expected), ("got", got)]
        .into_iter()
        .try_for_each(|(name, value)| fields.set_item(name, value));
    match filled {
        Ok(()) => family.raise(py, format!("{what}: expected {expected}, got {got}; {remedy}"), &fields),
        Err(error) => error,
    }
}
