//! What a chunk costs, and how the model is laid out in memory for it: FLOP, bytes and seconds as functions of the model's size, the picture's and
//! the machine's. `talkie plan infinitetalk` prints it, and the engine does what it says. Figures of FLOP count a multiplication and an addition
//! as two.

use contract::{Complaint, Fps, Size};

/// Numbers in the parts of the model, and the lengths that decide its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelSize {
    pub dim: u64,
    pub ffn_dim: u64,
    pub layers: u64,
    pub heads: u64,
    pub block_parameters: u64,
    /// Of the DiT, outside its blocks.
    pub other_parameters: u64,
    pub text_parameters: u64,
    pub clip_parameters: u64,
    pub vae_parameters: u64,
    pub ear_parameters: u64,
}

impl ModelSize {
    /// Wan2.1-I2V-14B with InfiniteTalk's modules, as released.
    pub const RELEASED: Self = Self {
        dim: 5120,
        ffn_dim: 13_824,
        layers: 40,
        heads: 40,
        block_parameters: 403_838_464 + 60_323_840,
        other_parameters: 18_882_046_784 - 40 * (403_838_464 + 60_323_840),
        text_parameters: 5_680_910_336,
        clip_parameters: 632_076_800,
        vae_parameters: 126_892_531,
        ear_parameters: 94_371_712,
    };

    /// The base alone.
    pub const WITHOUT_AUDIO: Self = Self {
        block_parameters: 403_838_464,
        other_parameters: 16_394_878_784 - 40 * 403_838_464,
        ear_parameters: 0,
        ..Self::RELEASED
    };

    /// Of the text encoder, CLIP, the ear and the VAE in memory.
    pub fn bytes_beside(&self, numbers: Numbers) -> [u64; 4] {
        [
            numbers.of_text().bytes(self.text_parameters),
            Numbers::F32.bytes(self.clip_parameters),
            Numbers::F32.bytes(self.ear_parameters),
            Numbers::F32.bytes(self.vae_parameters),
        ]
    }
}

/// Rows of text and picture that every token looks at.
const CONTEXT: u64 = 512 + 257;
/// Rows of sound of one person that every token looks at.
const SOUND: u64 = 32;
/// Width of a row of sound.
const SOUND_WIDTH: u64 = 768;
/// FLOP a pixel of the chunk's first 81 frames, from the VAE's layers: 0.168 and 0.283 PFLOP at 640 x 640.
const ENCODE_PER_PIXEL: f64 = 0.168e15 / (640.0 * 640.0 * 81.0);
const DECODE_PER_PIXEL: f64 = 0.283e15 / (640.0 * 640.0 * 81.0);

/// How weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    F32,
    Bf16,
    /// Blocks of 32 bytes with a scale.
    Q8,
}

impl Numbers {
    pub fn name(self) -> &'static str {
        match self {
            Numbers::F32 => "f32",
            Numbers::Bf16 => "bf16",
            Numbers::Q8 => "q8_0",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::F32, Self::Bf16, Self::Q8].into_iter().find(|numbers| numbers.name() == name)
    }

    pub fn bytes(self, parameters: u64) -> u64 {
        match self {
            Numbers::F32 => parameters * 4,
            Numbers::Bf16 => parameters * 2,
            Numbers::Q8 => parameters / 32 * 34,
        }
    }

    /// Of the text encoder, which is rounded to no less than its released numbers.
    fn of_text(self) -> Self {
        match self {
            Numbers::F32 => Numbers::F32,
            Numbers::Bf16 | Numbers::Q8 => Numbers::Bf16,
        }
    }
}

/// What is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub size: Size,
    /// 4k + 1.
    pub frame_num: usize,
    pub motion_frame: usize,
    pub steps: usize,
    /// 1 to 3.
    pub forwards_per_step: usize,
    pub persons: usize,
    /// CLIP looks anew for each chunk: its place is taken as long as the take goes on.
    pub moves: bool,
    /// Of the video.
    pub fps: Fps,
}

impl Work {
    /// Of the DiT: one for each 2 x 2 latent pixels of each latent frame.
    pub fn tokens(&self) -> u64 {
        let latents = self.frame_num as u64 / 4 + 1;
        latents * u64::from(self.size.width / 16) * u64::from(self.size.height / 16)
    }
}

