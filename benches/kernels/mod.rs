//! Each kernel beside the same thing composed of candle's operations, with candle's own gradients: forward, and forward with
//! backward. Shapes are those of MiniLM on a training batch: 3296 tokens of 33 sequences; of the loss over a vocabulary, those
//! of GPT-2 on 1024 tokens, in blocks and with whole logits.

mod composed;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Device, Tensor, Var as CandleVar};
use criterion::{Criterion, SamplingMode};
use warmstart::array::Array;
use warmstart::autograd::{GradientBuffer, Op, Slot, Var};
use warmstart::compute::{StorageDtype, in_pool};
use warmstart::matmul::Precision;
use warmstart::ops::activation::Activation;
use warmstart::ops::affine::Affine;
use warmstart::ops::attention::{Rotary, Scheme, Span, attention};
use warmstart::ops::binary_cross_entropy::{BinaryCrossEntropy, binary_cross_entropy};
use warmstart::ops::cross_entropy::{CrossEntropy, cross_entropy};
use warmstart::ops::dropout::{Dropout, dropout};
use warmstart::ops::embedding::embedding_sum;
use warmstart::ops::gated::gated;
use warmstart::ops::linear::{Added, Epilogue, linear};
use warmstart::ops::norm::{Kind, Norm, residual_norm};
use warmstart::ops::relative_attention::{Relations, RelativeInputs, RelativeScheme, relative_attention};
use warmstart::ops::segment_pool::{Reduction, segment_pool};
use warmstart::ops::vocabulary_loss::vocabulary_loss;
use warmstart::rng::{Key, Stream};

use self::composed::{means, norm, packed_attention, packed_relative_attention, rotated, softmax};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const WIDTH: usize = 384;
const INNER: usize = 1536;
const HEADS: usize = 12;
const VOCABULARY: usize = 30_522;
const CLASSES: usize = 8;
const EPS: f64 = 1e-12;
const DROPPED: f64 = 0.1;

/// Begin of each sequence and the end: lengths about 100.
fn starts() -> Vec<u32> {
    let lengths = (0..33u32).map(|i| 84 + i * 7 % 33);
    [0].into_iter()
        .chain(lengths.scan(0, |end, n| {
            *end += n;
            Some(*end)
        }))
        .collect()
}

fn random(seed: u64, shape: &[usize], std: f64) -> Outcome<Tensor> {
    let values = Key::new(seed, Stream::Init).normal(shape.iter().product(), std);
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// A scalar whose gradient with respect to `y` is all ones, as candle's `backward` begins.
fn seed(y: &Var) -> Outcome<Var> {
    struct Ones;
    // SAFETY: what is not added to is written, all of it.
    unsafe impl Op for Ones {
        fn name(&self) -> &'static str {
            "ones"
        }
        fn backward(&self, _: &[&Array], _: Array, into: &mut [Slot]) -> warmstart::error::Result<()> {
            for slot in into {
                slot.write(|dy, _| dy.fill(1.0))?;
            }
            Ok(())
        }
    }
    if y.array().elem_count() == 1 {
        return Ok(y.clone());
    }
    Ok(Var::computed(Array::new(vec![0.0], ())?, &[y], Ones))
}

