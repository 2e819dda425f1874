//! Takes of tiny nets: what arrives, what a resumed take gives, what stops one, and what the options change.

use std::cell::Cell;

use candle_core::{DType, Device, Tensor};
use contract::Stopped;
use engine_infinitetalk::nets::dit::{Dit, DitConfig, Loading, Pass, Step, Variant, Watch};
use engine_infinitetalk::nets::wan_vae::{WanVae, WanVaeConfig};
use engine_infinitetalk::sampler::guidance::Guidance;
use engine_infinitetalk::sampler::plan::{ChunkPlan, ChunkShape};
use engine_infinitetalk::sampler::schedule::{Schedule, Spacing};
use engine_infinitetalk::sampler::teacache::{Fit, TeaCache};
use engine_infinitetalk::sampler::{
    Anchor, ChunkState, ColourReference, Condition, Drift, Film, Look, Nets, Noise, Progress, Prompt,
    SamplerError, Sampling, Scene, Speech, Take, Watcher,
};
use golden::Seeded;
use layers::Probe;

const WIDTH: usize = 32;
const HEIGHT: usize = 16;

struct Studio {
    dit: Dit,
    vae: WanVae,
}

impl Studio {
    fn new(variant: Variant) -> Self {
        let cfg = DitConfig {
            dim: 64,
            ffn_dim: 64,
            freq_dim: 16,
            num_heads: 2,
            num_layers: 2,
            text_len: 8,
            text_dim: 16,
            intermediate_dim: 8,
            output_dim: 16,
            context_tokens: 4,
            variant,
            ..DitConfig::infinitetalk_14b()
        };
        let vb = Seeded::new("film").builder(DType::F32, &Device::Cpu);
        let vae = WanVaeConfig { dim: 8, num_res_blocks: 1, ..WanVaeConfig::wan_2_1() };
        Self {
            dit: Dit::load(&cfg, &Loading::default(), vb.clone()).unwrap(),
            vae: WanVae::load(&vae, vb).unwrap(),
        }
    }

    fn nets(&self) -> Nets<'_> {
        Nets { dit: &self.dit, vae: &self.vae }
    }

    fn condition(&self, frame: &Tensor) -> Condition {
        Condition::new(self.nets(), frame, &random("hidden", &[1, 257, 1280]), shape(), &|| false).unwrap()
    }

    fn still<'a>(&self) -> Scene<'a> {
        Scene::Still(self.condition(&picture("still")))
    }

    /// Of speech of so many frames.
    fn take(&self, frames: usize) -> Take {
        let speech = Speech::new(vec![random("speech", &[frames, 12, 768])], None).unwrap();
        Take {
            plan: ChunkPlan::new(shape(), frames as u64, None).unwrap(),
            speech: Some(speech),
            ..self.silent_take()
        }
    }

    fn silent_take(&self) -> Take {
        let (text, negative) = (random("text", &[5, 16]), random("negative", &[3, 16]));
        Take {
            plan: ChunkPlan::new(shape(), 9, None).unwrap(),
            prompt: Prompt::new(&self.dit, &text, Some(&negative)).unwrap(),
            speech: None,
            noise: Noise::Seeded(42),
            sampling: Sampling {
                schedule: Schedule::new(Spacing::DownToOne, 2, 7.0).unwrap(),
                guidance: Guidance::new(5.0, 4.0).unwrap(),
                teacache: None,
            },
            drift: Drift::default(),
        }
    }

    fn shoot(&self, take: &Take) -> Vec<Vec<f32>> {
        let mut viewer = Viewer::default();
        roll(&mut Film::new(self.nets(), take, self.still(), None).unwrap(), &mut viewer).unwrap();
        viewer.frames
    }
}

fn shape() -> ChunkShape {
    ChunkShape::new(9, 5).unwrap()
}

fn random(key: &str, shape: &[usize]) -> Tensor {
    golden::affine("film", key, shape, (0.0, 1.0)).unwrap()
}

fn picture(key: &str) -> Tensor {
    random(key, &[1, 1, HEIGHT, WIDTH, 3])
}

/// Takes frames as they come and sees that none is missing.
#[derive(Default)]
struct Viewer {
    first: u64,
    frames: Vec<Vec<f32>>,
    told: Vec<Progress>,
    asked: Cell<usize>,
    patience: Option<usize>,
}

