//! The names of the original single files (`svd.safetensors`, `svd_xt.safetensors`) to those of diffusers: by rule, tensor for tensor. diffusers' own
//! script gives two mixers of the last levels one name; here each keeps its place.

/// Which net a tensor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    Unet,
    Vae,
    ImageEncoder,
}

/// How a tensor becomes what diffusers holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// A 1x1 convolution as a linear layer: (o, i, 1, 1) -> (o, i)
    Squeezed,
    /// (i, o) -> (o, i)
    Transposed,
    /// Some of three equal parts one below the other.
    Third(usize),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub part: Part,
    pub name: String,
    pub form: Form,
}

/// What a key of the single file is.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    Tensors(Vec<Named>),
    /// Of an encoder that did not make the condition of the training: only where there is no other.
    SpareEncoder(Named),
    Unused,
    /// Below a prefix whose tensors are all known, but not one of them.
    Strange,
}

/// Levels of the nets of a single file.
pub const LEVELS: usize = 4;
/// Layers of a level of the way down.
pub const LAYERS: usize = 2;
/// Entries of a level in the original lists: its layers and what changes the size, or its layers of the way up.
const ENTRIES: usize = LAYERS + 1;

const ENCODER: &str = "conditioner.embedders.3.encoder.";
const OPEN_CLIP: &str = "conditioner.embedders.0.open_clip.model.";

pub fn known(key: &str) -> Known {
    let one = |part: Part, found: Option<(String, Form)>| match found {
        Some((name, form)) => Known::Tensors(vec![Named { part, name, form }]),
        None => Known::Strange,
    };
    if let Some(key) = key.strip_prefix("model.diffusion_model.") {
        return one(Part::Unet, unet(key).map(|name| (name, Form::Plain)));
    }
    if let Some(key) = key.strip_prefix("first_stage_model.decoder.") {
        return one(Part::Vae, decoder(key));
    }
    if let Some(key) = key.strip_prefix("first_stage_model.encoder.") {
        return match encoder(key) {
            Some((name, form)) => Known::SpareEncoder(Named { part: Part::Vae, name, form }),
            None => Known::Strange,
        };
    }
    if let Some(key) = key.strip_prefix(ENCODER) {
        // a whole VAE; its decoder has no use
        return match (key.strip_prefix("encoder."), key.starts_with("quant_conv.")) {
            (Some(key), _) => one(Part::Vae, encoder(key)),
            (None, true) => one(Part::Vae, Some((key.to_owned(), Form::Plain))),
            (None, false) => Known::Unused,
        };
    }
    match key.strip_prefix(OPEN_CLIP).and_then(|key| key.strip_prefix("visual.")) {
        Some(key) => match clip(key) {
            tensors if tensors.is_empty() => Known::Strange,
            tensors => Known::Tensors(tensors),
        },
        None => Known::Unused,
    }
}

/// The first or the second linear layer of an embedding.
fn linear(index: &str) -> Option<&'static str> {
    match index {
        "0" => Some("linear_1"),
        "2" => Some("linear_2"),
        _ => None,
    }
}

