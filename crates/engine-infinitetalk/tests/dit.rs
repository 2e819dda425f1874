//! What the golden cases do not show of the DiT: blocks that are streamed, passes that are broken off or reused, broken weights, weights held
//! in fewer bits, and what is refused.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use engine_infinitetalk::nets::dit::{
    Dit, DitConfig, DitError, Form, Loading, Pass, Persons, Residency, Step, Variant, Watch,
};
use golden::{Seeded, affine};
use layers::Probe;

const LAYERS: usize = 5;

fn tiny() -> DitConfig {
    DitConfig {
        dim: 64,
        ffn_dim: 96,
        freq_dim: 32,
        num_heads: 2,
        num_layers: LAYERS,
        text_len: 6,
        text_dim: 24,
        intermediate_dim: 8,
        output_dim: 32,
        context_tokens: 4,
        ..DitConfig::infinitetalk_14b()
    }
}

/// Seeded weights that remember which block was asked for, in order, and may have one tensor of NaN.
#[derive(Clone, Default)]
struct Source {
    asked: Arc<Mutex<Vec<usize>>>,
    broken: Option<&'static str>,
}

impl Source {
    fn builder(&self, dtype: DType) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, Device::Cpu)
    }

    /// Blocks whose loading has begun, each once for every time.
    fn loads(&self) -> Vec<usize> {
        self.asked.lock().unwrap().clone()
    }
}

impl SimpleBackend for Source {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if let Some(index) = name.strip_prefix("blocks.").and_then(|rest| rest.strip_suffix(".modulation")) {
            self.asked.lock().unwrap().push(index.parse().unwrap());
        }
        let tensor = Seeded::new("tiny dit").tensor(name, shape.dims(), dtype, device)?;
        if self.broken == Some(name) { tensor.affine(f64::NAN, 0.0) } else { Ok(tensor) }
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        panic!("`{name}` was asked for without a shape");
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// What a forward is given: 3 latent frames of 4x6, two persons side by side.
struct Scene {
    latents: Tensor,
    condition: Tensor,
    text: Tensor,
    picture: Tensor,
    one: Tensor,
    two: Tensor,
    persons: Persons,
}

impl Scene {
    fn new(net: &Dit) -> Self {
        let given = |key: &str, shape: &[usize]| affine("tiny dit", key, shape, (0.0, 1.0)).unwrap();
        let masks: Vec<f32> = (0..3 * 4 * 6).map(|i| f32::from(u8::from(i / 24 == i % 6 / 2))).collect();
        Self {
            latents: given("latents", &[16, 3, 4, 6]),
            condition: given("condition", &[20, 3, 4, 6]),
            text: net.embed_text(&given("text", &[3, 24])).unwrap(),
            picture: net.embed_picture(&given("picture", &[1, 257, 1280])).unwrap(),
            one: net.embed_audio(&given("speech", &[1, 9, 5, 12, 768])).unwrap(),
            two: net.embed_audio(&given("speech", &[2, 9, 5, 12, 768])).unwrap(),
            persons: Persons::new(&Tensor::from_vec(masks, (3, 4, 6), &Device::Cpu).unwrap()).unwrap(),
        }
    }

    fn step(&self) -> Step<'_> {
        Step {
            latents: &self.latents,
            condition: &self.condition,
            timestep: 500.0,
            text: &self.text,
            picture: &self.picture,
            audio: Some(&self.one),
            persons: None,
        }
    }

    fn for_two(&self) -> Step<'_> {
        Step { audio: Some(&self.two), persons: Some(&self.persons), ..self.step() }
    }
}

fn load(how: Loading) -> Dit {
    Dit::load(&tiny(), &how, Source::default().builder(DType::F32)).unwrap()
}

fn streamed(resident_blocks: usize) -> Loading {
    Loading { residency: Residency { resident_blocks }, ..Loading::default() }
}

fn velocity(net: &Dit, step: &Step) -> Vec<f32> {
    let watch = Watch { stop: &|| false, probe: &Probe::off() };
    let velocity = net.forward(step, Pass::Whole, &watch).unwrap().velocity;
    assert_eq!(velocity.dims(), [16, 3, 4, 6]);
    velocity.flatten_all().unwrap().to_vec1().unwrap()
}

fn apart(got: &[f32], want: &[f32]) -> f32 {
    let power: f32 = want.iter().map(|w| w * w).sum();
    let error: f32 = got.iter().zip(want).map(|(g, w)| (g - w).powi(2)).sum();
    (error / power).sqrt()
}

