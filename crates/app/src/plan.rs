//! `talkie plan`: what a take of a large model needs on this machine or on a card of a given size, before anything is fetched or loaded. The engine
//! lays its model out by the same plan.

use std::process::ExitCode;
use std::time::Instant;

use contract::{Complaint, Size};
use engine_infinitetalk::picture::SizeClass;
use engine_infinitetalk::plan::{Machine, ModelSize, Numbers, Plan, Work};
use engine_infinitetalk::settings::{FPS, WAN_FPS};
use serde_json::json;

use crate::cli::{DataArgs, MachineArgs, PlanArgs};
use crate::compute::DeviceChoice;
use crate::config::Config;
use crate::{device, infinitetalk, machine, say};

/// FLOP/s in bf16 and bytes a second of PCIe where nobody says: an RTX 4090 in a slot of the fourth generation.
const USUAL_TFLOPS: f64 = 165.0;
const USUAL_LINK: f64 = 25.0;
/// Bytes a second at which a streamed block is read from this machine's disk and made ready, roughly.
const DISK: f64 = 1e9;
/// Of the products that a CPU's speed is measured with: large enough to be bound by arithmetic.
const ROWS: usize = 512;
const WIDTH: usize = 2048;
/// Seconds that measuring takes.
const MEASURED: f64 = 0.5;
const GIB: f64 = (1u64 << 30) as f64;

