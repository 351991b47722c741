//! Array arguments: dtype, dimensions and layout are checked here, and what does not fit is a `ShapeError`.
//!
//! Nothing is converted or copied on the way in: an array of the wrong kind is refused, so that no call is slow by
//! surprise. Not covered: the meaning of the elements.

use super::arguments::type_of;
use super::claims::Claim;
use super::error::{resource_error, shape_error};
use numpy::npyffi::{_PyArray_GET_ITEM_DATA, NPY_ARRAY_WRITEABLE};
use numpy::prelude::*;
use numpy::{Element, IxDyn, PyArray1, PyArrayDescr, PyArrayDyn, PyUntypedArray};
use pyo3::prelude::*;

/// Loads NumPy and its C interface, so that no later call has to.
///
/// On first use it would be loaded in the middle of a call that cannot fail for it: an interrupt there is a panic.
///
/// # Errors
///
/// NumPy cannot be imported, or the import is interrupted.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    numpy::get_array_module(py)?;
    drop(PyArray1::<u8>::zeros(py, 0, false));
    Ok(())
}

/// Checks that `object` is a C-contiguous, aligned array of `T` with `min_ndim` to `max_ndim` dimensions.
fn checked<'a, 'py, T: Element>(
    what: &str,
    object: &'a Bound<'py, PyAny>,
    min_ndim: usize,
    max_ndim: usize,
) -> PyResult<&'a Bound<'py, PyArrayDyn<T>>> {
    let py = object.py();
    let dtype = numpy::dtype::<T>(py);
    let array = object.cast::<PyUntypedArray>().map_err(|_| {
        let remedy = "pass a NumPy array";
        shape_error(py, what, &format!("an array of {}", dtype_name(&dtype)), &type_of(object), remedy)
    })?;
    if !array.dtype().is_equiv_to(&dtype) {
        let (expected, got) = (format!("dtype {}", dtype_name(&dtype)), dtype_name(&array.dtype()));
        let remedy = format!("convert it with .astype(numpy.{})", dtype_name(&dtype));
        return Err(shape_error(py, what, &expected, &format!("dtype {got}"), &remedy));
    }
    if !(min_ndim..=max_ndim).contains(&array.ndim()) {
        let expected = match (min_ndim, max_ndim) {
            (1, 1) => "1 dimension".to_owned(),
            (low, high) if low == high => format!("{low} dimensions"),
            (low, high) => format!("{low} or {high} dimensions"),
        };
        return Err(shape_error(py, what, &expected, &array.ndim().to_string(), "reshape it"));
    }
    if !array.is_c_contiguous() || !array.is_aligned() {
        let remedy = "copy it with numpy.ascontiguousarray";
        return Err(shape_error(py, what, "a C-contiguous array", "another memory layout", remedy));
    }
    object.cast::<PyArrayDyn<T>>().map_err(PyErr::from)
}

fn dtype_name(dtype: &Bound<'_, PyArrayDescr>) -> String {
    dtype.str().map_or_else(|_| "unknown".to_owned(), |name| name.to_string())
}

/// An array whose memory a call may read.
pub struct Readable<'py, T: Element> {
    array: Bound<'py, PyArrayDyn<T>>,
    _claim: Claim,
}

impl<T: Element> Readable<'_, T> {
    /// Length of each dimension.
    pub fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    /// Elements in all.
    pub fn len(&self) -> usize {
        self.array.len()
    }

    /// The elements, in C order.
    pub fn as_slice(&self) -> PyResult<&[T]> {
        // SAFETY: `checked` found the array C-contiguous and aligned, the array is kept alive by `self`, and the claim keeps
        // every other call of this extension from writing it for as long as the slice lives.
        Ok(unsafe { self.array.as_slice() }?)
    }
}

/// An array whose memory a call may write, and no other call may use.
pub struct Writable<'py, T: Element> {
    array: Bound<'py, PyArrayDyn<T>>,
    _claim: Claim,
}

