//! The crop of the VAE's golden case is ours, and pasting allocates nothing once it has its memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine_musetalk::blend::Paster;
use engine_musetalk::face_crop::{FaceCropper, SIDE};
use engine_musetalk::mask::SoftMask;
use golden::CaseFile;
use pictures::{Plane, Rect, Rgb};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every request goes to the system's allocator unchanged; the counter does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn crop_is_that_of_the_case() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/musetalk/vae_encode.safetensors");
    let file = CaseFile::open(&path).unwrap();
    let bytes = |name: &str| -> (Vec<u8>, (usize, usize)) {
        let tensor = file.tensor(name).unwrap();
        let (h, w, _) = tensor.dims3().unwrap();
        (tensor.flatten_all().unwrap().to_vec1().unwrap(), (w, h))
    };
    let (crop, size) = bytes("in.crop_bgr_u8");
    let crop = Rgb::new(crop, size).unwrap();
    let mut cropper = FaceCropper::default();
    let face = cropper.crop(crop.view(), Rect::new(0, 0, size.0 as i32, size.1 as i32)).unwrap();
    assert_eq!(face.to_picture().bytes(), bytes("in.crop256_bgr_u8").0);
}

fn pasting_allocates_nothing() {
    let mut frame = Rgb::blank((640, 360)).unwrap();
    let face = Rgb::new(vec![90; SIDE * SIDE * 3], (SIDE, SIDE)).unwrap();
    let places = [Rect::new(100, 50, 330, 350), Rect::new(104, 52, 330, 348), Rect::new(-9, 20, 119, 148)];
    let masks = places.map(|place| {
        let alpha = vec![128; (place.width() * place.height()) as usize];
        let size = (place.width() as usize, place.height() as usize);
        SoftMask::new(place, Plane::new(alpha, size).unwrap()).unwrap()
    });
    let mut paster = Paster::default();
    let mut paste = |i: usize| paster.paste(&mut frame.view_mut(), face.view(), places[i], &masks[i]);
    (0..3).for_each(&mut paste);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..30).for_each(|i| paste(i % 3));
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
}

/// One test, so that nothing else allocates beside it.
#[test]
fn cropping_and_pasting() {
    crop_is_that_of_the_case();
    pasting_allocates_nothing();
}