/// One comparison: `args` go in as constants for forward alone, as parameters for backward.
fn compare(
    criterion: &mut Criterion,
    name: &str,
    args: &[Tensor],
    ours: impl Fn(&[Var], Precision) -> warmstart::error::Result<Var> + Sync,
    precisions: &[Precision],
    composed: impl Fn(&[Tensor]) -> candle_core::Result<Tensor> + Sync,
) -> Outcome {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    let arrays: Vec<Array> = args.iter().map(Array::try_from).collect::<Result<_, _>>()?;
    let constants: Vec<Var> = arrays.iter().cloned().map(Var::constant).collect();
    let gradients = GradientBuffer::new(&args.iter().map(Tensor::elem_count).collect::<Vec<_>>())?;
    let parameters = arrays.into_iter().zip(gradients.slots()).map(|(array, slot)| Var::parameter(array, slot));
    let parameters: Vec<Var> = parameters.collect::<Result<_, _>>()?;
    let variables: Vec<CandleVar> = args.iter().map(CandleVar::from_tensor).collect::<Result<_, _>>()?;
    let variables: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    for &precision in precisions {
        let suffix = format!("warmstart {precision:?}").to_lowercase();
        let both = || -> Outcome {
            gradients.clear();
            Ok(seed(&ours(&parameters, precision)?)?.backward()?)
        };
        ours(&constants, precision)?;
        both()?;
        group.bench_function(format!("forward/{suffix}"), |b| in_pool(|| b.iter(|| ours(&constants, precision))));
        group.bench_function(format!("forward+backward/{suffix}"), |b| in_pool(|| b.iter(both)));
    }
    let both = || composed(&variables)?.backward();
    // What does not compute what the kernel does is no comparison; dropout draws masks of its own.
    if name != "dropout" {
        let (a, b) = (Tensor::try_from(ours(&constants, Precision::F32)?.array().clone())?, composed(args)?);
        let worst = (a.flatten_all()? - b.flatten_all()?)?.abs()?.max(0)?.to_scalar::<f32>()?;
        if worst.is_nan() || worst > 1e-3 {
            return Err(format!("{name}: off by {worst}").into());
        }
    }
    both()?;
    group.bench_function("forward/candle", |b| in_pool(|| b.iter(|| composed(args))));
    group.bench_function("forward+backward/candle", |b| in_pool(|| b.iter(both)));
    group.finish();
    Ok(())
}

/// The loss of GPT-2 over its vocabulary, in blocks and with whole logits.
fn vocabulary_losses(criterion: &mut Criterion, precisions: &[Precision]) -> Outcome {
    let (rows, width, words) = (1024, 768, 50_257);
    let args = [random(14, &[rows, width], 1.0)?, random(15, &[words, width], 0.02)?];
    let next: Vec<u32> = (0..rows).map(|i| (i * 7919 % words) as u32).collect();
    let labels: Vec<Option<u32>> = next.iter().copied().map(Some).collect();
    let picked = Tensor::new(next, &Device::Cpu)?.unsqueeze(1)?;
    let normalizer = rows as f64;
    let whole =
        CrossEntropy { labels: labels.clone(), class_weight: None, row_weight: None, label_smoothing: 0.0, normalizer };
    let composed = |a: &[Tensor]| softmax(&a[0].matmul(&a[1].t()?)?)?.log()?.gather(&picked, 1)?.mean_all()?.neg();
    compare(
        criterion,
        "vocabulary loss",
        &args,
        |a, precision| vocabulary_loss(&a[0], &Affine::new(&a[1], None)?, labels.clone(), normalizer, precision),
        precisions,
        composed,
    )?;
    compare(
        criterion,
        "vocabulary loss with whole logits",
        &args,
        |a, precision| {
            cross_entropy(
                &linear(&a[0], &Affine::new(&a[1], None)?, &Added::default(), Epilogue::None, precision)?,
                whole.clone(),
            )
        },
        precisions,
        composed,
    )
}

