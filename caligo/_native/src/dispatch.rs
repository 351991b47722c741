//! One body, compiled for several instruction sets.
//!
//! For plain, safe code that the compiler vectorises well when it may use wide registers. The result does not depend on
//! the choice: integer code is exact, and Rust never contracts or reorders floating-point arithmetic, so an element-wise
//! `f32` loop gives the same bits at every width.
//!
//! Not covered: kernels that need intrinsics, and engines that are chosen once per decoder; those are in `simd`.

/// Defines a function whose body is compiled for the baseline, AVX2 and AVX-512, and which runs the widest this CPU has.
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

                if std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: every feature `avx512` is compiled for was detected just above.
                    return unsafe { avx512($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: AVX2 was detected just above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            portable($($arg),*)
        }
    };
}

pub(crate) use widest;