impl Watcher for Viewer {
    fn stopped(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.patience.is_some_and(|patience| self.asked.get() > patience)
    }

    fn progress(&mut self, at: Progress) -> Result<(), Stopped> {
        self.told.push(at);
        Ok(())
    }

    fn frame(&mut self, index: u64, frame: &[f32]) -> Result<(), Stopped> {
        assert_eq!(index, self.first + self.frames.len() as u64);
        assert_eq!(frame.len(), WIDTH * HEIGHT * 3);
        assert!(frame.iter().all(|v| (-1.0..=1.0).contains(v)));
        self.frames.push(frame.to_vec());
        Ok(())
    }
}

fn roll(film: &mut Film, viewer: &mut Viewer) -> Result<(), SamplerError> {
    while let Some(exposed) = film.denoise(viewer)? {
        film.develop(exposed, viewer)?;
    }
    Ok(())
}

#[test]
fn every_frame_comes_once_and_every_forward_is_told() {
    let studio = Studio::new(Variant::InfiniteTalk);
    for (frames, chunks, cross_fade) in
        [(1, 1, 0), (3, 1, 2), (9, 1, 0), (10, 2, 0), (17, 3, 0), (17, 3, 5), (14, 3, 3)]
    {
        let mut take = studio.take(frames);
        take.drift.cross_fade = cross_fade;
        let mut viewer = Viewer::default();
        let mut film = Film::new(studio.nets(), &take, studio.still(), None).unwrap();
        roll(&mut film, &mut viewer).unwrap();
        assert_eq!(viewer.frames.len(), frames, "{frames} frames, cross-fade {cross_fade}");
        let done: Vec<u64> = viewer.told.iter().map(Progress::done).collect();
        assert_eq!(done, (0..chunks * 6).collect::<Vec<u64>>());
        assert!(viewer.told.iter().all(|at| at.of() == chunks * 6));
        let state = film.state().unwrap();
        assert_eq!(state.next(), chunks);
        assert!(film.denoise(&mut viewer).unwrap().is_none());
    }
}

#[test]
fn a_resumed_take_is_the_same_take() {
    let studio = Studio::new(Variant::InfiniteTalk);
    for cross_fade in [0, 3] {
        let mut take = studio.take(21);
        take.drift.cross_fade = cross_fade;
        let whole = studio.shoot(&take);
        for stop_behind in 1..=4 {
            let mut viewer = Viewer::default();
            let mut film = Film::new(studio.nets(), &take, studio.still(), None).unwrap();
            for _ in 0..stop_behind {
                let exposed = film.denoise(&mut viewer).unwrap().unwrap();
                film.develop(exposed, &mut viewer).unwrap();
            }
            let bytes = film.state().unwrap().to_bytes().unwrap();
            let state = ChunkState::from_bytes(&bytes).unwrap();
            viewer = Viewer { first: viewer.frames.len() as u64, ..Viewer::default() };
            let mut film = Film::new(studio.nets(), &take, studio.still(), Some(state)).unwrap();
            roll(&mut film, &mut viewer).unwrap();
            assert_eq!(viewer.frames, whole[viewer.first as usize..], "behind {stop_behind}");
        }
    }
}

#[test]
fn states_of_other_takes_are_refused() {
    let studio = Studio::new(Variant::InfiniteTalk);
    let take = studio.take(21);
    let mut film = Film::new(studio.nets(), &take, studio.still(), None).unwrap();
    assert!(film.state().is_none());
    let exposed = film.denoise(&mut Viewer::default()).unwrap().unwrap();
    film.develop(exposed, &mut Viewer::default()).unwrap();
    let state = film.state().unwrap();
    let refused = |other: &Take| {
        let film = Film::new(studio.nets(), other, studio.still(), Some(state.clone()));
        matches!(film.err(), Some(SamplerError::State(_)))
    };
    assert!(!refused(&take));
    assert!(refused(&studio.take(22)));
    assert!(refused(&Take { noise: Noise::Seeded(43), ..take.clone() }));
    assert!(refused(&Take { drift: Drift { cross_fade: 1, ..take.drift }, ..take.clone() }));
}