fn unet(key: &str) -> Option<String> {
    let parts: Vec<&str> = key.split('.').collect();
    match parts.as_slice() {
        ["time_embed", index, leaf] => Some(format!("time_embedding.{}.{leaf}", linear(index)?)),
        ["label_emb", "0", index, leaf] => Some(format!("add_embedding.{}.{leaf}", linear(index)?)),
        ["input_blocks", "0", "0", leaf] => Some(format!("conv_in.{leaf}")),
        ["out", "0", leaf] => Some(format!("conv_norm_out.{leaf}")),
        ["out", "2", leaf] => Some(format!("conv_out.{leaf}")),
        ["input_blocks", entry, module, rest @ ..] => {
            let entry = entry.parse::<usize>().ok()?.checked_sub(1)?;
            let (block, layer) = (entry / ENTRIES, entry % ENTRIES);
            let block = (block < LEVELS).then(|| format!("down_blocks.{block}"))?;
            match (*module, rest) {
                ("0", ["op", leaf]) if layer == LAYERS => Some(format!("{block}.downsamplers.0.conv.{leaf}")),
                ("0", rest) if layer < LAYERS => {
                    Some(format!("{block}.resnets.{layer}.{}", res_block(rest)?))
                }
                ("1", rest) if layer < LAYERS => {
                    Some(format!("{block}.attentions.{layer}.{}", transformer(rest)?))
                }
                _ => None,
            }
        }
        ["middle_block", "0", rest @ ..] => Some(format!("mid_block.resnets.0.{}", res_block(rest)?)),
        ["middle_block", "1", rest @ ..] => Some(format!("mid_block.attentions.0.{}", transformer(rest)?)),
        ["middle_block", "2", rest @ ..] => Some(format!("mid_block.resnets.1.{}", res_block(rest)?)),
        ["output_blocks", entry, module, rest @ ..] => {
            let entry = entry.parse::<usize>().ok()?;
            let (block, layer) = (entry / ENTRIES, entry % ENTRIES);
            let block = (block < LEVELS).then(|| format!("up_blocks.{block}"))?;
            match (*module, rest) {
                ("0", rest) => Some(format!("{block}.resnets.{layer}.{}", res_block(rest)?)),
                // behind the transformer, or in its place
                ("1" | "2", ["conv", leaf]) if layer == LAYERS => {
                    Some(format!("{block}.upsamplers.0.conv.{leaf}"))
                }
                ("1", rest) => Some(format!("{block}.attentions.{layer}.{}", transformer(rest)?)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The half of a residual block within frames, and the one over frames, whose names differ in their beginning alone.
fn res_block(rest: &[&str]) -> Option<String> {
    match rest {
        ["time_mixer", "mix_factor"] => Some("time_mixer.mix_factor".into()),
        ["time_stack", rest @ ..] => Some(format!("temporal_res_block.{}", res_half(rest)?)),
        rest => Some(format!("spatial_res_block.{}", res_half(rest)?)),
    }
}

fn res_half(rest: &[&str]) -> Option<String> {
    let (module, leaf) = match rest {
        ["in_layers", "0", leaf] => ("norm1", leaf),
        ["in_layers", "2", leaf] => ("conv1", leaf),
        ["emb_layers", "1", leaf] => ("time_emb_proj", leaf),
        ["out_layers", "0", leaf] => ("norm2", leaf),
        ["out_layers", "3", leaf] => ("conv2", leaf),
        ["skip_connection", leaf] => ("conv_shortcut", leaf),
        _ => return None,
    };
    Some(format!("{module}.{leaf}"))
}

fn transformer(rest: &[&str]) -> Option<String> {
    match rest {
        ["time_stack", "0", rest @ ..] => Some(format!("temporal_transformer_blocks.0.{}", rest.join("."))),
        ["time_pos_embed", index, leaf] => Some(format!("time_pos_embed.{}.{leaf}", linear(index)?)),
        ["norm" | "proj_in" | "proj_out" | "transformer_blocks" | "time_mixer", ..] => Some(rest.join(".")),
        _ => None,
    }
}

/// Of a VAE's middle: the attention, whose projections were convolutions.
fn middle_attention(rest: &[&str]) -> Option<(String, Form)> {
    let [module, leaf] = rest else { return None };
    let module = match *module {
        "norm" => return Some((format!("group_norm.{leaf}"), Form::Plain)),
        "q" => "to_q",
        "k" => "to_k",
        "v" => "to_v",
        "proj_out" => "to_out.0",
        _ => return None,
    };
    let form = if *leaf == "weight" { Form::Squeezed } else { Form::Plain };
    Some((format!("{module}.{leaf}"), form))
}

/// Of a VAE's residual block, within frames.
fn plain_block(rest: &[&str]) -> Option<String> {
    match rest {
        ["nin_shortcut", leaf] => Some(format!("conv_shortcut.{leaf}")),
        [module @ ("norm1" | "conv1" | "norm2" | "conv2"), leaf] => Some(format!("{module}.{leaf}")),
        _ => None,
    }
}

/// Of the temporal decoder: with the block over frames and the mixture.
fn temporal_block(rest: &[&str]) -> Option<String> {
    match rest {
        ["mix_factor"] => Some("time_mixer.mix_factor".into()),
        ["time_stack", rest @ ..] => Some(format!("temporal_res_block.{}", res_half(rest)?)),
        rest => Some(format!("spatial_res_block.{}", plain_block(rest)?)),
    }
}

/// The first and the second block of a VAE's middle.
fn of_middle(name: &str) -> Option<&'static str> {
    match name {
        "block_1" => Some("resnets.0"),
        "block_2" => Some("resnets.1"),
        _ => None,
    }
}

fn decoder(key: &str) -> Option<(String, Form)> {
    let parts: Vec<&str> = key.split('.').collect();
    // counted from the largest pictures on
    let block = |level: &str| {
        let level = level.parse::<usize>().ok().filter(|level| *level < LEVELS)?;
        Some(format!("decoder.up_blocks.{}", LEVELS - 1 - level))
    };
    let name = match parts.as_slice() {
        ["conv_in" | "conv_out", _] => format!("decoder.{key}"),
        ["norm_out", leaf] => format!("decoder.conv_norm_out.{leaf}"),
        ["conv_out", "time_mix_conv", leaf] | ["time_mix_conv", leaf] => {
            format!("decoder.time_conv_out.{leaf}")
        }
        ["mid", "attn_1", rest @ ..] => {
            let (name, form) = middle_attention(rest)?;
            return Some((format!("decoder.mid_block.attentions.0.{name}"), form));
        }
        ["mid", name, rest @ ..] => {
            format!("decoder.mid_block.{}.{}", of_middle(name)?, temporal_block(rest)?)
        }
        ["up", level, "upsample", "conv", leaf] => format!("{}.upsamplers.0.conv.{leaf}", block(level)?),
        ["up", level, "block", i, rest @ ..] => {
            let i = i.parse::<usize>().ok()?;
            format!("{}.resnets.{i}.{}", block(level)?, temporal_block(rest)?)
        }
        _ => return None,
    };
    Some((name, Form::Plain))
}

fn encoder(key: &str) -> Option<(String, Form)> {
    let parts: Vec<&str> = key.split('.').collect();
    let level = |level: &str| level.parse::<usize>().ok().filter(|level| *level < LEVELS);
    let name = match parts.as_slice() {
        ["conv_in" | "conv_out", _] => format!("encoder.{key}"),
        ["norm_out", leaf] => format!("encoder.conv_norm_out.{leaf}"),
        ["mid", "attn_1", rest @ ..] => {
            let (name, form) = middle_attention(rest)?;
            return Some((format!("encoder.mid_block.attentions.0.{name}"), form));
        }
        ["mid", name, rest @ ..] => format!("encoder.mid_block.{}.{}", of_middle(name)?, plain_block(rest)?),
        ["down", at, "downsample", "conv", leaf] => {
            format!("encoder.down_blocks.{}.downsamplers.0.conv.{leaf}", level(at)?)
        }
        ["down", at, "block", i, rest @ ..] => {
            let i = i.parse::<usize>().ok()?;
            format!("encoder.down_blocks.{}.resnets.{i}.{}", level(at)?, plain_block(rest)?)
        }
        _ => return None,
    };
    Some((name, Form::Plain))
}

/// open_clip's vision tower, whose attention holds queries, keys and values in one.
fn clip(key: &str) -> Vec<Named> {
    let parts: Vec<&str> = key.split('.').collect();
    let named = |name: String, form: Form| Named { part: Part::ImageEncoder, name, form };
    let plain = |name: String| vec![named(format!("vision_model.{name}"), Form::Plain)];
    match parts.as_slice() {
        ["class_embedding"] => plain("embeddings.class_embedding".into()),
        ["positional_embedding"] => plain("embeddings.position_embedding.weight".into()),
        ["conv1", "weight"] => plain("embeddings.patch_embedding.weight".into()),
        ["ln_pre", leaf] => plain(format!("pre_layrnorm.{leaf}")), // spelt so
        ["ln_post", leaf] => plain(format!("post_layernorm.{leaf}")),
        ["proj"] => vec![named("visual_projection.weight".into(), Form::Transposed)],
        ["transformer", "resblocks", block, rest @ ..] if block.parse::<usize>().is_ok() => {
            let layer = format!("encoder.layers.{block}");
            match rest {
                ["ln_1", leaf] => plain(format!("{layer}.layer_norm1.{leaf}")),
                ["ln_2", leaf] => plain(format!("{layer}.layer_norm2.{leaf}")),
                ["mlp", "c_fc", leaf] => plain(format!("{layer}.mlp.fc1.{leaf}")),
                ["mlp", "c_proj", leaf] => plain(format!("{layer}.mlp.fc2.{leaf}")),
                ["attn", "out_proj", leaf] => plain(format!("{layer}.self_attn.out_proj.{leaf}")),
                ["attn", fused @ ("in_proj_weight" | "in_proj_bias")] => {
                    let leaf = &fused["in_proj_".len()..];
                    let third = |(i, name)| {
                        named(format!("vision_model.{layer}.self_attn.{name}.{leaf}"), Form::Third(i))
                    };
                    ["q_proj", "k_proj", "v_proj"].into_iter().enumerate().map(third).collect()
                }
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}
