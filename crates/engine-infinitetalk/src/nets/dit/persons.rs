//! Two persons in one picture: who of them a token belongs to, and the turn by which it hears that one's voice. A token belongs to the person
//! whose part of the first frame it looks at most; its audio query is turned by a position near 2 or near 22, the keys of the two voices
//! by 2 and by 22, so that the voice of the other is far away. Reference: InfiniteTalk 0107cd9, `wan/modules/attention.py`
//! (`get_attn_map_with_target`, `SingleStreamMultiAttention`). Deviation: a class without any token (no background left) is never chosen, where
//! the reference divides by zero. Refused: persons without any token.

use candle_core::{DType, Result, Tensor, bail};
use layers::{Mask, Pairing, RopeTable, attention};

use super::attention::scale;
use super::config::PATCH;

/// First position, first voice's position (the middle), for each person; each spans `INTERVAL` (`class_range` 24, `class_interval` 4).
const STARTS: [f64; 2] = [0.0, 20.0];
const INTERVAL: f64 = 4.0;
const BACKGROUND: f64 = 12.0;
const THETA: f64 = 10_000.0;

/// person 1, person 2, background
const CLASSES: usize = 3;

/// Which tokens of a frame show whom.
#[derive(Clone, Debug)]
pub struct Persons {
    masks: Tensor,  // (3, tokens of a frame), 0 or 1, f32
    counts: Tensor, // (3)
}

impl Persons {
    /// masks: (3, h, w) in the size of the latents; what is above zero shows person 1, person 2, the background
    pub fn new(masks: &Tensor) -> Result<Self> {
        let (classes, h, w) = masks.dims3()?;
        if classes != CLASSES || !h.is_multiple_of(PATCH) || !w.is_multiple_of(PATCH) {
            bail!("masks of persons are (3, h, w) in the even size of the latents, not {:?}", masks.dims());
        }
        let nearest = masks.to_dtype(DType::F32)?.reshape((CLASSES, h / PATCH, PATCH, w / PATCH, PATCH))?;
        let masks = nearest
            .narrow(2, 0, 1)?
            .narrow(4, 0, 1)?
            .gt(0f64)?
            .to_dtype(DType::F32)?
            .reshape((CLASSES, (h / PATCH) * (w / PATCH)))?;
        let counts: Vec<f32> = masks.sum(1)?.to_vec1()?;
        if let Some(person) = counts[..2].iter().position(|&count| count == 0.0) {
            bail!("person {} covers no part of the picture: move or enlarge the region", person + 1);
        }
        let counts = counts.iter().map(|&count| count.max(1.0)).collect::<Vec<f32>>();
        Ok(Self { counts: Tensor::new(counts, masks.device())?, masks })
    }

    /// Tokens of a frame.
    pub fn tokens(&self) -> Result<usize> {
        self.masks.dim(1)
    }

    /// q, k: (1, l, n, d), turned -> how much each token looks at each class in the first frame: (3, l). The masks are values of an attention
    /// over the keys of that frame, so the weights themselves are never held.
    pub(super) fn map(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        let ((_, l, n, d), tokens) = (q.dims4()?, self.tokens()?);
        let values = self.masks.t()?.to_dtype(q.dtype())?.pad_with_zeros(1, 0, d - CLASSES)?; // (tokens, d)
        let values = values.reshape((1, tokens, 1, d))?.broadcast_as((1, tokens, n, d))?;
        let looks = attention(q, &k.narrow(1, 0, tokens)?, &values, &Mask::Full, scale(d))?; // (1, l, n, d)
        let looks = looks.narrow(3, 0, CLASSES)?.reshape((l, n, CLASSES))?;
        looks.broadcast_div(&self.counts.to_dtype(q.dtype())?)?.mean(1)?.t()?.contiguous()
    }
}

/// By how much audio queries and keys are turned.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    /// at every token
    pub queries: RopeTable,
    /// at every audio token of a frame
    pub keys: RopeTable,
}

impl Turns {
    /// map: (3, l), for `tokens` audio tokens of two persons and heads of `d` channels
    pub fn new(map: &Tensor, tokens: usize, d: usize) -> Result<Self> {
        let voice = |i: usize| STARTS[i / tokens.div_ceil(2)] + INTERVAL / 2.0;
        let keys: Vec<f64> = (0..tokens).map(voice).collect();
        let queries = positions(map)?.to_dtype(DType::F32)?;
        Ok(Self {
            queries: RopeTable::at(&queries, d, THETA, Pairing::Neighbours)?,
            keys: RopeTable::line(&keys, d, THETA, Pairing::Neighbours, map.device())?,
        })
    }
}

