//! What merging costs in memory, counted by an allocator of its own: the net that stays, and a few blocks of one tensor.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor};
use engine_infinitetalk::weights::{Lora, Loras, Rules, Source};
use layers::weights::{Checkpoint, Inventory};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every request goes to the system's allocator unchanged; the counters do not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LAYERS: usize = 6;
const WIDE: usize = 2048;
/// Of f32, as it is merged: a quarter of a tensor.
const BLOCK_BYTES: usize = 4 << 20;
const RANK: usize = 8;

#[test]
fn a_net_with_a_lora_is_never_held_twice() {
    let folder = tempfile::tempdir().unwrap();
    let key = |i: usize| format!("blocks.{i}.q.weight");
    let ones = |shape: (usize, usize)| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
    let base = folder.path().join("base.safetensors");
    let tensors: HashMap<String, Tensor> = (0..LAYERS).map(|i| (key(i), ones((WIDE, WIDE)))).collect();
    candle_core::safetensors::save(&tensors, &base).unwrap();
    drop(tensors);
    let path = folder.path().join("lora.safetensors");
    let pair = |i: usize| {
        let key = |part: &str| format!("diffusion_model.blocks.{i}.q.{part}.weight");
        [(key("lora_down"), ones((RANK, WIDE))), (key("lora_up"), ones((WIDE, RANK)))]
    };
    let tensors: HashMap<String, Tensor> = (0..LAYERS).flat_map(pair).collect();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    drop(tensors);
    let net = Inventory::of_shapes((0..LAYERS).map(|i| (key(i), vec![WIDE, WIDE])));

    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let loras = Loras::open(&[Lora { path, scale: 0.5 }], Rules::AsWritten, &net).unwrap();
    let vb = Source::of(Checkpoint::open(&base).unwrap()).with(loras).into_builder(DType::BF16, &Device::Cpu);
    let held: Vec<Tensor> = (0..LAYERS).map(|i| vb.get((WIDE, WIDE), &key(i)).unwrap()).collect();
    let most = PEAK.load(Ordering::Relaxed) - before;

    let value = held[4].get(3).unwrap().get(5).unwrap().to_dtype(DType::F32).unwrap();
    assert_eq!(value.to_scalar::<f32>().unwrap(), 1.0 + 0.5 * RANK as f32);
    let net = LAYERS * WIDE * WIDE * 2;
    println!("{most} bytes at most for a net of {net} bytes");
    // of one block: its values, the product, and the product's values; a MiB for the small things
    assert!(most <= net + 4 * BLOCK_BYTES + (1 << 20), "{most} bytes for a net of {net}");
}
