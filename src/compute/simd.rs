//! Functions compiled once per instruction set; the widest one that this processor supports is chosen at run time.

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// Instruction sets, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Instructions that every processor of the architecture has.
    Baseline,
    /// 256-bit vectors and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same, with products of bf16 pairs and of int8 quadruples.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

/// Environment variable with the name of the highest level to use.
pub(crate) const VARIABLE: &str = "WARMSTART_INSTRUCTIONS";

/// The level in use: the processor's own, or a lower one set by [`VARIABLE`]. An unknown name is ignored here;
/// [`check_environment`] refuses it.
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| detect().min(asked().and_then(|name| Level::named(&name)).unwrap_or(Level::HIGHEST)))
}

/// An error if [`VARIABLE`] holds something other than the name of a level.
pub fn check_environment() -> Result<()> {
    match asked().filter(|name| Level::named(name).is_none()) {
        None => Ok(()),
        Some(name) => {
            let known = Level::NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            Err(Error::Value(format!("{VARIABLE}={name:?}: expected one of {known}")))
        }
    }
}

fn asked() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())
}

impl Level {
    #[cfg(target_arch = "x86_64")]
    pub(crate) const NAMES: &[(&str, Self)] = &[
        ("baseline", Self::Baseline),
        ("avx2", Self::Avx2),
        ("avx512", Self::Avx512),
        ("avx512bf16", Self::Avx512Bf16),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) const NAMES: &[(&str, Self)] = &[("baseline", Self::Baseline)];
    const HIGHEST: Self = Self::NAMES[Self::NAMES.len() - 1].1;

    fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let bf16 = is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vnni");
    match (avx2, avx512, bf16) {
        (true, true, true) => Level::Avx512Bf16,
        (true, true, false) => Level::Avx512,
        (true, false, _) => Level::Avx2,
        (false, _, _) => Level::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Baseline
}

/// Define a function whose body is compiled once for each [`Level`].
///
/// The body is part of each compiled function, so that its closures use the same instructions; functions it calls must
/// be `#[inline(always)]`.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) $(-> $ret)? $body

                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) $(-> $ret)? $body

                match $crate::compute::simd::level() {
                    // SAFETY: `level` found these instructions on this processor.
                    $crate::compute::simd::Level::Avx512 | $crate::compute::simd::Level::Avx512Bf16 => return unsafe { avx512($($arg),*) },
                    $crate::compute::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::compute::simd::Level::Baseline => {}
                }
            }
            fn baseline($($arg: $type),*) $(-> $ret)? $body
            baseline($($arg),*)
        }
    };
}

pub(crate) use vectorised;
