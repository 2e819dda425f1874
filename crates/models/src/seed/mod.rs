//! `seed`: writes seeded weights in the files of the official layout, so that loaders and engines can be tried at full size
//! without a download. Never holds more than a block of one tensor. Refuses to write over a file.

mod quanto;
mod safetensors;
mod shards;
mod smaller;
mod torch_legacy;
mod torch_zip;

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::Path;

use contract::{Complaint, Stop};

use crate::catalogue::{Form, Seeding, Wanted};
use crate::fresh::{self, Fresh};
use crate::inventory::{self, Dtype, Inventory, Tensor};
use crate::room;
use crate::seeded::{Filling, Stream, filling};

/// Bytes written between two looks at the stop token.
const BLOCK: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub enum SeedEvent<'a> {
    Begun {
        wanted: Wanted<'a>,
        bytes: u64,
    },
    Wrote {
        bytes: u64,
    },
    Done {
        wanted: Wanted<'a>,
        path: &'a Path,
    },
    /// No weights: a configuration, a tokenizer.
    NoWeights {
        wanted: Wanted<'a>,
    },
    /// There is none at this scale.
    NotAtScale {
        wanted: Wanted<'a>,
    },
    /// Computed from the inventory by whoever needs it.
    Computed {
        wanted: Wanted<'a>,
    },
}

/// How large the models are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As the released ones.
    Full,
    /// The same nets at about a fifth of the width, with few blocks: large enough to measure with.
    Small,
    /// The same nets with a few channels, and the configs that say so: a take in seconds.
    Tiny,
}

impl Scale {
    pub fn name(self) -> &'static str {
        match self {
            Scale::Full => "full",
            Scale::Small => "small",
            Scale::Tiny => "tiny",
        }
    }
}

