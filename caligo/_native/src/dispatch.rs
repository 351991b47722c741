//! One body, compiled for several instruction sets.
//!
//! For plain, safe code that the compiler vectorises well when it may use wide registers. The result does not depend on
//! the choice: integer code is exact, and Rust never contracts or reorders floating-point arithmetic, so an element-wise
//! `f32` loop gives the same bits at every width. `tests/dispatch.rs` holds every width to that.
//!
//! Not covered: kernels that need intrinsics, and engines that are chosen once per decoder; those are in `simd`.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set the bodies are compiled for, narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// What every CPU of the target has.
    Portable = 1,
    /// AVX2.
    Avx2 = 2,
    /// AVX-512 with F, BW, DQ and VL.
    Avx512 = 3,
}

/// The width in use: 0 until the first question, then never more than this CPU has.
static CHOICE: AtomicU8 = AtomicU8::new(0);

/// The widest this CPU has.
fn detected() -> Width {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
            return Width::Avx512;
        }
        if has!("avx2") {
            return Width::Avx2;
        }
    }
    Width::Portable
}

/// Uses at most this width from now on, in the whole process; returns what that comes to on this CPU.
///
/// For tests and measurements: it changes the speed of a call, never its result.
pub fn limit(width: Width) -> Width {
    let width = width.min(detected());
    CHOICE.store(width as u8, Ordering::Relaxed);
    width
}

/// The width in use.
#[must_use]
pub fn width() -> Width {
    match CHOICE.load(Ordering::Relaxed) {
        1 => Width::Portable,
        2 => Width::Avx2,
        3 => Width::Avx512,
        _ => limit(Width::Avx512),
    }
}

/// Defines a function whose body is compiled for every [`Width`], and which runs the one in use.
macro_rules! widest {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $output)? {
            #[inline(always)]
            fn portable($($arg: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) $(-> $output)? {
                    portable($($arg),*)
                }

                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) $(-> $output)? {
                    portable($($arg),*)
                }

                match $crate::dispatch::width() {
                    $crate::dispatch::Width::Portable => portable($($arg),*),
                    // SAFETY: `width` never says more than was detected on this CPU.
                    $crate::dispatch::Width::Avx2 => unsafe { avx2($($arg),*) },
                    // SAFETY: as above.
                    $crate::dispatch::Width::Avx512 => unsafe { avx512($($arg),*) },
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            portable($($arg),*)
        }
    };
}

pub(crate) use widest;
