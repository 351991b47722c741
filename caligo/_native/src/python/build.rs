//! What was built, and what the machine is.

use super::allocation;
use pyo3::prelude::*;
use std::collections::BTreeMap;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(build_info, module)?)?;
    module.add_function(wrap_pyfunction!(cpu_features, module)?)?;
    module.add_function(wrap_pyfunction!(allocation_count, module)?)
}

/// How this extension was built: version, rustc, target, profile, opt.
#[pyfunction]
fn build_info() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("version", env!("CARGO_PKG_VERSION")),
        ("rustc", env!("CALIGO_RUSTC")),
        ("target", env!("CALIGO_TARGET")),
        ("profile", env!("CALIGO_PROFILE")),
        ("opt", env!("CALIGO_OPT")),
    ])
}

/// Those features of this CPU that some kernel of the crate makes use of.
#[pyfunction]
fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as detected;
        let features = [
            ("pclmulqdq", detected!("pclmulqdq")),
            ("popcnt", detected!("popcnt")),
            ("lzcnt", detected!("lzcnt")),
            ("bmi1", detected!("bmi1")),
            ("bmi2", detected!("bmi2")),
            ("avx2", detected!("avx2")),
            ("avx512f", detected!("avx512f")),
            ("avx512bw", detected!("avx512bw")),
            ("avx512dq", detected!("avx512dq")),
            ("avx512vl", detected!("avx512vl")),
            ("avx512vbmi", detected!("avx512vbmi")),
            ("avx512vbmi2", detected!("avx512vbmi2")),
        ];
        features.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

/// Heap allocations this thread has made inside the extension.
#[pyfunction]
fn allocation_count() -> u64 {
    allocation::count()
}