/// Of one forward of the DiT.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ForwardFlop {
    /// Products of self attention with its weights.
    pub linear: f64,
    pub attention: f64,
    /// Text and picture.
    pub cross: f64,
    pub audio: f64,
    pub ffn: f64,
    /// Which of two persons a token belongs to.
    pub map: f64,
}

impl ForwardFlop {
    pub fn of(model: &ModelSize, work: &Work) -> Self {
        let s = work.tokens() as f64;
        let (d, layers) = (model.dim as f64, model.layers as f64);
        let latents = (work.frame_num / 4 + 1) as f64;
        let sound = (SOUND * work.persons as u64) as f64;
        let hears = if work.persons > 0 { layers } else { 0.0 };
        let keys = 2.0 * 2.0 * CONTEXT as f64 * d * d;
        Self {
            linear: layers * 4.0 * 2.0 * s * d * d,
            attention: layers * 4.0 * s * s * d,
            cross: layers * (2.0 * 2.0 * s * d * d + keys + 4.0 * s * CONTEXT as f64 * d),
            audio: hears
                * (2.0 * 2.0 * s * d * d
                    + 2.0 * latents * sound * SOUND_WIDTH as f64 * 2.0 * d
                    + 4.0 * s * sound * d),
            ffn: layers * 2.0 * 2.0 * s * d * model.ffn_dim as f64,
            map: if work.persons > 1 {
                layers * 2.0 * s * (s / latents) * (d + 3.0 * model.heads as f64)
            } else {
                0.0
            },
        }
    }

    pub fn total(&self) -> f64 {
        self.linear + self.attention + self.cross + self.audio + self.ffn + self.map
    }
}

/// Where it is to be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Of the device that computes: a card's own memory, or the machine's.
    pub memory_bytes: u64,
    /// FLOP a second that products of this size reach there.
    pub flop_per_second: f64,
    /// Bytes a second at which blocks that are not resident come: over PCIe, or from the disk.
    pub stream_bytes_per_second: f64,
    /// The device has memory of its own, beside which the blocks lie in the machine's.
    pub own_memory: bool,
}

/// How it is laid out, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    pub numbers: Numbers,
    /// Of the blocks, those that stay; the others come for each forward, one ahead of the one that computes.
    pub resident_blocks: usize,
    pub blocks: usize,
    /// Text encoder, CLIP and the ear stay between takes; otherwise they leave when they have encoded.
    pub encoders_stay: bool,
    /// Of the DiT's weights on the device.
    pub dit_bytes: u64,
    pub device_bytes: u64,
    pub host_bytes: u64,
    pub forward: ForwardFlop,
    pub seconds_per_forward: f64,
    /// Of a chunk that is not the first.
    pub seconds_per_chunk: f64,
    /// Seconds of work for a second of video, chunk after chunk.
    pub seconds_per_second: f64,
}

/// The device's memory is not planned to the last byte: allocators and libraries take some.
const RESERVE: f64 = 0.92;
/// Pictures of `dim` that live at the same time in a block: x, its norm, q, k, v, the output, and what one of them is copied to.
const LIVE_PICTURES: u64 = 7;

impl Plan {
    /// The fastest that fits.
    pub fn best(
        model: &ModelSize,
        work: &Work,
        machine: &Machine,
        numbers: Numbers,
    ) -> Result<Self, Complaint> {
        let blocks = model.layers as usize;
        let least = Self::with(model, work, machine, Layout { numbers, resident: 0, encoders_stay: false });
        let room = (machine.memory_bytes as f64 * RESERVE) as u64;
        if least.device_bytes > room {
            let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
            return Err(Complaint::new(
                "out_of_memory",
                format!(
                    "{} x {} needs {:.1} GiB even with every block streamed, there are {:.1} GiB",
                    work.size.width,
                    work.size.height,
                    gib(least.device_bytes),
                    gib(room)
                ),
                "choose resolution 480, or a device with more memory",
            ));
        }
        // blocks are read for every forward, the encoders once a take: blocks first
        let fits = |resident: usize, encoders_stay: bool| {
            let plan = Self::with(model, work, machine, Layout { numbers, resident, encoders_stay });
            (plan.device_bytes <= room).then_some(plan)
        };
        if let Some(all) = fits(blocks, true) {
            return Ok(all);
        }
        let most = (0..=blocks).rev().find_map(|resident| fits(resident, false));
        Ok(most.unwrap_or(least))
    }

