//! Elementary functions without branches, so that loops over them vectorise, and reductions in a fixed order.
//!
//! The stated errors are the largest that the tests below find over the relevant range.

/// `e^x` for f32, relative error below 2e-7; 0 below -87.3, infinity above 88.7.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (p, n) = exp_parts(x.clamp(LOWEST, HIGHEST));
    // Two factors of about 2^(n/2), since 2^128 cannot be represented.
    let half = n >> 1;
    let result = p * power_of_two(half) * power_of_two(n - half);
    // NaN must stay NaN: clamp passes it on, and the comparisons below are false for it.
    if x < LOWEST {
        0.0
    } else if x > HIGHEST {
        f32::INFINITY
    } else {
        result
    }
}

/// As [`exp`], with the same bits, for arguments of at most 1, such as the exponents of a softmax.
#[inline(always)]
pub fn exp_small(x: f32) -> f32 {
    let (p, n) = exp_parts(if x < LOWEST { LOWEST } else { x });
    if x < LOWEST { 0.0 } else { p * power_of_two(n) }
}

/// Limits of [`exp`].
const LOWEST: f32 = -87.3;
const HIGHEST: f32 = 88.7;

/// `e^x = 2^n * e^r` with `|r| <= ln(2) / 2`: Taylor's polynomial of degree 7 for `e^r`, and `n`.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, i32) {
    // Two parts of ln 2: the first has few bits, so n * LN2_HIGH is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.984_127e-4_f32;
    p = p.mul_add(r, 1.388_888_9e-3);
    p = p.mul_add(r, 8.333_334e-3);
    p = p.mul_add(r, 4.166_666_8e-2);
    p = p.mul_add(r, 0.166_666_67);
    p = p.mul_add(r, 0.5);
    p = p.mul_add(r, 1.0);
    p = p.mul_add(r, 1.0);
    // The low bits of `shifted` hold n as an integer.
    (p, (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32))
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

/// The hyperbolic tangent, relative error below 5e-7: the rational approximation `x P(x^2) / Q(x^2)` on [-7.9, 7.9]
/// that Eigen 3.3 (`generic_fast_tanh_float`) and XLA use.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let x = x.clamp(-7.905_311, 7.905_311);
    let y = x * x;
    let mut p = -2.760_768_4e-16_f32;
    p = p.mul_add(y, 2.000_188e-13);
    p = p.mul_add(y, -8.604_672e-11);
    p = p.mul_add(y, 5.122_297e-8);
    p = p.mul_add(y, 1.485_722_4e-5);
    p = p.mul_add(y, 6.372_619_3e-4);
    p = p.mul_add(y, 4.893_524_6e-3);
    let mut q = 1.198_258_4e-6_f32;
    q = q.mul_add(y, 1.185_347e-4);
    q = q.mul_add(y, 2.268_434_6e-3);
    q = q.mul_add(y, 4.893_525e-3);
    x * p / q
}

/// The error function, absolute error below 5e-7: the rational approximation `x P(x^2) / Q(x^2)` on [-4, 4] that Eigen
/// 3.3 (`generic_fast_erf_float`) and XLA use.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let y = x * x;
    let mut p = -2.726_142_3e-10_f32;
    p = p.mul_add(y, 2.770_681_5e-8);
    p = p.mul_add(y, -2.101_024e-6);
    p = p.mul_add(y, -5.692_506_3e-5);
    p = p.mul_add(y, -7.349_906e-4);
    p = p.mul_add(y, -2.954_6e-3);
    p = p.mul_add(y, -1.609_603_4e-2);
    let mut q = -1.456_607_2e-5_f32;
    q = q.mul_add(y, -2.133_740_6e-4);
    q = q.mul_add(y, -1.682_827e-3);
    q = q.mul_add(y, -7.373_329e-3);
    q = q.mul_add(y, -1.426_473_9e-2);
    x * p / q
}

const LANES: usize = 16;

/// `sum f(a_i)`, in a fixed order with sixteen running sums.
#[inline(always)]
pub fn sum(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum2(a, a, |x, _| f(x))
}

/// `sum f(a_i, b_i)` of slices of equal length, in a fixed order with sixteen running sums.
#[inline(always)]
pub fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (blocks_a, blocks_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = blocks_a.remainder().iter().zip(blocks_b.remainder()).map(|(&x, &y)| f(x, y)).sum::<f32>();
    for (x, y) in blocks_a.zip(blocks_b) {
        for lane in 0..LANES {
            lanes[lane] += f(x[lane], y[lane]);
        }
    }
    rest + lanes.iter().sum::<f32>()
}

/// Replace every value by `f(value)` and return their sum.
#[inline(always)]
pub fn map_sum(values: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut blocks = values.chunks_exact_mut(LANES);
    for block in &mut blocks {
        for (lane, v) in lanes.iter_mut().zip(block) {
            *v = f(*v);
            *lane += *v;
        }
    }
    let mut rest = 0.0;
    for v in blocks.into_remainder() {
        *v = f(*v);
        rest += *v;
    }
    rest + lanes.iter().sum::<f32>()
}

/// The largest `f(value)`; negative infinity if there are no values; NaN is skipped.
#[inline(always)]
pub fn max(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let blocks = values.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for (lane, &v) in lanes.iter_mut().zip(block) {
            let v = f(v);
            *lane = if v > *lane { v } else { *lane };
        }
    }
    let rest = rest.iter().map(|&v| f(v));
    rest.chain(lanes).fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(low: f64, high: f64) -> impl Iterator<Item = f64> {
        (0..=100_000).map(move |i| f64::from((low + (high - low) * f64::from(i) / 100_000.0) as f32))
    }

    #[test]
    fn exp_when_compared_with_f64_is_within_its_stated_error() {
        let worst = grid(-87.0, 88.6).map(|x| (f64::from(exp(x as f32)) / x.exp() - 1.0).abs()).fold(0.0, f64::max);
        assert!(worst < 2e-7, "{worst}");
        assert_eq!((exp(0.0), exp(-200.0), exp(f32::NEG_INFINITY), exp(100.0)), (1.0, 0.0, 0.0, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan() && exp_small(f32::NAN).is_nan());
        assert!(grid(-100.0, 1.0).all(|x| exp_small(x as f32).to_bits() == exp(x as f32).to_bits()));
        assert_eq!(exp_small(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn tanh_and_erf_when_compared_with_f64_are_within_their_stated_errors() {
        let relative = |x: f64| (f64::from(tanh(x as f32)) / x.tanh() - 1.0).abs();
        let worst = grid(-12.0, 12.0).filter(|&x| x != 0.0).map(relative).fold(0.0, f64::max);
        assert!(worst < 5e-7, "{worst}");
        assert_eq!(tanh(0.0), 0.0);
        let worst = grid(-6.0, 6.0).map(|x| (f64::from(erf(x as f32)) - libm::erf(x)).abs()).fold(0.0, f64::max);
        assert!(worst < 5e-7, "{worst}");
    }

    #[test]
    fn reductions_when_lengths_are_odd_cover_every_value() {
        for n in [0usize, 1, 7, 16, 17, 1023] {
            let values: Vec<f32> = (0..n).map(|i| (i % 13) as f32 - 5.0).collect();
            assert_eq!(sum(&values, |x| x), values.iter().sum::<f32>());
            assert_eq!(max(&values, |x| x), values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
