//! The product of a linear layer beside candle's, and beside what the processor's arithmetic units do at most.
//!
//! `frozen_linear` on a packed weight without bias is the product `x W^T`: what is timed packs `x`, not `W`. The peak is
//! measured: multiply-adds on registers alone, each independent of its neighbours, on all threads. The table before
//! criterion's figures takes peak, product and candle in turn, so that a machine that slows down slows all three.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use warmstart::array::Array;
use warmstart::autograd::Var;
use warmstart::compute::{StorageDtype, in_pool, num_threads};
use warmstart::matmul::Precision;
use warmstart::ops::affine::Affine;
use warmstart::ops::linear::{Added, Epilogue, Frozen, frozen_linear};
use warmstart::rng::{Key, Stream};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Rows of `x`, depth, columns of `C`: that of the goal, and those of MiniLM's layers on a training batch.
const SHAPES: [[usize; 3]; 4] = [[1024, 768, 3072], [3296, 384, 384], [3296, 1536, 384], [3296, 384, 1536]];
const PRECISIONS: [(&str, Precision); 2] = [("f32", Precision::F32), ("bf16", Precision::Bf16)];
/// Times that each takes its turn.
const ROUNDS: usize = 15;
/// Loops of [`peak`] in one turn: some milliseconds.
const LOOPS: u64 = 1 << 20;

struct Case {
    x: Var,
    weight: Frozen,
    /// `x` and `W`, in the precision, for candle.
    operands: [Tensor; 2],
    flops: f64,
}

impl Case {
    fn new([m, k, n]: [usize; 3], precision: Precision) -> Outcome<Self> {
        let random = |seed, shape: (usize, usize)| {
            Tensor::from_vec(Key::new(seed, Stream::Init).normal(shape.0 * shape.1, 1.0), shape, &Device::Cpu)
        };
        let (x, weight) = (random(1, (m, k))?, random(2, (n, k))?);
        let dtype = if precision == Precision::Bf16 { DType::BF16 } else { DType::F32 };
        let operands = [x.to_dtype(dtype)?, weight.to_dtype(dtype)?];
        let weight = Frozen::new(&Affine::new(&Var::constant(Array::try_from(&weight)?), None)?, precision);
        let case = Self { x: Var::constant(Array::try_from(&x)?), weight, operands, flops: 2.0 * (m * k * n) as f64 };
        case.ours()?;
        Ok(case)
    }

    fn ours(&self) -> Outcome<Var> {
        Ok(frozen_linear(&self.x, &self.weight, &Added::default(), Epilogue::None, StorageDtype::F32)?)
    }

    fn candle(&self) -> candle_core::Result<Tensor> {
        self.operands[0].matmul(&self.operands[1].t()?)
    }
}

fn seconds<T>(f: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(f());
    start.elapsed().as_secs_f64()
}

/// Multiply-adds on registers alone.
mod peak {
    #[cfg(not(target_arch = "x86_64"))]
    use std::hint::black_box;

    /// Sums that do not wait for each other: more than units times cycles of delay, and they fit the registers.
    #[cfg(target_arch = "x86_64")]
    macro_rules! measured {
        ($name:ident, $features:literal, $sums:literal, $zero:expr, $operand:expr, $step:expr) => {
            #[target_feature(enable = $features)]
            fn $name(loops: u64) {
                let (a, b) = (black_box($operand), black_box($operand));
                let mut sums = [$zero; $sums];
                for _ in 0..loops {
                    for sum in &mut sums {
                        *sum = $step(*sum, a, b);
                    }
                }
                black_box(sums);
            }
        };
    }

    #[cfg(target_arch = "x86_64")]
    mod x86 {
        use std::arch::x86_64::{
            __m512bh, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_set1_epi16,
            _mm512_set1_ps,
        };
        use std::hint::black_box;

        measured!(fma256, "avx,fma", 12, _mm256_set1_ps(1.0), _mm256_set1_ps(0.5), |s, a, b| _mm256_fmadd_ps(a, b, s));
        measured!(fma512, "avx512f", 24, _mm512_set1_ps(1.0), _mm512_set1_ps(0.5), |s, a, b| _mm512_fmadd_ps(a, b, s));
        measured!(
            dpbf16,
            "avx512f,avx512bf16",
            24,
            _mm512_set1_ps(1.0),
            // SAFETY: both are 64 bytes without an invalid pattern; 0x3f00 is 0.5.
            unsafe { std::mem::transmute::<std::arch::x86_64::__m512i, __m512bh>(_mm512_set1_epi16(0x3f00)) },
            |s, a, b| _mm512_dpbf16_ps(s, a, b)
        );

