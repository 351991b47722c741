//! AVX-512: 64 LLRs at a time above stage 5, 32 paths at a time below it, selections by byte permutes (VBMI).

use super::{KernelLlr, Kernels, Task};

/// Proof that this CPU has AVX-512 F, BW, DQ, VL, VBMI and VBMI2 beside what AVX2 engines need.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

impl Avx512 {
    /// The token, if this CPU has the features.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vbmi2")
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

impl Kernels<i8> for Avx512 {}
impl Kernels<f32> for Avx512 {}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,popcnt,lzcnt")]
fn compiled<T: KernelLlr, K: Task<T>>(engine: Avx512, task: K) -> K::Output
where
    Avx512: Kernels<T>,
{
    task.run(engine)
}

impl Avx512 {
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
