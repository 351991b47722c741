//! Scalar arguments: integers in a range, numbers, names, byte strings. What does not fit is a `ConfigError`.

use super::error::config_error;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::any::type_name;

/// A Python integer that fits the unsigned type `T` (`numpy` integers too).
pub fn integer<'py, T>(what: &str, object: &Bound<'py, PyAny>) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    object.extract::<T>().map_err(|_| {
        let range = match type_name::<T>() {
            "u32" => "an integer from 0 to 2^32 - 1",
            _ => "an integer from 0 to 2^64 - 1",
        };
        config_error(object.py(), what, range, &describe(object), "pass an integer in that range")
    })
}

/// A Python number.
pub fn number(what: &str, object: &Bound<'_, PyAny>) -> PyResult<f64> {
    object.extract::<f64>().map_err(|_| config_error(object.py(), what, "a number", &describe(object), "pass a float"))
}

/// A Python number, twice, or a tuple of two.
pub fn number_or_pair(what: &str, object: &Bound<'_, PyAny>) -> PyResult<(f64, f64)> {
    match object.cast::<PyTuple>() {
        Err(_) => number(what, object).map(|value| (value, value)),
        Ok(pair) => pair.extract::<(f64, f64)>().map_err(|_| {
            let got = format!("a tuple of {}", pair.len());
            config_error(object.py(), what, "a number or a tuple of two", &got, "pass (at_zero, at_one)")
        }),
    }
}

/// A Python string.
pub fn name(what: &str, object: &Bound<'_, PyAny>) -> PyResult<String> {
    object
        .extract::<String>()
        .map_err(|_| config_error(object.py(), what, "a name (str)", &describe(object), "pass a string"))
}

/// A byte string of exactly `N` bytes. What it holds never enters a message.
pub fn byte_string<const N: usize>(what: &str, object: &Bound<'_, PyAny>) -> PyResult<[u8; N]> {
    let fail = |got: String| {
        config_error(object.py(), what, &format!("{N} bytes"), &got, "pass a bytes object of that length")
    };
    let bytes = object.cast::<PyBytes>().map_err(|_| fail(type_of(object)))?.as_bytes();
    bytes.try_into().map_err(|_| fail(format!("{} bytes", bytes.len())))
}

/// The value of a number, the type of anything else.
fn describe(object: &Bound<'_, PyAny>) -> String {
    match object.extract::<f64>().and_then(|_| object.str()) {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => type_of(object),
    }
}

/// The name of an object's type.
pub fn type_of(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}
