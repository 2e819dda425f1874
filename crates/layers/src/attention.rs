//! Scaled dot-product attention on (b, l, n, d): self or cross, masked, or with keys of differing length; and on sequences of
//! differing length one behind the other, (l, n, d), each of which sees its own keys only.

use candle_core::{DType, Device, Error, Layout, Result, Storage, Tensor, bail};

use crate::card::Card;
use crate::{cpu, reference};

/// What a query may look at.
pub enum Mask<'a> {
    /// Every query sees every key.
    Full,
    /// Added to the scaled logits: (b or 1, n or 1, lq or 1, lk). Minus infinity hides a key; a relative position bias goes here too.
    Bias(&'a Tensor),
    /// The true number of keys of each batch entry; what lies behind is padding.
    KeyLengths(&'a [usize]),
}

impl Mask<'_> {
    /// As an addend of the logits: (b or 1, n or 1, lq or 1, lk), f32.
    pub(crate) fn additive(&self, b: usize, lk: usize, device: &Device) -> Result<Option<Tensor>> {
        match self {
            Self::Full => Ok(None),
            Self::Bias(bias) => {
                if bias.rank() != 4 || bias.dim(3)? != lk {
                    bail!("an attention bias is (b, n, lq, lk = {lk}), not {:?}", bias.dims());
                }
                Ok(Some(bias.to_dtype(DType::F32)?))
            }
            Self::KeyLengths(lengths) => {
                check_lengths(lengths, b, lk)?;
                let hide = |&l: &usize| (0..lk).map(move |i| if i < l { 0f32 } else { f32::NEG_INFINITY });
                let values: Vec<f32> = lengths.iter().flat_map(hide).collect();
                Ok(Some(Tensor::from_vec(values, (b, 1, 1, lk), device)?))
            }
        }
    }
}

pub(crate) fn check_lengths(lengths: &[usize], b: usize, lk: usize) -> Result<()> {
    if lengths.len() != b {
        bail!("{} key lengths were given for a batch of {b}", lengths.len());
    }
    if let Some(wrong) = lengths.iter().find(|&&l| l == 0 || l > lk) {
        bail!("a key length is between 1 and {lk}, not {wrong}");
    }
    Ok(())
}

/// How long the sequences are that lie one behind the other in one tensor, without padding.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// queries of each
    pub queries: &'a [usize],
    /// keys of each
    pub keys: &'a [usize],
}

impl Sequences<'_> {
    fn check(&self, lq: usize, lk: usize) -> Result<()> {
        let Self { queries, keys } = *self;
        if queries.len() != keys.len() || queries.is_empty() {
            bail!(
                "{} lengths of queries and {} of keys are not those of sequences",
                queries.len(),
                keys.len()
            );
        }
        for (what, lengths, all) in [("queries", queries, lq), ("keys", keys, lk)] {
            if lengths.contains(&0) {
                bail!("a sequence has at least one of its {what}, not 0");
            }
            let sum = lengths.iter().sum::<usize>();
            if sum != all {
                bail!("sequences of {sum} {what} were given {all}");
            }
        }
        Ok(())
    }

    /// (first query, queries, first key, keys) of each
    fn places(&self) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        self.queries.iter().zip(self.keys).scan((0, 0), |(query, key), (queries, keys)| {
            let place = (*query, *queries, *key, *keys);
            (*query, *key) = (*query + queries, *key + keys);
            Some(place)
        })
    }

    /// Where the queries of each begin, and the last ones end, then the same of the keys.
    #[cfg(feature = "cuda")]
    pub(crate) fn starts(&self) -> Vec<u32> {
        let starts = |lengths: &[usize]| {
            let ends = lengths.iter().scan(0, |end, length| {
                *end += *length as u32;
                Some(*end)
            });
            std::iter::once(0).chain(ends).collect::<Vec<u32>>()
        };
        [starts(self.queries), starts(self.keys)].concat()
    }
}