/// Attention with rotary positions, and with those of XLNet.
fn attentions_with_positions(criterion: &mut Criterion, starts: &[u32], precisions: &[Precision]) -> Outcome {
    let (tokens, size) = (starts.last().copied().unwrap_or(0) as usize, WIDTH / HEADS);
    let tokens_of = |seed| random(seed, &[tokens, WIDTH], 1.0);
    let qkv = [tokens_of(1)?, tokens_of(2)?, tokens_of(5)?];
    let positions: Vec<u32> = starts.windows(2).flat_map(|w| 0..w[1] - w[0]).collect();
    let longest = positions.iter().max().copied().unwrap_or(0) as usize + 1;
    let frequencies: Vec<f64> = (0..size / 2).map(|i| 10_000f64.powf(-2.0 * i as f64 / size as f64)).collect();
    let rotary = Arc::new(Rotary::new(&frequencies, longest, 1.0));
    let angles: Vec<f64> = positions.iter().flat_map(|&p| frequencies.iter().map(move |f| f64::from(p) * f)).collect();
    let table = |of: fn(f64) -> f64| {
        Tensor::from_vec(angles.iter().map(|&a| of(a) as f32).collect(), (tokens, size / 2), &Device::Cpu)
    };
    let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
    let packed: Arc<[u32]> = starts.into();
    compare(
        criterion,
        "attention with rotary positions",
        &qkv,
        |a, precision| {
            let (cu_seqlens, heads, rotary) = (packed.clone(), HEADS, Some(rotary.clone()));
            let scheme = Scheme { cu_seqlens, heads, key_heads: heads, span: Span::ALL, rotary, dropout: None };
            attention(&a[0], &a[1], &a[2], scheme, precision)
        },
        precisions,
        |a| packed_attention(&[rotated(&a[0], &cos, &sin)?, rotated(&a[1], &cos, &sin)?, a[2].clone()], starts),
    )?;

    let relations = Arc::new(Relations {
        query_starts: packed.clone(),
        positions: positions.into(),
        query_segments: vec![0; tokens].into(),
        key_starts: packed.clone(),
        memory: vec![0; starts.len() - 1].into(),
        key_segments: vec![0; tokens].into(),
        causal: false,
        permutation: None,
    });
    let biases = (0..3).map(|i| random(20 + i, &[HEADS, size], 1.0)).collect::<Outcome<Vec<_>>>()?;
    let distances = random(23, &[2 * longest - 1, WIDTH], 1.0)?;
    let args = [&qkv[..], &[distances], &biases, &[random(24, &[2, HEADS, size], 1.0)?]].concat();
    compare(
        criterion,
        "relative attention",
        &args,
        |a, precision| {
            let scheme =
                RelativeScheme { relations: relations.clone(), heads: HEADS, farthest: longest - 1, dropout: None };
            let [q, k, v, r, word_bias, distance_bias, segment_bias, segments] = a else { unreachable!("eight") };
            let inputs = RelativeInputs { q, k, v, r, word_bias, distance_bias, segment_bias, segments };
            relative_attention(&inputs, scheme, precision)
        },
        precisions,
        |a| packed_relative_attention(a, starts, longest - 1),
    )
}

/// The losses of classifiers.
fn classification_losses(criterion: &mut Criterion, sequences: usize, precisions: &[Precision]) -> Outcome {
    let classes: Vec<u32> = (0..sequences).map(|i| (i % CLASSES) as u32).collect();
    let labels: Vec<Option<u32>> = classes.iter().copied().map(Some).collect();
    let target = CrossEntropy {
        labels,
        class_weight: None,
        row_weight: None,
        label_smoothing: 0.0,
        normalizer: sequences as f64,
    };
    let picked = Tensor::new(classes, &Device::Cpu)?.unsqueeze(1)?;
    compare(
        criterion,
        "cross entropy",
        &[random(12, &[sequences, CLASSES], 1.0)?],
        |a, _| cross_entropy(&a[0], target.clone()),
        precisions,
        |a| softmax(&a[0])?.log()?.gather(&picked, 1)?.mean_all()?.neg(),
    )?;

    let logits = random(17, &[sequences, CLASSES], 1.0)?;
    let targets: Vec<f32> = (0..sequences * CLASSES).map(|i| f32::from(u8::from(i % 3 == 0))).collect();
    let said = Tensor::from_vec(targets.clone(), (sequences, CLASSES), &Device::Cpu)?;
    let normalizer = (sequences * CLASSES) as f64;
    compare(
        criterion,
        "binary cross entropy",
        &[logits],
        |a, _| {
            let target =
                BinaryCrossEntropy { targets: targets.clone(), class_weight: None, row_weight: None, normalizer };
            binary_cross_entropy(&a[0], target)
        },
        precisions,
        // log(1 + e^x) - y x
        |a| ((a[0].exp()? + 1.0)?.log()? - (&said * &a[0])?)?.mean_all(),
    )
}

/// Passes over values that no product is part of.
fn passes(criterion: &mut Criterion, x: &Tensor, starts: &[u32], precisions: &[Precision]) -> Outcome {
    let cu_seqlens: Arc<[u32]> = starts.into();
    let (gate, up) = (random(15, &[x.dim(0)?, INNER], 1.0)?, random(16, &[x.dim(0)?, INNER], 1.0)?);
    compare(
        criterion,
        "gated unit",
        &[gate, up],
        |a, _| gated(&a[0], &a[1], Activation::Silu, StorageDtype::F32),
        precisions,
        |a| a[0].silu()? * &a[1],
    )?;

    compare(
        criterion,
        "mean of each sequence",
        std::slice::from_ref(x),
        |a, _| segment_pool(&a[0], cu_seqlens.clone(), Reduction::Mean),
        precisions,
        |a| means(&a[0], starts),
    )?;

    let drop = Dropout::new(DROPPED, Key::new(13, Stream::Dropout));
    compare(
        criterion,
        "dropout",
        std::slice::from_ref(x),
        |a, _| dropout(&a[0], drop),
        precisions,
        |a| {
            let kept = Tensor::rand(0f32, 1f32, a[0].shape(), &Device::Cpu)?.ge(DROPPED as f32)?;
            (&a[0] * kept.to_dtype(DType::F32)?)? / (1.0 - DROPPED)
        },
    )
}