#[test]
fn streamed_blocks_compute_what_resident_ones_do() {
    let whole = load(Loading::default());
    let scene = Scene::new(&whole);
    let want = [scene.step(), scene.for_two()].map(|step| velocity(&whole, &step));
    assert!(apart(&want[1], &want[0]) > 1e-3, "a second voice is heard");
    for resident in [0, 1, 2, 4] {
        let net = load(streamed(resident));
        for _ in 0..2 {
            let got = [scene.step(), scene.for_two()].map(|step| velocity(&net, &step));
            assert_eq!(got, want, "{resident} of {LAYERS} blocks are resident");
        }
    }
}

#[test]
fn no_block_is_loaded_more_than_one_ahead() {
    let source = Source::default();
    let net = Dit::load(&tiny(), &streamed(0), source.builder(DType::F32)).unwrap();
    assert!(source.loads().is_empty());
    let scene = Scene::new(&net);
    let asked = Mutex::new(0);
    let stop = || {
        let mut block = asked.lock().unwrap();
        let loads = source.loads();
        assert!(loads.len() <= *block + 2, "{loads:?} before block {block}");
        *block += 1;
        false
    };
    let watch = Watch { stop: &stop, probe: &Probe::off() };
    for _ in 0..2 {
        net.forward(&scene.step(), Pass::Whole, &watch).unwrap();
    }
    assert_eq!(*asked.lock().unwrap(), 2 * LAYERS);
    drop(net); // and what it was loading is there
    assert_eq!(source.loads(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]);
    // resident blocks are loaded once, the others come round; where all are resident nothing is loaded later
    for (resident, wanted) in [(2, [2, 4, 0, 1, 3, 0, 1, 3, 0].as_slice()), (9, [0, 1, 2, 3, 4].as_slice())] {
        let source = Source::default();
        let net = Dit::load(&tiny(), &streamed(resident), source.builder(DType::F32)).unwrap();
        velocity(&net, &scene.step());
        velocity(&net, &scene.step());
        drop(net);
        assert_eq!(source.loads(), wanted, "{resident} resident");
    }
}

#[test]
fn a_stop_takes_effect_before_the_next_block() {
    for resident in [0, LAYERS] {
        let net = load(streamed(resident));
        let scene = Scene::new(&net);
        let want = velocity(&net, &scene.step());
        let asked = Mutex::new(0);
        let stop = || {
            *asked.lock().unwrap() += 1;
            *asked.lock().unwrap() > 2
        };
        let watch = Watch { stop: &stop, probe: &Probe::off() };
        let error = net.forward(&scene.step(), Pass::Whole, &watch).unwrap_err();
        assert!(matches!(error, DitError::Stopped { block: 2, blocks: LAYERS }), "{error}");
        assert_eq!(*asked.lock().unwrap(), 3);
        assert_eq!(velocity(&net, &scene.step()), want, "nothing of the broken pass is left");
    }
}

#[test]
fn broken_weights_are_named() {
    let fails = |broken: &'static str, forward: bool| {
        let source = Source { broken: Some(broken), ..Source::default() };
        let net = Dit::load(&tiny(), &streamed(2), source.builder(DType::F32)).unwrap();
        if !forward {
            let rows = affine("tiny dit", "text", &[3, 24], (0.0, 1.0)).unwrap();
            return net.embed_text(&rows).unwrap_err().to_string();
        }
        let scene = Scene::new(&net);
        let watch = Watch { stop: &|| false, probe: &Probe::off() };
        net.forward(&scene.step(), Pass::Whole, &watch).unwrap_err().to_string()
    };
    for (broken, part) in [
        ("patch_embedding.weight", "patch_embedding"),
        ("blocks.3.ffn.2.weight", "blocks.3"),
        ("blocks.0.cross_attn.norm_k_img.weight", "blocks.0"),
        ("blocks.4.modulation", "blocks.4"),
        ("head.head.bias", "head"),
    ] {
        let said = fails(broken, true);
        assert!(said.starts_with(&format!("{part} gave values that are not finite")), "{broken}: {said}");
    }
    assert!(fails("text_embedding.2.weight", false).starts_with("text_embedding gave"));
}

#[test]
fn a_remembered_pass_can_be_reused() {
    let net = load(Loading::default());
    let scene = Scene::new(&net);
    let want = velocity(&net, &scene.step());
    let watch = Watch { stop: &|| false, probe: &Probe::off() };
    let whole = net.forward(&scene.step(), Pass::Remembered, &watch).unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(flat(&whole.velocity), want);
    let residual = whole.residual.unwrap();
    assert_eq!(residual.dims(), [1, 3 * 2 * 3, 64]);
    let never = Watch { stop: &|| panic!("no block is run"), probe: &Probe::off() };
    let again = net.forward(&scene.step(), Pass::Reused(&residual), &never).unwrap();
    assert!(again.residual.is_none());
    assert!(apart(&flat(&again.velocity), &want) < 1e-5);
    let later = Step { timestep: 400.0, ..scene.step() };
    let reused = flat(&net.forward(&later, Pass::Reused(&residual), &never).unwrap().velocity);
    assert!(apart(&reused, &want) > 1e-4, "the head still knows the time");
}

