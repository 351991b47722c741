//! The extension module `caligo._native._core`.
//!
//! This file and those under `src/python/` are the only ones that know Python. They check what comes in, let go of the
//! interpreter while the crate works, and turn errors into caligo's exceptions; they compute nothing.
//! Signatures as Python sees them: `_core.pyi`.

use pyo3::prelude::*;

mod allocation;
mod arguments;
mod arrays;
mod build;
mod claims;
mod decoder;
mod design;
mod error;
mod foundations;
mod interactive;

#[global_allocator]
static ALLOCATOR: allocation::CountingAllocator = allocation::CountingAllocator;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    arrays::prepare(module.py())?;
    claims::prepare();
    build::register(module)?;
    foundations::register(module)?;
    decoder::register(module)?;
    interactive::register(module)?;
    design::register(module)?;
    Ok(())
}