/// Each chunk is 6 forwards of 2 blocks, then 9 frames, then 2 pieces of motion.
#[test]
fn a_stop_is_seen_before_the_next_block() {
    let studio = Studio::new(Variant::InfiniteTalk);
    let take = studio.take(10);
    for patience in [0, 1, 7, 11, 12, 15, 20, 21, 22, 30] {
        let mut viewer = Viewer { patience: Some(patience), ..Viewer::default() };
        let mut film = Film::new(studio.nets(), &take, studio.still(), None).unwrap();
        let ended = roll(&mut film, &mut viewer);
        assert!(matches!(ended, Err(SamplerError::Stopped)), "{patience}");
        assert_eq!(viewer.asked.get(), patience + 1);
        assert_eq!(
            viewer.told.len(),
            if patience < 23 { (patience / 2 + 1).min(6) } else { 6 + (patience - 23) / 2 + 1 }
        );
        assert_eq!(film.state().is_some(), patience >= 23);
    }
}

/// Largest difference of two frames.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_cross_fade_changes_the_frames_it_is_over() {
    let studio = Studio::new(Variant::InfiniteTalk);
    let mut take = studio.take(17);
    let plain = studio.shoot(&take);
    take.drift.cross_fade = 2;
    let faded = studio.shoot(&take);
    // chunks begin at 0, 4 and 8, with five frames of motion each
    for at in 0..17 {
        let over = [7, 8, 11, 12].contains(&at);
        assert_eq!(difference(&plain[at], &faded[at]) > 0.0, over, "frame {at}");
    }
}

#[test]
fn colours_follow_the_reference_as_far_as_they_are_told() {
    let studio = Studio::new(Variant::InfiniteTalk);
    let mut take = studio.take(9);
    let mean = |frames: &[Vec<f32>]| frames.concat().iter().sum::<f32>() / (9 * WIDTH * HEIGHT * 3) as f32;
    let dark = (picture("still") * 0.2).unwrap().affine(1.0, -0.7).unwrap();
    let brightness = |strength: f32, take: &mut Take| {
        take.drift.colour_strength = strength;
        let mut viewer = Viewer::default();
        let scene = Scene::Still(studio.condition(&dark));
        roll(&mut Film::new(studio.nets(), take, scene, None).unwrap(), &mut viewer).unwrap();
        mean(&viewer.frames)
    };
    let [none, half, all] = [0.0, 0.5, 1.0].map(|strength| brightness(strength, &mut take));
    assert!((all + 0.7).abs() < 0.1, "{all}");
    assert!((half - (none + all) / 2.0).abs() < 0.01, "{none} {half} {all}");
}

#[test]
fn anchors_choose_what_chunks_look_at() {
    let studio = Studio::new(Variant::InfiniteTalk);
    let mut take = studio.take(17);
    let mut looks = |anchor, colour_reference| {
        (take.drift.anchor, take.drift.colour_reference) = (anchor, colour_reference);
        let mut seen = Vec::new();
        let mut condition = |look: Look| {
            let frame = match &look {
                Look::Source(at) => picture(&format!("source {at}")),
                Look::Picture(frame) => frame.clone(),
            };
            seen.push(look);
            Ok(studio.condition(&frame))
        };
        let scene = Scene::Moving { first: picture("source 0"), condition: &mut condition };
        let mut viewer = Viewer::default();
        roll(&mut Film::new(studio.nets(), &take, scene, None).unwrap(), &mut viewer).unwrap();
        (seen, viewer.frames)
    };
    let places = |looks: &[Look]| -> Vec<Option<u64>> {
        looks.iter().map(|look| if let Look::Source(at) = look { Some(*at) } else { None }).collect()
    };
    let (seen, official) = looks(Anchor::Source, ColourReference::First);
    assert_eq!(places(&seen), [Some(0), Some(4), Some(8)]);
    let (seen, _) = looks(Anchor::First, ColourReference::First);
    assert_eq!(places(&seen), [Some(0); 3]);
    let (seen, previous) = looks(Anchor::Previous, ColourReference::First);
    assert_eq!(places(&seen), [Some(0), None, None]);
    let Look::Picture(last) = &seen[1] else { panic!("a picture") };
    let last: Vec<f32> = last.flatten_all().unwrap().to_vec1().unwrap();
    assert!(difference(&last, &previous[8]) < 1.01 / 127.5, "as far as bytes carry");
    let (_, relit) = looks(Anchor::Source, ColourReference::Anchor);
    assert_eq!(relit[..9], official[..9]);
    assert!(difference(&relit[9], &official[9]) > 0.0);
}