    /// As this one, with `resident` blocks.
    pub fn resident(
        model: &ModelSize,
        work: &Work,
        machine: &Machine,
        (numbers, resident): (Numbers, usize),
    ) -> Self {
        let resident = resident.min(model.layers as usize);
        Self::with(model, work, machine, Layout { numbers, resident, encoders_stay: false })
    }

    /// What to try when the device has no room for this one; `None`: there is nothing smaller.
    pub fn smaller(&self) -> Option<usize> {
        (self.resident_blocks > 0).then(|| self.resident_blocks.saturating_sub((self.blocks / 4).max(1)))
    }

    fn with(model: &ModelSize, work: &Work, machine: &Machine, layout: Layout) -> Self {
        let Layout { numbers, resident, encoders_stay } = layout;
        let blocks = model.layers as usize;
        let streamed = blocks - resident;
        // rounded blocks are multiplied as they are by a processor only
        let held = if machine.own_memory && numbers == Numbers::Q8 { Numbers::Bf16 } else { numbers };
        let block = held.bytes(model.block_parameters);
        let other = held.bytes(model.other_parameters);
        let [text, clip, ear, vae] = model.bytes_beside(numbers);
        let encoders = text + clip + ear;
        // a card computes in bf16, a processor in f32, whatever the weights are held as
        let (tokens, width) = (work.tokens(), if machine.own_memory { 2 } else { 4 });
        let activations = tokens * width * (LIVE_PICTURES * model.dim + model.ffn_dim)
            + work.persons.saturating_sub(1) as u64 * tokens * 4 * 3;
        // four frames of the decoder's widest layer, a few of them at a time
        let decoding = 4 * u64::from(work.size.width) * u64::from(work.size.height) * 192 * 4 * 3;
        let waiting = streamed.min(2) as u64 * block;
        let denoising = resident as u64 * block + other + waiting + activations;
        let kept = match (encoders_stay, work.moves) {
            (true, _) => encoders,
            (false, true) => clip,
            (false, false) => 0,
        };
        let resident_bytes = resident as u64 * block + other;
        let device_bytes = (denoising + kept + vae).max(resident_bytes + kept + vae + decoding);
        // encoders that do not stay have the place of the activations while they work
        let device_bytes =
            if encoders_stay { device_bytes } else { device_bytes.max(resident_bytes + encoders) };
        let host_bytes = match machine.own_memory {
            true => streamed as u64 * block + (1 << 30),
            false => device_bytes,
        };
        let forward = ForwardFlop::of(model, work);
        let computing = forward.total() / machine.flop_per_second;
        let streaming = (streamed as u64 * block) as f64 / machine.stream_bytes_per_second;
        let seconds_per_forward = computing.max(streaming);
        let pixels = f64::from(work.size.width) * f64::from(work.size.height);
        let decode = DECODE_PER_PIXEL * pixels * work.frame_num as f64 / machine.flop_per_second;
        let motion = ENCODE_PER_PIXEL * pixels * work.motion_frame as f64 / machine.flop_per_second;
        let forwards = (work.steps * work.forwards_per_step) as f64;
        let seconds_per_chunk = forwards * seconds_per_forward + decode + motion;
        let fresh = work.frame_num.saturating_sub(work.motion_frame).max(1) as f64;
        Self {
            numbers,
            resident_blocks: resident,
            blocks,
            encoders_stay,
            dit_bytes: resident_bytes + waiting,
            device_bytes,
            host_bytes,
            forward,
            seconds_per_forward,
            seconds_per_chunk,
            seconds_per_second: seconds_per_chunk / (fresh / work.fps.as_f64()),
        }
    }
}