pub fn run(machine: &MachineArgs, args: &PlanArgs) -> Result<ExitCode, Complaint> {
    let config = Config::load(machine)?;
    let hears = match args.engine.as_str() {
        "infinitetalk" => true,
        "wan-i2v" => false,
        other => {
            let message = format!("there is nothing to plan for the engine `{other}`");
            return Err(Complaint::new("unknown_engine", message, "plan infinitetalk or wan-i2v"));
        }
    };
    if !hears && args.persons.is_some() {
        let message = "--persons was given, but wan-i2v hears nobody";
        return Err(Complaint::new("bad_request", message, "leave it out, or plan infinitetalk"));
    }
    if args.vram.is_none() && config.compute.device == Some(DeviceChoice::Cuda) {
        let message = "compute.device is cuda, and what the card has is not measured";
        let hint = "say --vram, or plan for the processor: --conf compute.device=cpu";
        return Err(Complaint::new("bad_request", message, hint));
    }
    let class: SizeClass = args
        .size
        .to_string()
        .parse()
        .map_err(|error: String| Complaint::new("bad_request", error, "choose 480 or 720"))?;
    let numbers = match &args.numbers {
        None => infinitetalk::numbers(&config.infinitetalk)?,
        Some(name) => Numbers::named(name).ok_or_else(|| {
            let message = format!("--numbers is {name}, it must be f32, bf16 or q8_0");
            Complaint::new("bad_request", message, "correct it")
        })?,
    };
    let (width, height) = class.bucket((args.picture.0 as usize, args.picture.1 as usize));
    let work = Work {
        size: Size::new(width as u32, height as u32),
        frame_num: 81,
        motion_frame: if hears { 9 } else { 1 },
        steps: args.steps as usize,
        forwards_per_step: usize::from(args.forwards.unwrap_or(if hears { 3 } else { 2 })),
        persons: if hears { usize::from(args.persons.unwrap_or(1)) } else { 0 },
        moves: false,
        fps: if hears { FPS } else { WAN_FPS },
    };
    let (place, told) = match args.vram {
        Some(gb) => card(args, gb)?,
        None => {
            let _learned = machine::compute(&config, &DataArgs::of_environment())?;
            this_machine(infinitetalk::memory(&config.infinitetalk, &device::CPU)?)?
        }
    };
    let model = if hears { ModelSize::RELEASED } else { ModelSize::WITHOUT_AUDIO };
    let plan = Plan::best(&model, &work, &place, numbers)?;
    if args.json {
        say::line(as_json(&plan, &work, &place))?;
    } else {
        say::line(as_text(args, (&plan, &work), &told))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn card(args: &PlanArgs, gb: f64) -> Result<(Machine, String), Complaint> {
    let tflops = args.tflops.unwrap_or(USUAL_TFLOPS);
    let link = args.link.unwrap_or(USUAL_LINK);
    for (name, value) in [("--vram", gb), ("--tflops", tflops), ("--link", link)] {
        if !(value > 0.0 && value <= 1e6) {
            let message = format!("{name} is {value}, it can be more than 0, to 1000000");
            return Err(Complaint::new("bad_request", message, "correct it"));
        }
    }
    let place = Machine {
        memory_bytes: (gb * 1e9) as u64,
        flop_per_second: tflops * 1e12,
        stream_bytes_per_second: link * 1e9,
        own_memory: true,
    };
    Ok((place, format!("a card of {gb} GB with {tflops} TFLOP/s, at {link} GB/s from this machine's memory")))
}

/// Multiplies for half a second to know how fast it is.
fn this_machine(memory_bytes: u64) -> Result<(Machine, String), Complaint> {
    let flop_per_second = measure().map_err(|error| {
        Complaint::new("machine_failed", format!("this machine could not be measured: {error}"), "")
    })?;
    let place = Machine { memory_bytes, flop_per_second, stream_bytes_per_second: DISK, own_memory: false };
    let told = format!(
        "this machine's CPU, {:.0} GFLOP/s as measured, {:.1} GiB of memory",
        flop_per_second / 1e9,
        memory_bytes as f64 / GIB
    );
    Ok((place, told))
}

fn measure() -> candle_core::Result<f64> {
    use candle_core::{DType, Device, Tensor};
    let weight = Tensor::randn(0f32, 0.02, (WIDTH, WIDTH), &Device::Cpu)?;
    let layer = layers::Linear::new(weight, None)?;
    let rows = Tensor::zeros((ROWS, WIDTH), DType::F32, &Device::Cpu)?;
    layer.forward(&rows)?;
    let begun = Instant::now();
    let mut times = 0;
    while begun.elapsed().as_secs_f64() < MEASURED {
        layer.forward(&rows)?;
        times += 1;
    }
    Ok((2 * ROWS * WIDTH * WIDTH * times) as f64 / begun.elapsed().as_secs_f64())
}

fn as_text(args: &PlanArgs, (plan, work): (&Plan, &Work), told: &str) -> String {
    let mut rows = vec![format!("{} on {told}", args.engine)];
    let mut row = |name: &str, value: String| rows.push(format!("  {name:<16} {value}"));
    row("picture", format!("{}, chunks of {} frames", work.size, work.frame_num));
    row("weights", format!("held as {}", plan.numbers.name()));
    let streamed = plan.blocks - plan.resident_blocks;
    row(
        "blocks",
        match streamed {
            0 => format!("all {} stay in memory", plan.blocks),
            _ => format!(
                "{} of {} stay in memory, {streamed} are read for each forward",
                plan.resident_blocks, plan.blocks
            ),
        },
    );
    row("encoders", if plan.encoders_stay { "stay" } else { "leave when they have encoded" }.to_owned());
    if args.vram.is_some() {
        row("VRAM", format!("{:.1} GiB", plan.device_bytes as f64 / GIB));
    }
    row("host memory", format!("{:.1} GiB", plan.host_bytes as f64 / GIB));
    row(
        "a forward",
        format!("{:.3} PFLOP, {}", plan.forward.total() / 1e15, seconds(plan.seconds_per_forward)),
    );
    row(
        "a chunk",
        format!("{} x {} forwards, {}", work.steps, work.forwards_per_step, seconds(plan.seconds_per_chunk)),
    );
    row("a second", format!("of video takes {}", seconds(plan.seconds_per_second)));
    rows.join("\n")
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

fn as_json(plan: &Plan, work: &Work, place: &Machine) -> serde_json::Value {
    json!({
        "width": work.size.width,
        "height": work.size.height,
        "numbers": plan.numbers.name(),
        "blocks": plan.blocks,
        "resident_blocks": plan.resident_blocks,
        "encoders_stay": plan.encoders_stay,
        "device_bytes": plan.device_bytes,
        "host_bytes": plan.host_bytes,
        "flop_per_second": place.flop_per_second,
        "forward_flop": plan.forward.total(),
        "seconds_per_forward": plan.seconds_per_forward,
        "seconds_per_chunk": plan.seconds_per_chunk,
        "seconds_per_second": plan.seconds_per_second,
    })
}