/// What is written in a file's place.
enum Content {
    /// All of them, or of a model in several files those of this one.
    Weights(Form, Option<String>, Vec<Tensor>),
    /// Which tensor lies in which of several files.
    Index(Vec<(usize, Tensor)>),
    Bytes(&'static [u8]),
}

impl Content {
    fn bytes(&self) -> u64 {
        match self {
            Content::Weights(Form::QuantoInt8Map | Form::QuantoFp8Map, ..) => 0,
            // a quantised file has fewer: enough to know whether there is room
            Content::Weights(_, _, tensors) => tensors.iter().map(Tensor::bytes).sum(),
            Content::Index(_) => 0, // small beside the tensors, as headers are
            Content::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// What stands for a file at a scale, or why nothing does.
fn content(wanted: Wanted<'_>, scale: Scale) -> Result<Result<Content, SeedEvent<'_>>, Complaint> {
    let file = wanted.file;
    if let Some(bytes) = file.stand_in.as_deref().and_then(|name| smaller::stand_in(name, scale)) {
        return Ok(Ok(Content::Bytes(bytes)));
    }
    if scale == Scale::Full && file.computed {
        return Ok(Err(SeedEvent::Computed { wanted }));
    }
    let tensors = match (scale, &file.seed, &file.tiny) {
        (Scale::Full, Some(seeding), _) => Some(tensors(seeding)?),
        (Scale::Full, None, _) => return Ok(Err(SeedEvent::NoWeights { wanted })),
        (Scale::Tiny, Some(_), Some(tiny)) => Some(Inventory::tiny(tiny)?.tensors),
        (Scale::Tiny, None, Some(tiny)) => {
            return Ok(Ok(Content::Bytes(inventory::tiny_config(tiny)?.as_bytes())));
        }
        (Scale::Tiny | Scale::Small, Some(seeding), _) => smaller::tensors(&seeding.inventory, scale)?,
        (Scale::Tiny | Scale::Small, None, _) => None,
    };
    let (Some(seeding), Some(tensors)) = (&file.seed, tensors) else {
        return Ok(Err(SeedEvent::NotAtScale { wanted }));
    };
    Ok(Ok(match seeding.form {
        Form::SafetensorsIndex => Content::Index(shards::numbered(tensors, scale)),
        Form::SafetensorsShard => {
            let number = shards::number_in(file.path.file_name()).ok_or_else(|| {
                let message = format!("{} is no name of a shard", file.path);
                Complaint::new("bad_catalogue", message, "")
            })?;
            let own = shards::numbered(tensors, scale).into_iter().filter(|(of, _)| *of == number);
            Content::Weights(seeding.form, None, own.map(|(_, tensor)| tensor).collect())
        }
        form => Content::Weights(form, seeding.nested.clone(), tensors),
    }))
}

/// Writes the seeded files of `wanted` below `folder`; `tell` hears of each.
pub fn seed(
    wanted: &[Wanted<'_>],
    (salt, scale): (&str, Scale),
    folder: &Path,
    stop: &Stop,
    tell: &mut dyn FnMut(SeedEvent<'_>),
) -> Result<(), Complaint> {
    let mut plan = Vec::new();
    for &wanted in wanted {
        match content(wanted, scale)? {
            Ok(content) => plan.push((wanted, content)),
            Err(left_out) => tell(left_out),
        }
    }
    std::fs::create_dir_all(folder).map_err(|error| fresh::unwritable(folder, &error))?;
    let needed = plan.iter().map(|(_, content)| content.bytes()).sum();
    room::check(folder, needed)?;
    if let Some((wanted, _)) = plan.iter().find(|(wanted, _)| wanted.file.place.under(folder).exists()) {
        let message = format!("{} is there already", wanted.file.place.under(folder).display());
        return Err(Complaint::new(
            "file_exists",
            message,
            "seeded weights replace nothing: name another folder",
        ));
    }
    for (wanted, content) in plan {
        tell(SeedEvent::Begun { wanted, bytes: content.bytes() });
        let path = wanted.file.place.under(folder);
        let fresh = Fresh::create(&path)?;
        let mut pen = Pen { out: BufWriter::with_capacity(BLOCK, &fresh.file), salt, stop, tell };
        let written = match &content {
            Content::Bytes(bytes) => pen.bytes(bytes),
            Content::Index(tensors) => shards::write_index(&mut pen, tensors, wanted.file.path.file_name()),
            Content::Weights(form, nested, tensors) => match form {
                Form::Safetensors | Form::SafetensorsShard | Form::SafetensorsIndex => {
                    safetensors::write(&mut pen, tensors)
                }
                Form::QuantoInt8 => quanto::write(&mut pen, tensors, quanto::Kind::Int8),
                Form::QuantoFp8 => quanto::write(&mut pen, tensors, quanto::Kind::Fp8),
                Form::QuantoInt8Map => quanto::write_map(&mut pen, tensors, quanto::Kind::Int8),
                Form::QuantoFp8Map => quanto::write_map(&mut pen, tensors, quanto::Kind::Fp8),
                Form::TorchZip => torch_zip::write(&mut pen, tensors, nested.as_deref()),
                Form::TorchLegacy => torch_legacy::write(&mut pen, tensors),
            },
        };
        let written = written.and_then(|()| pen.out.flush());
        drop(pen);
        match written {
            Ok(()) => fresh.finish()?,
            Err(_) if stop.is_stopped() => {
                return Err(Complaint::new("canceled", "canceled; the files that were finished stay", ""));
            }
            Err(error) => return Err(fresh::unwritable(&path, &error)),
        }
        tell(SeedEvent::Done { wanted, path: &path });
    }
    Ok(())
}

fn tensors(seeding: &Seeding) -> Result<Vec<Tensor>, Complaint> {
    let mut tensors = Inventory::named(&seeding.inventory)?.tensors;
    if let Some(dtype) = &seeding.dtype {
        let dtype = Dtype::named(dtype).ok_or_else(|| {
            Complaint::new("bad_catalogue", format!("the catalogue names the unknown dtype {dtype}"), "")
        })?;
        tensors
            .iter_mut()
            .filter(|tensor| tensor.dtype != Dtype::I64)
            .for_each(|tensor| tensor.dtype = dtype);
    }
    Ok(tensors)
}

/// What the formats write with.
struct Pen<'a, 'f> {
    out: BufWriter<&'f File>,
    salt: &'a str,
    stop: &'a Stop,
    tell: &'a mut dyn FnMut(SeedEvent<'_>),
}

impl Pen<'_, '_> {
    fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.out.write_all(bytes)
    }

    fn position(&mut self) -> std::io::Result<u64> {
        self.out.stream_position()
    }

    /// The values of a tensor in its dtype, little-endian, block by block; `each` sees every block.
    fn tensor(&mut self, tensor: &Tensor, mut each: impl FnMut(&[u8])) -> std::io::Result<()> {
        let mut block = Vec::with_capacity(BLOCK);
        let elements = tensor.elements();
        let step = BLOCK as u64 / tensor.dtype.bytes();
        let mut at = 0;
        while at < elements {
            if self.stop.is_stopped() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let end = elements.min(at + step);
            block.clear();
            fill(&mut block, self.salt, tensor, at..end);
            each(&block);
            self.out.write_all(&block)?;
            (self.tell)(SeedEvent::Wrote { bytes: block.len() as u64 });
            at = end;
        }
        Ok(())
    }
}

fn fill(block: &mut Vec<u8>, salt: &str, tensor: &Tensor, range: std::ops::Range<u64>) {
    let Filling::Uniform { offset, amp } = filling(&tensor.key, &tensor.shape) else {
        block.resize((range.end - range.start) as usize * tensor.dtype.bytes() as usize, 0);
        return;
    };
    let stream = Stream::new(salt, &tensor.key, (offset, amp));
    let values = range.map(|index| stream.at(index));
    match tensor.dtype {
        Dtype::F32 => values.for_each(|v| block.extend(v.to_le_bytes())),
        Dtype::F16 => values.for_each(|v| block.extend(half::f16::from_f32(v).to_le_bytes())),
        Dtype::BF16 => values.for_each(|v| block.extend(half::bf16::from_f32(v).to_le_bytes())),
        Dtype::I64 => values.for_each(|v| block.extend((v as i64).to_le_bytes())),
    }
}