#[test]
fn wans_base_needs_no_speech() {
    let studio = Studio::new(Variant::WanI2v);
    let take = studio.silent_take();
    let mut viewer = Viewer::default();
    roll(&mut Film::new(studio.nets(), &take, studio.still(), None).unwrap(), &mut viewer).unwrap();
    assert_eq!(viewer.frames.len(), 9);
    // two steps, with and without the prompt: nobody speaks, so the scale of the speech has no pass
    assert_eq!(viewer.told.len(), 4);
    let longer = Take { plan: ChunkPlan::new(shape(), 10, None).unwrap(), ..take };
    let refused = Film::new(studio.nets(), &longer, studio.still(), None).err().unwrap();
    assert!(refused.to_string().contains("none of 10 frames by 9"), "{refused}");
}

/// Each clip of Wan's base is conditioned on the last frame of the one before, and begins behind it.
#[test]
fn wans_base_goes_on_from_its_last_frame() {
    let studio = Studio::new(Variant::WanI2v);
    let silent = studio.silent_take();
    let one = ChunkShape::new(9, 1).unwrap();
    let take = Take {
        plan: ChunkPlan::new(one, 25, None).unwrap(),
        drift: Drift { anchor: Anchor::Previous, ..silent.drift },
        ..silent
    };
    let mut looks = Vec::new();
    let mut conditions = |look: Look| {
        let frame = match look {
            Look::Source(at) => {
                looks.push(at.to_string());
                picture("still")
            }
            Look::Picture(frame) => {
                looks.push("picture".to_owned());
                frame
            }
        };
        Ok(studio.condition(&frame))
    };
    let mut viewer = Viewer::default();
    let scene = Scene::Moving { first: picture("still"), condition: &mut conditions };
    roll(&mut Film::new(studio.nets(), &take, scene, None).unwrap(), &mut viewer).unwrap();
    assert_eq!(viewer.frames.len(), 25);
    assert_eq!(looks, ["0", "picture", "picture"]);
}

/// With two passes a step each goes on from its own last change, which three passes of the reference would mix.
#[test]
fn passes_keep_their_own_changes_where_steps_are_skipped() {
    let studio = Studio::new(Variant::InfiniteTalk);
    let mut take = studio.take(9);
    take.drift = Drift { colour_strength: 0.0, ..Drift::default() };
    // 480p foretells 0.13 and more of a step, so this skips whatever the weights do
    take.sampling = Sampling {
        schedule: Schedule::new(Spacing::DownToOne, 8, 7.0).unwrap(),
        guidance: Guidance::new(1.0, 3.0).unwrap(),
        teacache: Some(TeaCache::new(1e9, Fit::P480).unwrap()),
    };
    let condition = studio.condition(&picture("still"));
    let mut film = Film::new(studio.nets(), &take, Scene::Still(condition), None).unwrap();
    assert_eq!(film.computed(), [true, true, true, true, true, false, false, false]);
    let exposed = film.denoise(&mut Viewer::default()).unwrap().unwrap();

    let latents = by_hand(&studio, &take);
    let error = (exposed.latents() - latents).unwrap().abs().unwrap().max_all().unwrap();
    assert!(error.to_scalar::<f32>().unwrap() < 1e-4);
}