pub fn main() -> Outcome {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(10)
        .configure_from_args();
    let starts = starts();
    let (tokens, sequences) = (starts.last().copied().unwrap_or(0) as usize, starts.len() - 1);
    let both = [Precision::F32, Precision::Bf16];
    let f32 = [Precision::F32];

    let args = [random(1, &[tokens, WIDTH], 1.0)?, random(2, &[INNER, WIDTH], 0.05)?, random(3, &[INNER], 1.0)?];
    let gelu = Epilogue::Activation(Activation::Gelu);
    compare(
        &mut criterion,
        "linear with gelu",
        &args,
        |a, precision| linear(&a[0], &Affine::new(&a[1], Some(&a[2]))?, &Added::default(), gelu, precision),
        &both,
        |a| a[0].matmul(&a[1].t()?)?.broadcast_add(&a[2])?.gelu_erf(),
    )?;

    let (x, residual) = (random(1, &[tokens, WIDTH], 1.0)?, random(2, &[tokens, WIDTH], 1.0)?);
    let args = [x.clone(), residual, random(3, &[WIDTH], 1.0)?, random(4, &[WIDTH], 1.0)?];
    compare(
        &mut criterion,
        "layer norm with residual",
        &args,
        |a, _| {
            residual_norm(
                &a[0],
                &a[1],
                &Norm { kind: Kind::Layer, weight: a[2].clone(), bias: Some(a[3].clone()), eps: EPS },
                None,
            )
        },
        &f32,
        |a| norm(&(&a[0] + &a[1])?, &a[2], &a[3]),
    )?;

    let qkv = [x.clone(), args[1].clone(), random(5, &[tokens, WIDTH], 1.0)?];
    let packed: Arc<[u32]> = starts.clone().into();
    compare(
        &mut criterion,
        "attention",
        &qkv,
        |a, precision| {
            let (cu_seqlens, heads) = (packed.clone(), HEADS);
            let scheme = Scheme { cu_seqlens, heads, key_heads: heads, span: Span::ALL, rotary: None, dropout: None };
            attention(&a[0], &a[1], &a[2], scheme, precision)
        },
        &both,
        |a| packed_attention(a, &starts),
    )?;

    attentions_with_positions(&mut criterion, &starts, &both)?;

    // Words, positions and segments, as a batch of BERT has them.
    let rows = [VOCABULARY, 512, 2];
    let mut tables = Vec::new();
    let mut ids: Vec<Arc<[u32]>> = Vec::new();
    for (i, &rows) in rows.iter().enumerate() {
        tables.push(random(6 + i as u64, &[rows, WIDTH], 1.0)?);
        let key = Key::new(9 + i as u64, Stream::Init);
        ids.push((0..tokens as u64).map(|t| (key.uniform(t) * rows as f64) as u32).collect());
    }
    let indices: Vec<Tensor> = ids.iter().map(|ids| Tensor::new(&**ids, &Device::Cpu)).collect::<Result<_, _>>()?;
    let rows_of = |i: usize| ids[i].clone();
    compare(
        &mut criterion,
        "embedding of three tables",
        &tables,
        |a, _| embedding_sum(&[(&a[0], rows_of(0)), (&a[1], rows_of(1)), (&a[2], rows_of(2))]),
        &f32,
        |a| {
            let rows = |i: usize| a[i].index_select(&indices[i], 0);
            (rows(0)? + rows(1)?)? + rows(2)?
        },
    )?;

    classification_losses(&mut criterion, sequences, &f32)?;
    vocabulary_losses(&mut criterion, &both)?;

    passes(&mut criterion, &x, &starts, &f32)?;
    criterion.final_summary();
    Ok(())
}
