//! What a step's velocity is made of: the net asked with and without text and sound, and the answers combined, either by classifier-free
//! guidance (Ho & Salimans 2022) with a scale each for text and sound, or by adaptive projected guidance (Sadat et al. 2024), which takes
//! out what only makes the answer stronger. Reference: InfiniteTalk 0107cd9, `wan/multitalk.py`, `wan/utils/multitalk_utils.py`.
//! Deviation: a pass whose weight is 0 is not made (a scale of 1); the reference does this for text only.

use candle_core::{DType, Result, Tensor, bail};

use super::SamplerError;

/// One way to ask the net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// With text and sound.
    Conditioned,
    /// With text, without sound.
    DropAudio,
    /// With the negative text and sound.
    DropText,
    /// With the negative text, without sound.
    Unconditioned,
}

/// Adaptive projected guidance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection {
    /// How much of the earlier steps' difference goes on; negative values hold against it.
    pub momentum: f64,
    /// The longest a difference may be, as the L2 norm of the whole chunk.
    pub norm_threshold: f64,
}

/// How strongly text and sound are followed. A scale of 1 follows without exaggeration and saves its pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    text: f64,
    audio: f64,
    projection: Option<Projection>,
}

impl Guidance {
    pub fn new(text: f64, audio: f64) -> std::result::Result<Self, SamplerError> {
        for (name, scale) in [("text", text), ("audio", audio)] {
            if !scale.is_finite() {
                return Err(SamplerError::Scale { name, scale });
            }
        }
        Ok(Self { text, audio, projection: None })
    }

    pub fn with_projection(self, projection: Projection) -> std::result::Result<Self, SamplerError> {
        let Projection { momentum, norm_threshold } = projection;
        if !momentum.is_finite() || !norm_threshold.is_finite() || norm_threshold <= 0.0 {
            return Err(SamplerError::Projection(projection));
        }
        Ok(Self { projection: Some(projection), ..self })
    }

    /// Of a net that hears nothing.
    pub(super) fn without_audio(self) -> Self {
        Self { audio: 1.0, ..self }
    }

    fn guides_text(&self) -> bool {
        !is_one(self.text)
    }

    fn guides_audio(&self) -> bool {
        !is_one(self.audio)
    }

    /// In the order in which a step makes them.
    pub fn branches(&self) -> &'static [Branch] {
        match (self.guides_text(), self.guides_audio()) {
            (false, false) => &[Branch::Conditioned],
            (false, true) => &[Branch::Conditioned, Branch::DropAudio],
            (true, false) => &[Branch::Conditioned, Branch::DropText],
            (true, true) => &[Branch::Conditioned, Branch::DropText, Branch::Unconditioned],
        }
    }
}

/// As `math.isclose` of the reference.
fn is_one(scale: f64) -> bool {
    (scale - 1.0).abs() <= 1e-9 * scale.abs().max(1.0)
}

/// Guidance over the steps of one chunk, with what its momentum remembers.
#[derive(Clone, Debug)]
pub struct Guide {
    guidance: Guidance,
    text: Average,
    audio: Average,
}

impl Guide {
    pub fn new(guidance: Guidance) -> Self {
        Self { guidance, text: Average::default(), audio: Average::default() }
    }

    /// answers: of every branch, in the order of `Guidance::branches`, any one shape -> the same
    pub fn velocity(&mut self, answers: &[Tensor]) -> Result<Tensor> {
        let Guidance { text, audio, projection } = self.guidance;
        // what text and sound change, and the answer without either
        let (cond, by_text, by_audio, base) = match (self.guidance.branches(), answers) {
            ([_], [cond]) => return Ok(cond.clone()),
            ([_, Branch::DropAudio], [cond, drop_audio]) => {
                (cond, None, Some((cond - drop_audio)?), drop_audio)
            }
            ([_, Branch::DropText], [cond, drop_text]) => (cond, Some((cond - drop_text)?), None, drop_text),
            ([_, _, _], [cond, drop_text, uncond]) => {
                (cond, Some((cond - drop_text)?), Some((drop_text - uncond)?), uncond)
            }
            (branches, answers) => {
                bail!("{} answers do not belong to the branches {branches:?}", answers.len())
            }
        };
        let mut velocity = match projection {
            None => base.clone(),
            Some(_) => cond.clone(),
        };
        for (difference, scale, average) in
            [(by_text, text, &mut self.text), (by_audio, audio, &mut self.audio)]
        {
            let Some(difference) = difference else { continue };
            let change = match projection {
                None => (difference * scale)?,
                Some(projection) => (average.project(&difference, cond, projection)? * (scale - 1.0))?,
            };
            velocity = (velocity + change)?;
        }
        Ok(velocity)
    }
}

