//! Our side of `benches/kernels`: a line `variant op numbers…` makes a job and prints how it is computed; `go N` runs it N times
//! and prints the CPU time of each run in milliseconds. `variant` is `auto`, a convolution's variant or a linear layer's format.

use kernels::*;
use std::io::{BufRead, Write};

/// CPU time of the process, in milliseconds.
fn cpu_ms() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 * 1e-6
}

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

/// Something to time, and how it is computed.
type Job = (Box<dyn FnMut()>, String);

fn conv(ctx: &Context, variant: &str, numbers: &[usize]) -> Job {
    let &[n, c, h, w, o, k] = numbers else { panic!("a convolution has 6 numbers, got {numbers:?}") };
    let spec = ConvSpec::new(c, o, [k, k]).padding(Padding::all(k / 2));
    let size = Size::new(n, h, w);
    let (x, weights, bias) = (noise(size.pixels() * c, 1), noise(o * c * k * k, 2), noise(o, 3));
    let layer = match Variant::ALL.into_iter().find(|v| v.name() == variant) {
        Some(variant) => Conv2d::forced(ctx, spec, &weights, Some(bias), variant),
        None => Conv2d::new(ctx, spec, weights, Some(bias)),
    };
    let layer = layer.expect("the job's numbers make a layer");
    layer.prepare(size).expect("the picture is large enough");
    let mut y = vec![0f32; size.pixels() * o];
    let name = layer.variant().expect("prepared").name().to_owned();
    (Box::new(move || layer.forward(&x, size, &mut y, Finish::default()).expect("lengths fit")), name)
}

fn linear(ctx: &Context, format: &str, numbers: &[usize]) -> Job {
    let &[rows, inputs, outputs] = numbers else { panic!("a linear layer has 3 numbers, got {numbers:?}") };
    let (x, w, bias) = (noise(rows * inputs, 1), noise(outputs * inputs, 2), noise(outputs, 3));
    let shape = [outputs, inputs];
    let layer = match format {
        "q8_0" => {
            Linear::new(ctx, shape, Weight::Q8_0(&q8_0::quantize(&w).expect("a multiple of 32")), Some(bias))
        }
        "bf16" => {
            let bits: Vec<u16> = w.iter().map(|w| bf16::from_f32(*w)).collect();
            Linear::new(ctx, shape, Weight::Bf16(&bits), Some(bias))
        }
        _ => Linear::new(ctx, shape, Weight::F32(&w), Some(bias)),
    };
    let layer = layer.expect("the job's numbers make a layer");
    let mut y = vec![0f32; rows * outputs];
    let name = layer.variant().to_owned();
    (Box::new(move || layer.forward(&x, &mut y, Finish::default()).expect("lengths fit")), name)
}

/// How products of activations are computed: by AMX's tiles, or as without them.
fn products(ctx: &Context, without: &str) -> String {
    let tiles = ctx.isa() == Isa::Amx && ctx.profile() == Profile::Fast;
    if tiles { "amx" } else { without }.to_owned()
}

fn attention(ctx: &Context, numbers: &[usize]) -> Job {
    let &[batch, heads, queries, keys, dim] = numbers else {
        panic!("an attention has 5 numbers, got {numbers:?}")
    };
    let shape = Shape { batch, heads, queries, keys, dim };
    let (many, few) = (Strides::blnd(queries, heads, dim), Strides::blnd(keys, heads, dim));
    let (q, k, v) = (
        noise(batch * queries * heads * dim, 1),
        noise(batch * keys * heads * dim, 2),
        noise(batch * keys * heads * dim, 3),
    );
    let mut out = vec![0f32; q.len()];
    let (ctx, name) = (ctx.clone(), products(ctx, "tiled"));
    let run = move || {
        let attention = Attention {
            shape,
            q: View { data: &q, strides: many },
            k: View { data: &k, strides: few },
            v: View { data: &v, strides: few },
            scale: 1.0 / (dim as f32).sqrt(),
            mask: Mask::All,
            lengths: None,
        };
        attention.run(&ctx, &mut out, many).expect("lengths fit");
    };
    (Box::new(run), name)
}

fn job(ctx: &Context, variant: &str, op: &str, numbers: &[usize]) -> Job {
    let own = ctx.clone();
    match (op, numbers) {
        ("conv", numbers) => conv(ctx, variant, numbers),
        ("linear", numbers) => linear(ctx, variant, numbers),
        ("attention", numbers) => attention(ctx, numbers),
        ("matmul", &[m, n, k]) => {
            let (a, b) = (noise(m * k, 1), noise(k * n, 2));
            let mut c = vec![0f32; m * n];
            let product = Matmul { batch: 1, m, k, n, right: Right::Plain };
            (
                Box::new(move || product.run(&own, &a, &b, &mut c).expect("lengths fit")),
                products(ctx, "packed"),
            )
        }
        ("groupnorm", &[n, c, h, w]) => {
            let norm = GroupNorm::new(32, 1e-5, noise(c, 1), noise(c, 2)).expect("32 groups");
            let x = noise(n * h * w * c, 3);
            let mut y = vec![0f32; x.len()];
            let run = move || norm.forward(&own, (n, Act::Silu), &x, &mut y).expect("lengths fit");
            (Box::new(run), "fused".to_owned())
        }
        ("layernorm", &[rows, c]) => {
            let (gamma, beta, x) = (noise(c, 1), noise(c, 2), noise(rows * c, 3));
            let mut y = vec![0f32; x.len()];
            let run = move || {
                let norm = RowNorm {
                    kind: RowKind::Layer,
                    eps: 1e-5,
                    gamma: Some(&gamma),
                    beta: Some(&beta),
                    act: Act::Identity,
                };
                norm.forward(&own, c, &x, &mut y).expect("lengths fit");
            };
            (Box::new(run), "rows".to_owned())
        }
        _ => panic!("not a job: {op} {numbers:?}"),
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| {
        arguments.next().unwrap_or_else(|| panic!("usage: bench THREADS strict|fast [ISA] ({name})"))
    };
    let threads = next("threads").parse().expect("a number of threads");
    let profile = if next("profile") == "fast" { Profile::Fast } else { Profile::Strict };
    let isa = arguments.next().and_then(|name| Isa::ALL.into_iter().find(|isa| isa.name() == name));
    let ctx =
        Context::new(Config { threads, profile, isa, ..Config::default() }).expect("this machine runs it");
    let mut current: Option<Job> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("jobs are text");
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["go", count] => {
                let (run, _) = current.as_mut().expect("a job comes before `go`");
                let times: Vec<String> = (0..count.parse().expect("a number of runs"))
                    .map(|_| {
                        let start = cpu_ms();
                        run();
                        format!("{:.4}", cpu_ms() - start)
                    })
                    .collect();
                println!("{}", times.join(" "));
            }
            [variant, op, numbers @ ..] => {
                let numbers: Vec<usize> = numbers.iter().map(|n| n.parse().expect("a number")).collect();
                let mut made = job(&ctx, variant, op, &numbers);
                made.0(); // fills caches and scratch memory
                println!("{}", made.1);
                current = Some(made);
            }
            _ => panic!("not a job: {line}"),
        }
        std::io::stdout().flush().expect("the driver reads");
    }
}
