//! `seed`: writes seeded weights in the files of the official layout, so that loaders and engines can be tried at full size
//! without a download. Never holds more than a block of one tensor. Refuses to write over a file.

mod safetensors;
mod shards;
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
    /// The same nets with a few channels, and the configs that say so: a take in seconds.
    Tiny,
}

/// What is written in a file's place.
enum Content {
    Weights(Form, Option<String>, Vec<Tensor>),
    Config(&'static str),
}

impl Content {
    fn bytes(&self) -> u64 {
        match self {
            Content::Weights(form, _, tensors) => on_disk(*form, tensors),
            Content::Config(text) => text.len() as u64,
        }
    }
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
        match (scale, &wanted.file.seed, &wanted.file.tiny) {
            (Scale::Full, Some(seeding), _) => {
                plan.push((
                    wanted,
                    Content::Weights(seeding.form, seeding.nested.clone(), tensors(seeding)?),
                ));
            }
            (Scale::Tiny, Some(seeding), Some(tiny)) => {
                let tensors = Inventory::tiny(tiny)?.tensors;
                plan.push((wanted, Content::Weights(seeding.form, seeding.nested.clone(), tensors)));
            }
            (Scale::Tiny, None, Some(tiny)) => {
                plan.push((wanted, Content::Config(inventory::tiny_config(tiny)?)))
            }
            (Scale::Tiny, _, None) => tell(SeedEvent::NotAtScale { wanted }),
            (Scale::Full, None, _) if wanted.file.computed => tell(SeedEvent::Computed { wanted }),
            (Scale::Full, None, _) => tell(SeedEvent::NoWeights { wanted }),
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
            Content::Config(text) => pen.bytes(text.as_bytes()),
            Content::Weights(form, nested, tensors) => match form {
                Form::Safetensors => safetensors::write(&mut pen, tensors),
                Form::SafetensorsShard => safetensors::write(&mut pen, shards::first(tensors)),
                Form::SafetensorsIndex => {
                    shards::write_index(&mut pen, tensors, wanted.file.path.file_name())
                }
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

/// Bytes of the tensors that a file holds; headers are small beside them.
fn on_disk(form: Form, tensors: &[Tensor]) -> u64 {
    let held = match form {
        Form::SafetensorsShard => shards::first(tensors),
        Form::SafetensorsIndex => &[],
        Form::Safetensors | Form::TorchZip | Form::TorchLegacy => tensors,
    };
    held.iter().map(Tensor::bytes).sum()
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