/// A difference over the steps, each with `momentum` times what was before.
#[derive(Clone, Debug, Default)]
struct Average(Option<Tensor>);

impl Average {
    /// The part of the averaged difference, cut to its longest, that is orthogonal to `cond`.
    fn project(&mut self, difference: &Tensor, cond: &Tensor, how: Projection) -> Result<Tensor> {
        let average = match &self.0 {
            None => difference.clone(),
            Some(before) => (difference + (before * how.momentum)?)?,
        };
        self.0 = Some(average.clone()); // kept as long as it is, not as it was cut
        let average = average.to_dtype(DType::F64)?; // the reference projects in f64
        let length = norm(&average)?;
        let cut = if length > how.norm_threshold { how.norm_threshold / length } else { 1.0 };
        let cut = (average * cut)?;
        let cond = cond.to_dtype(DType::F64)?;
        let direction = (&cond * (1.0 / norm(&cond)?.max(1e-12)))?; // torch's normalize
        let along = (&cut * &direction)?.sum_all()?.to_scalar::<f64>()?;
        (cut - (direction * along)?)?.to_dtype(difference.dtype())
    }
}

fn norm(x: &Tensor) -> Result<f64> {
    Ok(x.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn no_guidance() -> Guidance {
        Guidance::new(1.0, 1.0).unwrap()
    }

    fn values(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    fn guided(guidance: Guidance, answers: &[&[f32]]) -> Vec<f32> {
        let answers: Vec<Tensor> = answers.iter().map(|a| values(a)).collect();
        Guide::new(guidance).velocity(&answers).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_scale_of_one_saves_its_pass_and_changes_nothing() {
        let of = |text, audio| Guidance::new(text, audio).unwrap();
        assert_eq!(no_guidance().branches(), [Branch::Conditioned]);
        assert_eq!(of(1.0, 2.0).branches(), [Branch::Conditioned, Branch::DropAudio]);
        assert_eq!(of(5.0, 1.0).branches(), [Branch::Conditioned, Branch::DropText]);
        assert_eq!(of(5.0, 4.0).without_audio().branches(), [Branch::Conditioned, Branch::DropText]);
        assert_eq!(of(5.0, 4.0).branches().len(), 3);
        assert_eq!(guided(no_guidance(), &[&[3.0]]), [3.0]);
        assert_eq!(guided(of(1.0, 2.0), &[&[3.0], &[2.0]]), [4.0]);
        assert_eq!(guided(of(3.0, 1.0), &[&[3.0], &[2.0]]), [5.0]);
        // uncond + text (cond - drop_text) + audio (drop_text - uncond), with audio 1 whatever uncond is
        let almost = guided(of(3.0, 1.0 + 1e-6), &[&[3.0], &[2.0], &[-7.0]]);
        assert!((almost[0] - 5.0).abs() < 1e-4, "{almost:?}");
    }

    #[test]
    fn projection_leaves_what_is_orthogonal_and_not_too_long() {
        let guidance = Guidance::new(1.0, 3.0).unwrap();
        let projection = Projection { momentum: -0.5, norm_threshold: 1.0 };
        let mut guide = Guide::new(guidance.with_projection(projection).unwrap());
        let cond = values(&[2.0, 0.0]);
        // the difference (1, 3) is cut to a length of 1; what remains beside cond is 3 / sqrt(10), twice
        let first: Vec<f32> =
            guide.velocity(&[cond.clone(), values(&[1.0, -3.0])]).unwrap().to_vec1().unwrap();
        assert!((first[0] - 2.0).abs() < 1e-6 && (first[1] - 6.0 / 10f32.sqrt()).abs() < 1e-6, "{first:?}");
        // then (0, 0.2) - 0.5 (1, 3) = (-0.5, -1.3), as the average is kept uncut
        let second: Vec<f32> = guide.velocity(&[cond, values(&[2.0, -0.2])]).unwrap().to_vec1().unwrap();
        let want = -2.6 / (0.25f32 + 1.69).sqrt();
        assert!((second[1] - want).abs() < 1e-6, "{second:?} {want}");
    }

    #[test]
    fn refuses_what_guides_nowhere() {
        assert!(Guidance::new(f64::NAN, 1.0).unwrap_err().to_string().contains("text"));
        assert!(Guidance::new(1.0, f64::INFINITY).unwrap_err().to_string().contains("audio"));
        let none = Projection { momentum: 0.0, norm_threshold: 0.0 };
        assert!(no_guidance().with_projection(none).unwrap_err().to_string().contains('0'));
        let one_too_many = [values(&[0.0]), values(&[0.0])];
        assert!(Guide::new(no_guidance()).velocity(&one_too_many).is_err());
    }
}