#[derive(Clone, Copy)]
struct Layout {
    numbers: Numbers,
    resident: usize,
    encoders_stay: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(width: u32, height: u32) -> Work {
        Work {
            size: Size::new(width, height),
            frame_num: 81,
            motion_frame: 9,
            steps: 40,
            forwards_per_step: 3,
            persons: 1,
            moves: false,
            fps: Fps::whole(25),
        }
    }

    fn card(gib: u64) -> Machine {
        Machine {
            memory_bytes: gib << 30,
            flop_per_second: 790e12,
            stream_bytes_per_second: 50e9,
            own_memory: true,
        }
    }

    /// Of one forward, PFLOP: linear, attention, cross, audio, ffn; and seconds at 790 TFLOP/s.
    #[test]
    fn a_forward_costs_what_its_layers_add_up_to() {
        for ((width, height), parts, seconds) in [
            ((640, 640), [0.282, 0.925, 0.165, 0.142, 0.381], 2.40),
            ((960, 960), [0.634, 4.682, 0.368, 0.319, 0.856], 8.68),
            ((832, 448), [0.256, 0.766, 0.151, 0.129, 0.346], 2.09),
        ] {
            let work = work(width, height);
            let flop = ForwardFlop::of(&ModelSize::RELEASED, &work);
            let ours = [flop.linear, flop.attention, flop.cross, flop.audio, flop.ffn];
            for (ours, expected) in ours.into_iter().zip(parts) {
                assert!((ours / 1e15 - expected).abs() < 0.002, "{width}x{height}: {ours} {expected}");
            }
            assert!((flop.total() / 790e12 - seconds).abs() < 0.01);
        }
        let two = Work { persons: 2, ..work(640, 640) };
        let map = ForwardFlop::of(&ModelSize::RELEASED, &two).map / 1e15;
        assert!((map - 0.0225).abs() < 0.003, "{map}");
    }

    #[test]
    fn a_clip_keeps_clip_in_memory_and_a_slower_video_costs_less() {
        // where the activations take more than the encoders did in their place
        let processor = Machine { own_memory: false, ..card(128) };
        let of = |work| Plan::resident(&ModelSize::RELEASED, &work, &processor, (Numbers::Bf16, 40));
        let still = of(work(960, 960));
        let moving = of(Work { moves: true, fps: Fps::whole(16), ..work(960, 960) });
        assert_eq!(moving.device_bytes - still.device_bytes, 4 * ModelSize::RELEASED.clip_parameters);
        assert!((still.seconds_per_second / moving.seconds_per_second - 25.0 / 16.0).abs() < 1e-9);
    }

    #[test]
    fn more_memory_keeps_more_blocks() {
        let plan = |gib| Plan::best(&ModelSize::RELEASED, &work(640, 640), &card(gib), Numbers::Bf16);
        let large = plan(141).unwrap();
        assert_eq!((large.resident_blocks, large.encoders_stay), (40, true));
        let (h100, rtx) = (plan(80).unwrap(), plan(24).unwrap());
        assert!(h100.resident_blocks == 40 && rtx.resident_blocks < 40 && rtx.resident_blocks > 0, "{rtx:?}");
        for (gib, plan) in [(80, h100), (24, rtx)] {
            assert!(plan.device_bytes <= gib << 30, "{plan:?}");
        }
        // 40 x 3 forwards of 2.4 s and the VAE for 2.88 s of video
        assert!((large.seconds_per_second - 100.0).abs() < 1.0, "{large:?}");
        let none = plan(4).unwrap_err();
        assert!(none.message.contains("640 x 640 needs"), "{none}");
    }

    #[test]
    fn a_plan_that_does_not_fit_after_all_gives_way_to_smaller_ones() {
        let mut plan = Plan::best(&ModelSize::RELEASED, &work(640, 640), &card(80), Numbers::Bf16).unwrap();
        let mut tried = vec![plan.resident_blocks];
        while let Some(resident) = plan.smaller() {
            plan =
                Plan::resident(&ModelSize::RELEASED, &work(640, 640), &card(80), (Numbers::Bf16, resident));
            tried.push(plan.resident_blocks);
        }
        assert_eq!(tried, [40, 30, 20, 10, 0]);
    }
}
