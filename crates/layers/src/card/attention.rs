//! Attention on a card, in bf16 and f16. In f32 it is the reference's, slice by slice.

use candle_core::{DType, Error, Result, Tensor, bail};
use cuda_kernels::{AttentionParams, attention};

use super::Card;
use super::launch::{card_of, lend, make, start};
use crate::attention::{Mask, Sequences, check_lengths};

impl Card {
    /// The card that has a kernel for these. q: (b, lq, n, d), k, v: (b, lk, n, d)
    pub(crate) fn attends(qkv: [&Tensor; 3]) -> Option<Self> {
        let card = Self::of(&qkv)?;
        let [q, k, v] = qkv;
        let (b, lq, n, d) = q.dims4().ok()?;
        let (_, lk, _, _) = k.dims4().ok()?;
        let taken = v.dims() == k.dims() && attention(card.dtype, (b, lq, lk), (n, d)).is_ok();
        taken.then_some(card)
    }

    /// q: (b, lq, n, d), k, v: (b, lk, n, d) -> (b, lq, n, d)
    pub(crate) fn attention(self, [q, k, v]: [&Tensor; 3], mask: &Mask, scale: f64) -> Result<Tensor> {
        let ((b, lq, n, d), lk) = (q.dims4()?, k.dim(1)?);
        let launch = attention(self.dtype, (b, lq, lk), (n, d)).map_err(Error::wrap)?;
        let device = card_of(q)?;
        let (q, k, v) = (dense_heads(q)?, dense_heads(k)?, dense_heads(v)?);
        let (bias, lengths) = match mask {
            Mask::KeyLengths(lengths) => {
                check_lengths(lengths, b, lk)?;
                let lengths: Vec<u32> = lengths.iter().map(|l| *l as u32).collect();
                (None, Some(Tensor::new(lengths, q.device())?))
            }
            Mask::Full | Mask::Bias(_) => (mask.additive(b, lk, q.device())?, None),
        };
        let bias = bias.map(|bias| bias.contiguous()).transpose()?;
        let [bias_batch, bias_head, bias_query] = match &bias {
            None => [0; 3],
            Some(bias) => bias_strides(bias, [b, n, lq, lk])?,
        };
        let strides = |x: &Tensor| -> [u64; 3] { [0, 1, 2].map(|axis| x.stride()[axis] as u64) };
        let (qs, ks, vs) = (strides(&q), strides(&k), strides(&v));
        make(&device, q.dtype(), (b, lq, n, d), |y| {
            lend(&device, &[Some(&q), Some(&k), Some(&v), bias.as_ref(), lengths.as_ref()], |at| {
                let params = AttentionParams {
                    q: at[0],
                    k: at[1],
                    v: at[2],
                    y,
                    bias: at[3],
                    lengths: at[4],
                    starts: 0,
                    bias_batch,
                    bias_head,
                    bias_query,
                    q_batch: qs[0],
                    q_row: qs[1],
                    q_head: qs[2],
                    k_batch: ks[0],
                    k_row: ks[1],
                    k_head: ks[2],
                    v_batch: vs[0],
                    v_row: vs[1],
                    v_head: vs[2],
                    queries: lq as u32,
                    keys: lk as u32,
                    heads: n as u32,
                    dim: d as u32,
                    scale: scale as f32,
                    packed: 0,
                }
                .packs();
                // SAFETY: q, k and v are read within their shapes by their strides, the bias within its own, the lengths are b and at most lk
                unsafe { start(&device, &launch, params) }
            })
        })
    }

    /// q: (lq, n, d), k, v: (lk, n, d), sequences one behind the other -> (lq, n, d)
    pub(crate) fn attention_of(
        self,
        [q, k, v]: [&Tensor; 3],
        sequences: &Sequences,
        scale: f64,
    ) -> Result<Tensor> {
        let (lq, n, d) = q.dims3()?;
        let longest = |lengths: &[usize]| lengths.iter().copied().max().unwrap_or(0);
        let (queries, keys) = (longest(sequences.queries), longest(sequences.keys));
        let launch =
            attention(self.dtype, (sequences.queries.len(), queries, keys), (n, d)).map_err(Error::wrap)?;
        let device = card_of(q)?;
        let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
        let starts = Tensor::new(sequences.starts(), q.device())?;
        let (row, head) = ((n * d) as u64, d as u64);
        make(&device, q.dtype(), (lq, n, d), |y| {
            lend(&device, &[Some(&q), Some(&k), Some(&v), Some(&starts)], |at| {
                let params = AttentionParams {
                    q: at[0],
                    k: at[1],
                    v: at[2],
                    y,
                    starts: at[3],
                    q_row: row,
                    q_head: head,
                    k_row: row,
                    k_head: head,
                    v_row: row,
                    v_head: head,
                    queries: queries as u32,
                    keys: keys as u32,
                    heads: n as u32,
                    dim: d as u32,
                    scale: scale as f32,
                    ..AttentionParams::default()
                }
                .packs();
                // SAFETY: q, k and v are dense, and the sequences' lengths add up to theirs
                unsafe { start(&device, &launch, params) }
            })
        })
    }
}

/// x: (b, l, n, d) -> the same, the values of a head side by side.
fn dense_heads(x: &Tensor) -> Result<Tensor> {
    if x.stride()[3] == 1 { Ok(x.clone()) } else { x.contiguous() }
}

/// bias: (b or 1, n or 1, lq or 1, lk), contiguous -> steps over the first three, zero where there is one for all.
fn bias_strides(bias: &Tensor, [b, n, lq, lk]: [usize; 4]) -> Result<[u64; 3]> {
    let (mb, mn, mq, _) = bias.dims4()?;
    for (what, got, want) in [("items", mb, b), ("heads", mn, n), ("queries", mq, lq)] {
        if got != 1 && got != want {
            bail!("an attention bias for {got} {what} cannot serve {want}");
        }
    }
    debug_assert_eq!(bias.dtype(), DType::F32);
    let step = |size: usize, step: usize| if size == 1 { 0 } else { step as u64 };
    Ok([step(mb, mn * mq * lk), step(mn, mq * lk), step(mq, lk)])
}