#[test]
fn the_time_is_what_teacache_measures() {
    let net = load(Loading::default());
    let e0 = net.time_embedding(500.0).unwrap();
    assert_eq!((e0.dims(), e0.dtype()), (&[6, 64][..], DType::F32));
    let far = (net.time_embedding(499.0).unwrap() - &e0).unwrap().abs().unwrap().mean_all().unwrap();
    assert!(far.to_scalar::<f32>().unwrap() > 1e-4);
    // rounded weights, the rest in f32
    let half = Dit::load(&tiny(), &Loading::of(DType::BF16), Source::default().builder(DType::BF16)).unwrap();
    let rounded = half.time_embedding(500.0).unwrap();
    assert_eq!(rounded.dtype(), DType::F32);
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let apart = apart(&flat(&rounded), &flat(&e0));
    assert!(apart > 1e-5 && apart < 1e-2, "{apart}");
}

#[test]
fn weights_in_fewer_bits_give_nearly_the_same() {
    let exact = load(Loading::default());
    let scene = Scene::new(&exact);
    let want = velocity(&exact, &scene.step()); // with two persons, a token may come to belong to the other one
    for (dtype, form, bound) in
        [(DType::BF16, Form::Plain, 0.02), (DType::F32, Form::Q8_0, 0.05), (DType::BF16, Form::Q8_0, 0.05)]
    {
        let how = Loading { form, ..streamed(1) };
        let net = Dit::load(&tiny(), &how, Source::default().builder(dtype)).unwrap();
        let apart = apart(&velocity(&net, &scene.step()), &want);
        assert!(apart > 1e-5 && apart < bound, "{dtype:?} {form:?}: {apart}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let net = load(Loading::default());
    let scene = Scene::new(&net);
    let watch = Watch { stop: &|| false, probe: &Probe::off() };
    let said = |net: &Dit, step: Step| net.forward(&step, Pass::Whole, &watch).unwrap_err().to_string();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (odd, odd_condition) = (zeros(&[16, 3, 5, 6]), zeros(&[20, 3, 5, 6]));
    let step = scene.step();
    assert!(said(&net, Step { latents: &odd, condition: &odd_condition, ..step }).contains("5x6"));
    assert!(said(&net, Step { condition: &scene.latents, ..step }).contains("36 channels together, not 32"));
    assert!(said(&net, Step { persons: None, ..scene.for_two() }).contains("where they are"));
    let elsewhere = Persons::new(&Tensor::ones((3, 8, 8), DType::F32, &Device::Cpu).unwrap()).unwrap();
    assert!(
        said(&net, Step { persons: Some(&elsewhere), ..scene.for_two() })
            .contains("16 tokens, a frame has 6")
    );
    let three = Tensor::cat(&[&scene.two, &scene.one], 2).unwrap();
    assert!(said(&net, Step { audio: Some(&three), ..scene.for_two() }).contains("3 persons"));
    let short = scene.one.narrow(1, 0, 2).unwrap();
    assert!(said(&net, Step { audio: Some(&short), ..step }).contains("2 latent frames"));
    assert!(said(&net, Step { audio: None, ..step }).contains("silence"));
    assert!(net.embed_text(&zeros(&[7, 24])).unwrap_err().to_string().contains("7 tokens"));
    assert!(net.embed_audio(&zeros(&[1, 8, 5, 12, 768])).unwrap_err().to_string().contains("8 frames"));
    assert!(net.embed_audio(&zeros(&[1, 9, 3, 12, 768])).is_err());
    let deaf = DitConfig { variant: Variant::WanI2v, ..tiny() };
    let deaf = Dit::load(&deaf, &Loading::default(), Source::default().builder(DType::F32)).unwrap();
    assert!(said(&deaf, step).contains("no modules for speech"));
    assert!(deaf.embed_audio(&zeros(&[1, 9, 5, 12, 768])).is_err());
    velocity(&deaf, &Step { audio: None, ..step });
    let half = Dit::load(&tiny(), &Loading::of(DType::F16), Source::default().builder(DType::F16));
    assert!(half.unwrap_err().to_string().contains("F16"));
}