impl Writable<'_, bool> {
    /// The elements as the bytes they are. Fresh memory of a Boolean array holds any byte, and a Rust `bool` may not.
    pub fn as_bytes_mut(&mut self) -> PyResult<&mut [u8]> {
        // SAFETY: NumPy's Booleans are one byte each; the rest is as in `as_slice_mut`.
        Ok(unsafe { self.array.cast_unchecked::<PyArrayDyn<u8>>().as_slice_mut() }?)
    }
}

impl<T: Element> Writable<'_, T> {
    /// Length of each dimension.
    pub fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    /// Elements in all.
    pub fn len(&self) -> usize {
        self.array.len()
    }

    /// The elements, in C order.
    pub fn as_slice_mut(&mut self) -> PyResult<&mut [T]> {
        // SAFETY: `checked` found the array C-contiguous and aligned, `writable` found it writable, the array is kept alive
        // by `self`, and the claim keeps every other call of this extension from using it for as long as the slice lives.
        Ok(unsafe { self.array.as_slice_mut() }?)
    }
}

fn claim<T: Element>(array: &Bound<'_, PyArrayDyn<T>>, exclusive: bool) -> Option<Claim> {
    Claim::new(array.data().cast_const(), array.len() * size_of::<T>(), exclusive)
}

/// An array to read, with one dimension, or two ([rows, elements]) where `max_ndim` is 2.
pub fn readable<'py, T: Element>(
    what: &str,
    object: &Bound<'py, PyAny>,
    max_ndim: usize,
) -> PyResult<Readable<'py, T>> {
    let array = checked::<T>(what, object, 1, max_ndim)?;
    let claim = claim(array, false).ok_or_else(|| {
        let remedy = "do not pass one array as input and output, or to two calls at once";
        shape_error(object.py(), what, "an array no other call writes", "a shared array", remedy)
    })?;
    Ok(Readable { array: array.clone(), _claim: claim })
}

/// An array to write, with one dimension, or two ([rows, elements]) where `max_ndim` is 2.
pub fn writable<'py, T: Element>(
    what: &str,
    object: &Bound<'py, PyAny>,
    max_ndim: usize,
) -> PyResult<Writable<'py, T>> {
    let array = checked::<T>(what, object, 1, max_ndim)?;
    let claim = if is_writeable(array) { claim(array, true) } else { None };
    let claim = claim.ok_or_else(|| {
        let remedy = "pass a writable array, and not one that another argument or call uses";
        shape_error(object.py(), what, "an array of its own to write", "a read-only or shared array", remedy)
    })?;
    Ok(Writable { array: array.clone(), _claim: claim })
}

/// What NumPy itself holds; a subclass may say anything in its `flags`.
fn is_writeable<T: Element>(array: &Bound<'_, PyArrayDyn<T>>) -> bool {
    // SAFETY: the pointer is that of a live array, whose flags change only while the interpreter is held, as it is here.
    unsafe { (*_PyArray_GET_ITEM_DATA(array.as_array_ptr())).flags & NPY_ARRAY_WRITEABLE != 0 }
}

/// Rows and elements per row; one dimension is one row.
pub fn rows_of(shape: &[usize]) -> (usize, usize) {
    match shape {
        [rows, elements] => (*rows, *elements),
        [elements] => (1, *elements),
        _ => (0, 0),
    }
}

/// A `ShapeError` unless rows have `expected` elements.
pub fn check_row_length(py: Python<'_>, what: &str, expected: usize, got: usize) -> PyResult<()> {
    if got == expected {
        return Ok(());
    }
    let remedy = "pass packed rows of that many bytes (little bit order)";
    Err(shape_error(py, what, &format!("{expected} bytes a row"), &format!("{got} bytes"), remedy))
}

/// A new array from `elements` with the given shape.
pub fn shaped<'py, T: Element>(
    py: Python<'py>,
    elements: Vec<T>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    PyArray1::from_vec(py, elements).reshape(IxDyn(shape))
}

/// `count` default elements; a `ResourceError` where the machine has no room for them.
pub fn zeroed<T: Clone + Default>(py: Python<'_>, count: usize) -> PyResult<Vec<T>> {
    let mut elements = Vec::new();
    let bytes = count.saturating_mul(size_of::<T>());
    elements.try_reserve_exact(count).map_err(|_| resource_error(py, bytes))?;
    elements.resize(count, T::default());
    Ok(elements)
}