/// map: (3, l) -> (l), in its dtype: in bf16 positions are as coarse as the reference's
fn positions(map: &Tensor) -> Result<Tensor> {
    let of = |person: usize| -> Result<Tensor> {
        let row = map.get(person)?;
        let (least, most) = (row.min(0)?, row.max(0)?);
        let range = ((most - &least)? + 1e-8)?;
        row.broadcast_sub(&least)?.broadcast_div(&range)?.affine(INTERVAL, 0.0)? + STARTS[person]
    };
    let class = map.to_dtype(DType::F32)?.argmax(0)?; // (l)
    let (first, second) = (of(0)?, of(1)?);
    let background = Tensor::full(BACKGROUND as f32, first.shape(), map.device())?.to_dtype(map.dtype())?;
    class.eq(0u32)?.where_cond(&first, &class.eq(1u32)?.where_cond(&second, &background)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn positions_lie_around_the_voices() {
        let map = Tensor::new(
            &[[0.0f32, 0.5, 1.0, 0.2, 0.0], [0.1, 0.0, 0.1, 0.3, 0.4], [0.0, 0.0, 0.1, 0.4, 0.3]],
            &Device::Cpu,
        )
        .unwrap();
        let at: Vec<f32> = positions(&map).unwrap().to_vec1().unwrap();
        assert_eq!(at, [21.0, 2.0, 4.0, 12.0, 24.0]);
        let coarse: Vec<f32> =
            positions(&(map.to_dtype(DType::BF16).unwrap() * 0.3).unwrap().affine(1.0, 0.01).unwrap())
                .unwrap()
                .to_dtype(DType::F32)
                .unwrap()
                .to_vec1()
                .unwrap();
        assert!(coarse.iter().zip(&at).all(|(c, a)| (c - a).abs() < 0.2), "{coarse:?}");
    }

    #[test]
    fn the_map_is_the_mean_over_heads_of_what_is_looked_at() {
        let noise = |key: &str, l: usize| golden::affine("persons", key, &[1, l, 2, 8], (0.0, 1.0)).unwrap();
        let (q, k) = (noise("q", 12), noise("k", 12));
        let masks = [[1f32, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0], [0.0; 4]];
        // each token is 2x2 latents, of which the first counts: four tokens in a row
        let latent = |class: usize, y: usize, x: usize| {
            if y == 0 && x.is_multiple_of(2) { masks[class][x / 2] } else { 9.0 }
        };
        let picture: Vec<f32> = (0..3 * 2 * 8).map(|i| latent(i / 16, i / 8 % 2, i % 8)).collect();
        let picture = Tensor::from_vec(picture, (3, 2, 8), &Device::Cpu).unwrap();
        let persons = Persons::new(&picture).unwrap();
        let got: Vec<Vec<f32>> = persons.map(&q, &k).unwrap().to_vec2().unwrap();
        let (q, k) = (q.squeeze(0).unwrap(), k.squeeze(0).unwrap());
        let at = |x: &Tensor, i: usize, n: usize| -> Vec<f32> {
            x.get(i).unwrap().get(n).unwrap().to_vec1().unwrap()
        };
        let want = |i: usize| {
            let mut want = [0f32; CLASSES];
            for n in 0..2 {
                let logit = |j: usize| -> f32 {
                    at(&q, i, n).iter().zip(at(&k, j, n)).map(|(q, k)| q * k).sum::<f32>() / 8f32.sqrt()
                };
                let weights: Vec<f32> = (0..4).map(|j| logit(j).exp()).collect();
                let all: f32 = weights.iter().sum();
                for (want, mask) in want.iter_mut().zip(&masks) {
                    let count = mask.iter().sum::<f32>().max(1.0);
                    *want += weights.iter().zip(mask).map(|(w, m)| w * m).sum::<f32>() / all / count / 2.0;
                }
            }
            want
        };
        for (class, row) in got.iter().enumerate() {
            assert_eq!(row.len(), 12);
            for (i, got) in row.iter().enumerate() {
                assert!((got - want(i)[class]).abs() < 1e-5, "token {i} of class {class}");
            }
        }
        assert!(got[2].iter().all(|&background| background == 0.0), "an empty class is never looked at");
    }

    #[test]
    fn refuses_a_person_that_is_nowhere() {
        let mut masks = vec![1f32; 3 * 4 * 4];
        masks[16..32].fill(0.0);
        let error = Persons::new(&Tensor::from_vec(masks, (3, 4, 4), &Device::Cpu).unwrap()).unwrap_err();
        assert!(error.to_string().contains("person 2"), "{error}");
        assert!(Persons::new(&Tensor::zeros((2, 4, 4), DType::F32, &Device::Cpu).unwrap()).is_err());
    }
}