/// The same steps with the nets alone.
fn by_hand(studio: &Studio, take: &Take) -> Tensor {
    let dit = &studio.dit;
    let clip = Tensor::cat(
        &[picture("still"), Tensor::zeros((1, 8, HEIGHT, WIDTH, 3), DType::F32, &Device::Cpu).unwrap()],
        1,
    );
    let given = studio.vae.encode(&clip.unwrap()).unwrap().squeeze(0).unwrap().permute((3, 0, 1, 2)).unwrap();
    let mask = Tensor::ones((4, 1, 2, 4), DType::F32, &Device::Cpu).unwrap().pad_with_zeros(1, 0, 2).unwrap();
    let condition = Tensor::cat(&[mask, given.clone()], 0).unwrap();
    let picture = dit.embed_picture(&random("hidden", &[1, 257, 1280])).unwrap();
    let text = dit.embed_text(&random("text", &[5, 16])).unwrap();
    let rows: Vec<u32> =
        (0..9i64).flat_map(|at| (at - 2..at + 3).map(|row| row.max(0).min(17 - row) as u32)).collect();
    let windows = random("speech", &[9, 12, 768]).index_select(&Tensor::new(rows, &Device::Cpu).unwrap(), 0);
    let windows = windows.unwrap().reshape((1, 9, 5, 12, 768)).unwrap();
    let heard =
        [dit.embed_audio(&windows).unwrap(), dit.embed_audio(&windows.zeros_like().unwrap()).unwrap()];
    let clean =
        |x: Tensor| Tensor::cat(&[&given.narrow(1, 0, 1).unwrap(), &x.narrow(1, 1, 2).unwrap()], 1).unwrap();
    let schedule = &take.sampling.schedule;
    let mut latents = clean(take.noise.of_chunk(0, [16, 3, 2, 4], &Device::Cpu).unwrap());
    let mut changes: [Option<Tensor>; 2] = [None, None];
    for at in 0..schedule.steps() {
        let answers = [0, 1].map(|i| {
            let step = Step {
                latents: &latents,
                condition: &condition,
                timestep: f64::from(schedule.timestep(at)),
                text: &text,
                picture: &picture,
                audio: Some(&heard[i]),
                persons: None,
            };
            let watch = Watch { stop: &|| false, probe: &Probe::off() };
            if at < 5 {
                let answer = dit.forward(&step, Pass::Remembered, &watch).unwrap();
                changes[i] = answer.residual;
                return answer.velocity;
            }
            dit.forward(&step, Pass::Reused(changes[i].as_ref().unwrap()), &watch).unwrap().velocity
        });
        let velocity = ((&answers[0] * 3.0).unwrap() - (&answers[1] * 2.0).unwrap()).unwrap();
        latents = clean(schedule.next(at, &latents, &velocity).unwrap());
    }
    latents
}

#[test]
fn broken_weights_stop_the_take_by_name() {
    let studio = Studio::new(Variant::InfiniteTalk);
    let broken = Tensor::full(f32::NAN, (16, 3, 2, 4), &Device::Cpu).unwrap();
    let take = Take { noise: Noise::Given(vec![broken]), ..studio.take(9) };
    let mut film = Film::new(studio.nets(), &take, studio.still(), None).unwrap();
    let said = film.denoise(&mut Viewer::default()).err().unwrap().to_string();
    assert!(said.contains("not finite"), "{said}");
}

#[test]
fn what_cannot_be_is_told_before_the_first_step() {
    let studio = Studio::new(Variant::InfiniteTalk);
    let said = |take: &Take| Film::new(studio.nets(), take, studio.still(), None).err().unwrap().to_string();
    let mut take = studio.take(9);
    take.drift.cross_fade = 6;
    assert!(said(&take).contains("5 motion frames, not over 6"));
    take.drift = Drift { colour_strength: 1.5, ..Drift::default() };
    assert!(said(&take).contains("1.5"));
    take.drift = Drift::default();
    take.prompt = Prompt::new(&studio.dit, &random("text", &[5, 16]), None).unwrap();
    assert!(said(&take).contains("negative"));
    assert!(
        said(&Take { plan: ChunkPlan::new(shape(), 8, None).unwrap(), ..take.clone() })
            .contains("8 frames of sound")
    );
    take.sampling.guidance = Guidance::new(1.0, 1.0).unwrap();
    assert!(Film::new(studio.nets(), &take, studio.still(), None).is_ok());

    let speech = |lengths: &[usize]| {
        let features =
            lengths.iter().map(|&n| Tensor::zeros((n, 12, 768), DType::F32, &Device::Cpu).unwrap());
        Speech::new(features.collect(), None).unwrap_err().to_string()
    };
    assert!(speech(&[]).contains("not 0"));
    assert!(speech(&[5, 5, 5]).contains("not 3"));
    assert!(speech(&[5, 6]).contains("5 and 6"));
    assert!(speech(&[5, 5]).contains("region"));
    assert!(speech(&[0]).contains("nothing"));
}
