//! What reading weights costs in memory, counted by an allocator of its own and, on Linux, by the kernel.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor};
use layers::weights::{Checkpoint, Outline};

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

/// One measurement at a time, also where tests share a process.
static TURN: Mutex<()> = Mutex::new(());

/// The most that was held at once during `work`, above what was held before.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

#[cfg(target_os = "linux")]
fn resident_peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

const TENSORS: usize = 50;
const TENSOR_BYTES: usize = 4 << 20;

/// 50 tensors of 4 MiB, written in pieces.
fn checkpoint(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("model.safetensors");
    let mut entries = Vec::new();
    for i in 0..TENSORS {
        let (begin, end) = (i * TENSOR_BYTES, (i + 1) * TENSOR_BYTES);
        let n = TENSOR_BYTES / 4;
        entries.push(format!(
            "\"w{i:02}\":{{\"dtype\":\"F32\",\"shape\":[{n}],\"data_offsets\":[{begin},{end}]}}"
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    for i in 0..TENSORS {
        let block: Vec<u8> =
            (0..1 << 16).flat_map(|j: u32| ((i as u32 * 7 + j) as f32).to_le_bytes()).collect();
        for _ in 0..TENSOR_BYTES / block.len() {
            file.write_all(&block).unwrap();
        }
    }
    path
}

#[test]
fn loading_costs_the_net_and_one_tensor() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    let (model, slack) = (TENSORS * TENSOR_BYTES, 2 << 20);
    let load = |dtype: DType| -> Vec<Tensor> {
        let vb = Checkpoint::open(&path).unwrap().into_builder(dtype, &Device::Cpu);
        (0..TENSORS).map(|i| vb.get(TENSOR_BYTES / 4, &format!("w{i:02}")).unwrap()).collect()
    };
    #[cfg(target_os = "linux")]
    let before = resident_peak();
    let (tensors, most) = peak(|| load(DType::F32));
    assert_eq!(tensors[3].get(5).unwrap().to_scalar::<f32>().unwrap(), 26.0);
    assert!(most >= model && most <= model + TENSOR_BYTES + slack, "{most} bytes for a net of {model}");
    #[cfg(target_os = "linux")]
    {
        let grown = resident_peak() - before;
        assert!(grown <= model + TENSOR_BYTES + 16 * slack, "{grown} bytes resident for a net of {model}");
    }
    drop(tensors);
    let (_, most) = peak(|| load(DType::BF16));
    assert!(most <= model / 2 + TENSOR_BYTES + slack, "{most} bytes for a net of {}", model / 2);
}

#[test]
fn a_hostile_pickle_takes_memory_in_proportion_to_its_file() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pth");
    let head = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}U\x0dlittle_endian\x88s.\x80\x02";
    // one dict of many pairs, under many names: to be looked at once
    let times = |item: &[u8]| item.repeat(200_000);
    let names = [&b"}(U\x01a}q\x00("[..], &times(b"NN"), b"u", &times(b"Nh\x00"), b"u.\x80\x02]."].concat();
    // tensors that share a shape of a million axes
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n\
        ((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01NtQK\x00h\x00h\x00\x89NtR";
    let tensors: Vec<u8> = (b'a'..=b'z').flat_map(|name| [&[b'U', 1, name], &tensor[..]].concat()).collect();
    let storage = [&1u64.to_le_bytes()[..], &1f32.to_le_bytes()].concat();
    let shape = b"K\x01".repeat(1 << 20);
    let axes = [&b"}("[..], &shape, b"tq\x000(", &tensors, b"u.\x80\x02]U\x010a.", &storage].concat();
    for (name, body) in [
        ("names of a dict", names),
        ("axes", axes),
        ("lists", vec![b']'; 1 << 20]),
        ("marks", vec![b'('; 1 << 20]),
        ("a copied top", [&b"]"[..], &vec![b'2'; 1 << 20]].concat()),
        ("a memo", [&b"]"[..], &vec![0x94; 1 << 20]].concat()),
        ("a length", b"\x8d\xff\xff\xff\xff\xff\xff\xff\x00".to_vec()),
        ("a place in the memo", b"]r\xff\xff\xff\xff".to_vec()),
    ] {
        let bytes = [&head[..], &body].concat();
        std::fs::write(&path, &bytes).unwrap();
        let (opened, most) = peak(|| Checkpoint::open(&path).is_ok());
        assert!(!opened);
        assert!(most <= 64 * bytes.len() + (64 << 10), "{name}: {most} bytes for a file of {}", bytes.len());
    }
}

#[test]
fn the_outline_of_a_net_of_fourteen_billion_weights_is_small() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let ((inventory, weights), most) = peak(|| {
        let outline = Outline::new();
        let vb = outline.builder();
        let block = |i: usize| {
            let vb = vb.pp("blocks").pp(i);
            let linear = |o: usize, i: usize, name: &str| {
                layers::Linear::load(i, o, layers::Bias::Yes, vb.pp(name)).unwrap()
            };
            let attention = ["q", "k", "v", "o"].map(|name| linear(5120, 5120, name));
            (attention, [linear(13824, 5120, "ffn.0"), linear(5120, 13824, "ffn.2")])
        };
        let blocks: Vec<_> = (0..60).map(block).collect();
        let inventory = outline.inventory();
        drop(blocks);
        let weights: usize = inventory.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        (inventory, weights)
    });
    assert_eq!(inventory.len(), 60 * 12);
    assert!(weights > 14_000_000_000, "{weights}");
    assert!(most < 4 << 20, "{most} bytes for an outline");
}
