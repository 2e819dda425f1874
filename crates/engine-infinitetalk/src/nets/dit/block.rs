//! One of the blocks: the video looks at itself, at prompt and picture, at the speech of its frame; then each token by itself. What the
//! first and the last of these do is scaled, shifted and gated by the time.

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{Activation, Bias, LayerNorm, Linear, Probe, RopeTable, add_gated};

use super::attention::{CrossAttention, SelfAttention, linear};
use super::audio::AudioCrossAttention;
use super::config::{DitConfig, Loading, Variant};
use super::embed::Grid;
use super::persons::{Persons, Turns};

/// What all blocks of a forward are given beside the tokens.
pub(super) struct Surroundings<'a> {
    pub grid: Grid,
    pub rope: &'a RopeTable,
    /// (6, c), f32
    pub e0: Tensor,
    pub text: &'a Tensor,
    pub picture: &'a Tensor,
    /// (1, t, tokens, output)
    pub audio: Option<&'a Tensor>,
    /// of two persons
    pub persons: Option<&'a Persons>,
}

#[derive(Clone, Debug)]
struct Speech {
    norm_x: LayerNorm,
    attention: AudioCrossAttention,
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    norm: LayerNorm,
    modulation: Tensor, // (6, c), f32
    self_attn: SelfAttention,
    norm3: LayerNorm,
    cross_attn: CrossAttention,
    speech: Option<Speech>,
    ffn: [Linear; 2],
    head_dim: usize,
}

impl Block {
    pub fn load(cfg: &DitConfig, how: &Loading, vb: VarBuilder) -> Result<Self> {
        let c = cfg.dim;
        let norms = vb.to_dtype(how.activations);
        let norm = |name: &str| LayerNorm::load(c, cfg.eps, Bias::Yes, norms.pp(name));
        let speech = match cfg.variant {
            Variant::InfiniteTalk => Some(Speech {
                norm_x: norm("norm_x")?,
                attention: AudioCrossAttention::load(cfg, how, vb.pp("audio_cross_attn"))?,
            }),
            Variant::WanI2v => None,
        };
        Ok(Self {
            norm: LayerNorm::plain(cfg.eps),
            modulation: vb.get((1, 6, c), "modulation")?.squeeze(0)?.to_dtype(DType::F32)?,
            self_attn: SelfAttention::load(cfg, how, vb.pp("self_attn"))?,
            norm3: norm("norm3")?,
            cross_attn: CrossAttention::load(cfg, how, vb.pp("cross_attn"))?,
            speech,
            ffn: [
                linear([c, cfg.ffn_dim], how, vb.pp("ffn.0"))?,
                linear([cfg.ffn_dim, c], how, vb.pp("ffn.2"))?,
            ],
            head_dim: cfg.head_dim(),
        })
    }

    /// x: (1, l, c) -> the same
    pub fn forward(&self, x: &Tensor, s: &Surroundings, probe: &Probe) -> Result<Tensor> {
        let e = (&self.modulation + &s.e0)?;
        let (shift, scale, gate) = (e.get(0)?, e.get(1)?, e.get(2)?); // (c)
        let (ffn_shift, ffn_scale, ffn_gate) = (e.get(3)?, e.get(4)?, e.get(5)?);
        let u = self.norm.forward_modulated(x, &shift, &scale)?;
        let (y, map) = self.self_attn.forward(&u, s.rope, s.persons)?;
        probe.note("self_attn", &y);
        let x = add_gated(x, &y, &gate)?;
        let before = x;
        let x = self.cross_attn.forward_plus(&self.norm3.forward(&before)?, [s.text, s.picture], &before)?;
        probe.note_by("cross_attn", || &x - &before)?;
        let x = match (&self.speech, s.audio) {
            (None, None) => x,
            (Some(speech), Some(audio)) => {
                let turns = match map {
                    Some(map) => {
                        probe.note("ref_map", &map);
                        Some(Turns::new(&map, audio.dim(2)?, self.head_dim)?)
                    }
                    None => None,
                };
                let before = x;
                let u = speech.norm_x.forward(&before)?;
                let x = speech.attention.forward_plus(&u, (audio, s.grid), turns.as_ref(), &before)?;
                probe.note_by("audio_attn", || &x - &before)?;
                x
            }
            (Some(_), None) => bail!("this net hears: give it the speech of silence where there is none"),
            (None, Some(_)) => bail!("this net has no modules for speech, but was given some"),
        };
        let u = self.norm.forward_modulated(&x, &ffn_shift, &ffn_scale)?;
        let y = self.ffn[1].forward(&self.ffn[0].forward_then(&u, Activation::GeluTanh)?)?;
        add_gated(&x, &y, &ffn_gate)
    }
}
