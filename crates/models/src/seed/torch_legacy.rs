//! torch's format before 1.6: five pickles (magic number, version, sizes of the machine, the object, the storages' keys), then
//! every storage behind its count of elements. Reference: `torch/serialization.py`, `_legacy_save`.

use super::Pen;
use crate::inventory::Tensor;
use crate::pickle::{Pickle, Storage};

/// 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: u64 = 1001;

pub fn write(pen: &mut Pen<'_, '_>, tensors: &[Tensor]) -> std::io::Result<()> {
    let mut magic = Pickle::new();
    magic.long(&MAGIC);
    pen.bytes(&magic.finish())?;

    let mut version = Pickle::new();
    version.int(VERSION);
    pen.bytes(&version.finish())?;

    let mut machine = Pickle::new();
    machine.begin_dictionary().text("protocol_version").int(VERSION).text("little_endian").yes();
    machine.text("type_sizes").begin_dictionary();
    machine.text("short").int(2).text("int").int(4).text("long").int(4).end_items().end_items();
    pen.bytes(&machine.finish())?;

    let mut object = Pickle::new();
    object.begin_ordered();
    for (key, tensor) in tensors.iter().enumerate() {
        object.text(&tensor.key).tensor(tensor, key, Storage::Legacy);
    }
    object.end_items();
    pen.bytes(&object.finish())?;

    let mut keys = Pickle::new();
    keys.op(b']').op(b'(');
    (0..tensors.len()).for_each(|key| {
        keys.text(&key.to_string());
    });
    keys.op(b'e');
    pen.bytes(&keys.finish())?;

    for tensor in tensors {
        pen.bytes(&tensor.elements().to_le_bytes())?;
        pen.tensor(tensor, |_| {})?;
    }
    Ok(())
}
