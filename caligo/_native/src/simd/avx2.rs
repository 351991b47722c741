//! The portable kernels compiled for AVX2, with its byte permutes.

use super::{KernelLlr, Kernels, Task};

/// Proof that this CPU has AVX2, BMI2, POPCNT and LZCNT.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if this CPU has the features.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("lzcnt")
        {
            return Some(Self(()));
        }
        None
    }
}

impl Kernels<i8> for Avx2 {}
impl Kernels<f32> for Avx2 {}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
fn compiled<T: KernelLlr, K: Task<T>>(engine: Avx2, task: K) -> K::Output
where
    Avx2: Kernels<T>,
{
    task.run(engine)
}

impl Avx2 {
    /// Runs `task` compiled for these features.
    pub fn run<T: KernelLlr, K: Task<T>>(self, task: K) -> K::Output
    where
        Self: Kernels<T>,
    {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token exists only where `new` found these features.
        return unsafe { compiled(self, task) };
        #[cfg(not(target_arch = "x86_64"))]
        task.run(self)
    }
}