/// q: (lq, n, d), k, v: (lk, n, d), sequences one behind the other -> (lq, n, d); each query sees the keys of its sequence.
pub fn attention_of(q: &Tensor, k: &Tensor, v: &Tensor, sequences: &Sequences, scale: f64) -> Result<Tensor> {
    let ((lq, n, d), (lk, nk, dk)) = (q.dims3()?, k.dims3()?);
    if (nk, dk) != (n, d) || v.dims() != k.dims() {
        bail!(
            "attention needs (l, n, d) of one kind, not q {:?}, k {:?}, v {:?}",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    sequences.check(lq, lk)?;
    let one = |x: &Tensor| x.unsqueeze(0);
    if let Some(card) = Card::attends([&one(q)?, &one(k)?, &one(v)?]) {
        return card.attention_of([q, k, v], sequences, scale);
    }
    let parts = sequences.places().map(|(query, queries, key, keys)| {
        let part = |x: &Tensor, first, length| one(&x.narrow(0, first, length)?);
        let (q, k, v) = (part(q, query, queries)?, part(k, key, keys)?, part(v, key, keys)?);
        attention(&q, &k, &v, &Mask::Full, scale)?.squeeze(0)
    });
    Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
}

/// q: (b, lq, n, d), k, v: (b, lk, n, d) -> (b, lq, n, d); softmax over the keys of `scale` * q k, in f32.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Mask, scale: f64) -> Result<Tensor> {
    let ((b, lq, n, d), (bk, lk, nk, dk)) = (q.dims4()?, k.dims4()?);
    if (bk, nk, dk) != (b, n, d) || v.dims() != [b, lk, n, v.dim(3)?] || lq == 0 || lk == 0 {
        bail!(
            "attention needs (b, l, n, d) of one kind, not q {:?}, k {:?}, v {:?}",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    if [q, k, v].into_iter().all(cpu::takes) && v.dim(3)? == d {
        return by_kernel(q, k, v, mask, scale as f32);
    }
    if let Some(card) = Card::attends([q, k, v]) {
        return card.attention([q, k, v], mask, scale);
    }
    reference::attention(q, k, v, mask, scale)
}

/// The same on the CPU, where queries, keys and values may be parts of one tensor.
fn by_kernel(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Mask, scale: f32) -> Result<Tensor> {
    let ((b, lq, n, d), lk) = (q.dims4()?, k.dim(1)?);
    let (q, k, v) = (dense_heads(q)?, dense_heads(k)?, dense_heads(v)?);
    let (bias, lengths) = match mask {
        Mask::KeyLengths(lengths) => {
            check_lengths(lengths, b, lk)?;
            (None, Some(*lengths))
        }
        _ => (mask.additive(b, lk, q.device())?, None),
    };
    let bias = bias.map(|bias| bias.contiguous()).transpose()?;
    let (bias_storage, bias_strides) = match &bias {
        None => (None, [0; 3]),
        Some(bias) => {
            let (mb, mn, mq, _) = bias.dims4()?;
            for (what, got, want) in [("items", mb, b), ("heads", mn, n), ("queries", mq, lq)] {
                if got != 1 && got != want {
                    bail!("an attention bias for {got} {what} cannot serve {want}");
                }
            }
            let stride = |size: usize, stride: usize| if size == 1 { 0 } else { stride };
            (Some(bias.storage_and_layout()), [stride(mb, mn * mq * lk), stride(mn, mq * lk), stride(mq, lk)])
        }
    };
    let mask = match &bias_storage {
        None => kernels::Mask::All,
        Some((storage, layout)) => {
            let [batch, head, query] = bias_strides;
            let data = &values_of(storage)?[layout.start_offset()..];
            kernels::Mask::Additive { data, batch, head, query }
        }
    };
    let (q, k, v) = (q.storage_and_layout(), k.storage_and_layout(), v.storage_and_layout());
    let attention = kernels::Attention {
        shape: kernels::Shape { batch: b, heads: n, queries: lq, keys: lk, dim: d },
        q: view(&q.0, q.1)?,
        k: view(&k.0, k.1)?,
        v: view(&v.0, v.1)?,
        scale,
        mask,
        lengths,
    };
    cpu::make(&[b, lq, n, d], |y| {
        attention.run(cpu::context()?, y, kernels::Strides::blnd(lq, n, d)).map_err(Error::wrap)
    })
}

/// x: (b, l, n, d) -> the same, the values of a head side by side.
fn dense_heads(x: &Tensor) -> Result<Tensor> {
    if x.stride()[3] == 1 { Ok(x.clone()) } else { x.contiguous() }
}

fn values_of(storage: &Storage) -> Result<&[f32]> {
    match storage {
        Storage::Cpu(storage) => storage.as_slice(),
        _ => bail!("attention by the kernels of the CPU needs its tensors there"),
    }
}

pub(crate) fn view<'a>(storage: &'a Storage, layout: &Layout) -> Result<kernels::View<'a>> {
    let &[batch, position, head, _] = layout.stride() else {
        bail!("{:?} is not (b, l, n, d)", layout.dims())
    };
    let data = &values_of(storage)?[layout.start_offset()..];
    Ok(kernels::View { data, strides: kernels::Strides { batch, position, head } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(shape: (usize, usize, usize, usize), step: f32) -> Tensor {
        let n = shape.0 * shape.1 * shape.2 * shape.3;
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * step).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// By the definition, in f64.
    fn expected(
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        seen: &dyn Fn(usize, usize) -> f64,
        scale: f64,
    ) -> Vec<f64> {
        let ((b, lq, n, d), lk) = (q.dims4().unwrap(), k.dim(1).unwrap());
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (q, k, v) = (flat(q), flat(k), flat(v));
        let at = |x: &[f32], l: usize, (bi, li, ni, di): (usize, usize, usize, usize)| {
            f64::from(x[((bi * l + li) * n + ni) * d + di])
        };
        let mut out = vec![0f64; b * lq * n * d];
        for bi in 0..b {
            for i in 0..lq {
                for ni in 0..n {
                    let logit = |j: usize| {
                        (0..d).map(|c| at(&q, lq, (bi, i, ni, c)) * at(&k, lk, (bi, j, ni, c))).sum::<f64>()
                            * scale
                            + seen(bi, j)
                    };
                    let weights: Vec<f64> = (0..lk).map(|j| logit(j).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for c in 0..d {
                        let sum: f64 = (0..lk).map(|j| weights[j] * at(&v, lk, (bi, j, ni, c))).sum();
                        out[((bi * lq + i) * n + ni) * d + c] = sum / total;
                    }
                }
            }
        }
        out
    }

    fn check(mask: &Mask, seen: &dyn Fn(usize, usize) -> f64) {
        let (q, k, v) = (wave((2, 5, 3, 4), 0.7), wave((2, 7, 3, 4), 0.31), wave((2, 7, 3, 4), 0.13));
        let got = attention(&q, &k, &v, mask, 0.5).unwrap();
        assert_eq!(got.dims(), [2, 5, 3, 4]);
        let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
        for (got, want) in got.iter().zip(expected(&q, &k, &v, seen, 0.5)) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} is not {want}");
        }
    }

    #[test]
    fn agrees_with_the_definition() {
        check(&Mask::Full, &|_, _| 0.0);
        check(&Mask::KeyLengths(&[7, 3]), &|b, j| if b == 1 && j >= 3 { f64::NEG_INFINITY } else { 0.0 });
        let bias =
            Tensor::from_vec((0..7).map(|j| j as f32 * 0.2).collect(), (1, 1, 1, 7), &Device::Cpu).unwrap();
        check(&Mask::Bias(&bias), &|_, j| f64::from(j as f32 * 0.2));
    }

    #[test]
    fn sequences_one_behind_the_other_see_their_own_keys() {
        let (queries, keys) = ([3, 1, 5], [2, 7, 4]);
        let (q, k, v) = (wave((1, 9, 3, 4), 0.7), wave((1, 13, 3, 4), 0.31), wave((1, 13, 3, 4), 0.13));
        let one = |x: &Tensor| x.squeeze(0).unwrap();
        let sequences = Sequences { queries: &queries, keys: &keys };
        let got = attention_of(&one(&q), &one(&k), &one(&v), &sequences, 0.5).unwrap();
        assert_eq!(got.dims(), [9, 3, 4]);
        let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
        // by the definition, sequence after sequence
        let (mut query, mut key, mut want) = (0, 0, Vec::new());
        for (lq, lk) in queries.into_iter().zip(keys) {
            let part = |x: &Tensor, first, length| x.narrow(1, first, length).unwrap();
            let (q, k, v) = (part(&q, query, lq), part(&k, key, lk), part(&v, key, lk));
            want.extend(expected(&q, &k, &v, &|_, _| 0.0, 0.5));
            (query, key) = (query + lq, key + lk);
        }
        for (got, want) in got.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} is not {want}");
        }
        for (queries, keys, words) in [
            (&[3, 1, 4][..], &[2, 7, 4][..], "sequences of 8 queries were given 9"),
            (&[3, 1, 5], &[2, 7, 5], "sequences of 14 keys were given 13"),
            (&[9], &[6, 7], "1 lengths of queries and 2 of keys"),
            (&[9, 0], &[6, 7], "at least one of its queries"),
        ] {
            let error =
                attention_of(&one(&q), &one(&k), &one(&v), &Sequences { queries, keys }, 0.5).unwrap_err();
            assert!(error.to_string().contains(words), "{error}, not {words}");
        }
    }

    #[test]
    fn refuses_shapes_that_do_not_belong_together() {
        let (q, k) = (wave((1, 2, 3, 4), 0.1), wave((1, 2, 2, 4), 0.1));
        assert!(attention(&q, &k, &k, &Mask::Full, 1.0).is_err());
        assert!(attention(&q, &q, &q, &Mask::KeyLengths(&[3]), 1.0).is_err());
        assert!(attention(&q, &q, &q, &Mask::KeyLengths(&[0]), 1.0).is_err());
    }
}