        /// The floating-point operations of `loops` loops of f32, done.
        pub fn f32(loops: u64) -> Option<u64> {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has the instructions.
                unsafe { fma512(loops) };
                Some(loops * 24 * 16 * 2)
            } else if is_x86_feature_detected!("avx") && is_x86_feature_detected!("fma") {
                // SAFETY: as above.
                unsafe { fma256(loops) };
                Some(loops * 12 * 8 * 2)
            } else {
                None
            }
        }

        /// Those of bf16, where the processor multiplies it.
        pub fn bf16(loops: u64) -> Option<u64> {
            if !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("avx512bf16") {
                return None;
            }
            // SAFETY: the processor has the instructions.
            unsafe { dpbf16(loops) };
            Some(loops * 24 * 32 * 2)
        }
    }

    #[cfg(target_arch = "x86_64")]
    pub use x86::{bf16, f32};
    /// Without intrinsics the compiler chooses the vectors.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn f32(loops: u64) -> Option<u64> {
        let (a, b) = (black_box([0.5f32; 4]), black_box([0.5f32; 4]));
        let mut sums = [[1f32; 4]; 16];
        for _ in 0..loops {
            for sum in &mut sums {
                for i in 0..4 {
                    sum[i] = a[i].mul_add(b[i], sum[i]);
                }
            }
        }
        black_box(sums);
        Some(loops * 16 * 4 * 2)
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn bf16(_: u64) -> Option<u64> {
        None
    }
}

/// FLOP/s of all threads; none where there is no instruction to measure.
fn peak(precision: Precision) -> Option<f64> {
    let run = if precision == Precision::Bf16 { peak::bf16 } else { peak::f32 };
    let start = Instant::now();
    let done: Option<u64> = rayon::broadcast(|_| run(LOOPS)).into_iter().sum();
    Some(done? as f64 / start.elapsed().as_secs_f64())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Median and best in GFLOP/s.
fn column(values: &mut [f64]) -> String {
    if values.is_empty() {
        return format!("{:>14}", "-");
    }
    let (median, best) = (median(values), values.iter().copied().fold(0.0, f64::max));
    format!("{:>6.0} ({best:>5.0})", median / 1e9, best = best / 1e9)
}

fn table() -> Outcome {
    println!(
        "{} threads; GFLOP/s: median (best) of {ROUNDS} turns; percent: of the peak, median (best by best)",
        num_threads()
    );
    println!("{:<20} {:>14} {:>14} {:>14}  percent", "m x k x n", "peak", "warmstart", "candle");
    for (name, precision) in PRECISIONS {
        for shape in SHAPES {
            let case = Case::new(shape, precision)?;
            let candle = case.candle().err();
            let (mut peaks, mut ours, mut theirs, mut shares) = (vec![], vec![], vec![], vec![]);
            for _ in 0..ROUNDS {
                let product = case.flops / seconds(|| case.ours());
                if let Some(peak) = peak(precision) {
                    peaks.push(peak);
                    shares.push(product / peak);
                }
                ours.push(product);
                if candle.is_none() {
                    theirs.push(case.flops / seconds(|| case.candle()));
                }
            }
            let [m, k, n] = shape;
            let best = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
            let share = match (median(&mut shares), best(&ours) / best(&peaks)) {
                (share, _) if share.is_nan() => String::from("this processor has no instruction for it"),
                (share, best) => format!("{:.0} ({:.0})", 100.0 * share, 100.0 * best),
            };
            let columns = [&mut peaks, &mut ours, &mut theirs].map(|values| column(values)).join(" ");
            println!("{:<20} {columns}  {share}", format!("{name} {m}x{k}x{n}"));
            if let Some(error) = candle {
                println!("{:<20} candle: {}", "", error.to_string().lines().next().unwrap_or_default());
            }
        }
    }
    Ok(())
}

pub fn main() -> Outcome {
    // Criterion lists or filters where it is asked to: no table then.
    if !std::env::args().any(|arg| arg == "--list" || arg == "--test") {
        in_pool(|| table().map_err(|e| e.to_string()))?;
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .configure_from_args();
    let mut group = criterion.benchmark_group("product");
    group.sampling_mode(SamplingMode::Flat);
    for (name, precision) in PRECISIONS {
        for shape in SHAPES {
            let case = Case::new(shape, precision)?;
            let [m, k, n] = shape;
            let id = |what: &str| BenchmarkId::new(format!("{name} {what}"), format!("{m}x{k}x{n}"));
            // Elements are FLOP: Gelem/s are GFLOP/s.
            group.throughput(Throughput::Elements(case.flops as u64));
            group.bench_function(id("warmstart"), |b| in_pool(|| b.iter(|| case.ours())));
            if case.candle().is_ok() {
                group.bench_function(id("candle"), |b| in_pool(|| b.iter(|| case.candle())));
            }
        }
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
