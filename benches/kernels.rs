//! Each kernel beside the same thing composed of candle's operations, with candle's own gradients: forward, and forward with
//! backward. Shapes are those of MiniLM on a training batch: 3296 tokens of 33 sequences; of the loss over a vocabulary, those
//! of GPT-2 on 1024 tokens, in blocks and with whole logits.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{D, DType, Device, Tensor, Var};
use criterion::{Criterion, SamplingMode};
use warmstart::autograd::{GradientBuffer, Op, Slot, Value};
use warmstart::compute::in_pool;
use warmstart::kernels::activation::Activation;
use warmstart::kernels::affine::Affine;
use warmstart::kernels::attention::{Scheme, Span, attention};
use warmstart::kernels::cross_entropy::{CrossEntropy, cross_entropy};
use warmstart::kernels::dropout::{Dropout, dropout};
use warmstart::kernels::embedding::embedding_sum;
use warmstart::kernels::linear::{Then, linear};
use warmstart::kernels::norm::{Kind, Norm, residual_norm};
use warmstart::kernels::vocabulary_loss::vocabulary_loss;
use warmstart::product::Precision;
use warmstart::rng::{Key, Stream};

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
fn seed(y: &Value) -> Outcome<Value> {
    struct Ones;
    impl Op for Ones {
        fn name(&self) -> &'static str {
            "ones"
        }
        fn backward(&self, _: &[&Tensor], _: Vec<f32>, into: &mut [Slot]) -> warmstart::error::Result<()> {
            for slot in into {
                slot.write(|dy, _| dy.fill(1.0));
            }
            Ok(())
        }
    }
    if y.tensor().elem_count() == 1 {
        return Ok(y.clone());
    }
    Ok(Value::computed(Tensor::new(0f32, &Device::Cpu)?, &[y], Ones))
}

/// One comparison: `args` go in as constants for forward alone, as parameters for backward.
fn compare(
    criterion: &mut Criterion,
    name: &str,
    args: &[Tensor],
    ours: impl Fn(&[Value], Precision) -> warmstart::error::Result<Value> + Sync,
    precisions: &[Precision],
    composed: impl Fn(&[Tensor]) -> candle_core::Result<Tensor> + Sync,
) -> Outcome {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    let constants: Vec<Value> = args.iter().cloned().map(Value::constant).collect();
    let gradients = GradientBuffer::new(&args.iter().map(Tensor::elem_count).collect::<Vec<_>>());
    let parameters = args.iter().zip(gradients.slots()).map(|(arg, slot)| Value::parameter(arg.clone(), slot));
    let parameters: Vec<Value> = parameters.collect::<Result<_, _>>()?;
    let variables: Vec<Var> = args.iter().map(Var::from_tensor).collect::<Result<_, _>>()?;
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
        let (a, b) = (ours(&constants, Precision::F32)?.tensor().clone(), composed(args)?);
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

fn norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> candle_core::Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let std = (centred.sqr()?.mean_keepdim(D::Minus1)? + EPS)?.sqrt()?;
    centred.broadcast_div(&std)?.broadcast_mul(weight)?.broadcast_add(bias)
}

fn softmax(x: &Tensor) -> candle_core::Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// One sequence after the other, so that nothing is spent on padding.
fn packed_attention(args: &[Tensor], starts: &[u32]) -> candle_core::Result<Tensor> {
    let size = WIDTH / HEADS;
    let sequence = |w: &[u32]| {
        let (first, len) = (w[0] as usize, (w[1] - w[0]) as usize);
        let heads = |x: &Tensor| x.narrow(0, first, len)?.reshape((len, HEADS, size))?.transpose(0, 1)?.contiguous();
        let (q, k, v) = (heads(&args[0])?, heads(&args[1])?, heads(&args[2])?);
        let scores = (q.matmul(&k.t()?)? / (size as f64).sqrt())?;
        softmax(&scores)?.matmul(&v)?.transpose(0, 1)?.reshape((len, WIDTH))
    };
    Tensor::cat(&starts.windows(2).map(sequence).collect::<candle_core::Result<Vec<_>>>()?, 0)
}

/// The loss of GPT-2 over its vocabulary, in blocks and with whole logits.
fn vocabulary_losses(criterion: &mut Criterion, precisions: &[Precision]) -> Outcome {
    let (rows, width, words) = (1024, 768, 50_257);
    let args = [random(14, &[rows, width], 1.0)?, random(15, &[words, width], 0.02)?];
    let next: Vec<u32> = (0..rows).map(|i| (i * 7919 % words) as u32).collect();
    let labels: Vec<Option<u32>> = next.iter().copied().map(Some).collect();
    let picked = Tensor::new(next, &Device::Cpu)?.unsqueeze(1)?;
    let normalizer = rows as f64;
    let whole = CrossEntropy { labels: labels.clone(), class_weight: None, label_smoothing: 0.0, normalizer };
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
            cross_entropy(&linear(&a[0], &Affine::new(&a[1], None)?, Then::Nothing, precision)?, whole.clone())
        },
        precisions,
        composed,
    )
}

fn main() -> Outcome {
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
    let gelu = Then::Activate(Activation::Gelu);
    compare(
        &mut criterion,
        "linear with gelu",
        &args,
        |a, precision| linear(&a[0], &Affine::new(&a[1], Some(&a[2]))?, gelu, precision),
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

    let classes: Vec<u32> = (0..sequences).map(|i| (i % CLASSES) as u32).collect();
    let labels: Vec<Option<u32>> = classes.iter().copied().map(Some).collect();
    let target = CrossEntropy { labels, class_weight: None, label_smoothing: 0.0, normalizer: sequences as f64 };
    let picked = Tensor::new(classes, &Device::Cpu)?.unsqueeze(1)?;
    compare(
        &mut criterion,
        "cross entropy",
        &[random(12, &[sequences, CLASSES], 1.0)?],
        |a, _| cross_entropy(&a[0], target.clone()),
        &f32,
        |a| softmax(&a[0])?.log()?.gather(&picked, 1)?.mean_all()?.neg(),
    )?;

    vocabulary_losses(&mut criterion, &both)?;

    let drop = Dropout::new(DROPPED, Key::new(13, Stream::Dropout));
    compare(
        &mut criterion,
        "dropout",
        &[x],
        |a, _| dropout(&a[0], drop),
        &f32,
        |a| {
            let kept = Tensor::rand(0f32, 1f32, a[0].shape(), &Device::Cpu)?.ge(DROPPED as f32)?;
            (&a[0] * kept.to_dtype(DType::F32)?)? / (1.0 - DROPPED)
        },
    )?;
    criterion.final_summary();
    Ok(())
}
