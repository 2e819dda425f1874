//! The worker processes of a server: one that computes on the CPU, or one on each card that is configured (`[compute] device = "cuda"` and `gpus`, or the
//! original's `MUSETALK_GPU_ID`). Cards are for `talkie-worker-cuda`; a configuration that wants one where that program is missing is
//! refused, a variable that was written for the original is only remarked on.

use std::ffi::OsString;

use contract::{Complaint, Device, EngineCard};
use jobs::crew::WorkerCommand;

use super::Stage;
use super::originals::Originals;
use crate::compute::DeviceChoice;
use crate::config::Config;
use crate::device;

const LIVE_SLOTS: usize = 8;
const GPU_ID: &str = "MUSETALK_GPU_ID";

/// On which cards workers compute.
#[derive(Debug, PartialEq, Eq)]
pub enum Cards {
    /// On none.
    None,
    /// On none, though the variable names one: this program is alone.
    Unusable(u32),
    /// As NVIDIA's tools count them.
    Some(Vec<u32>),
}

pub fn cards(config: &Config, originals: &Originals) -> Result<Cards, Complaint> {
    let named: Option<u32> = originals.parsed(GPU_ID, "the number of a GPU")?;
    match (config.compute.device, named) {
        (Some(DeviceChoice::Cuda), named) => {
            device::worker_cuda()?;
            let gpus = config.compute.gpus.clone();
            Ok(Cards::Some(gpus.unwrap_or_else(|| vec![named.unwrap_or_default()])))
        }
        (Some(DeviceChoice::Cpu), _) | (None, None) => Ok(Cards::None),
        (None, Some(named)) => match device::worker_cuda() {
            Ok(_) => Ok(Cards::Some(vec![named])),
            Err(_) => Ok(Cards::Unusable(named)),
        },
    }
}

impl Cards {
    pub fn is_any(&self) -> bool {
        matches!(self, Cards::Some(_))
    }

    pub fn name(&self) -> &'static str {
        if self.is_any() { "cuda" } else { "cpu" }
    }

    /// What whoever starts the server should know.
    pub fn remark(&self) -> Option<String> {
        match self {
            Cards::Unusable(gpu) => Some(format!(
                "{GPU_ID} is {gpu}, but there is no talkie-worker-cuda beside this program: the CPU computes"
            )),
            Cards::None | Cards::Some(_) => None,
        }
    }

    /// As they are where their nets compute on cards.
    pub fn cards(&self, mut cards: Vec<EngineCard>) -> Vec<EngineCard> {
        let learned = |card: &EngineCard| card.weights.iter().any(|weights| !weights.embedded);
        if self.is_any() {
            cards.iter_mut().filter(|card| learned(card)).for_each(|card| card.device = Device::Cuda);
        }
        cards
    }
}

/// A program for each worker, with the configuration of this one.
pub fn commands(stage: &Stage<'_>, cards: &Cards) -> Result<Vec<WorkerCommand>, Complaint> {
    let Cards::Some(gpus) = cards else {
        let program = std::env::current_exe().map_err(|error| {
            let message = format!("this program cannot be found to start a worker: {error}");
            Complaint::new("internal", message, "")
        })?;
        return Ok(vec![WorkerCommand { program, args: words(stage), envs: Vec::new() }]);
    };
    let program = device::worker_cuda()?;
    let given = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let command = |gpu: &u32| {
        let mut args = words(stage);
        args.extend(["--conf".into(), "compute.device=\"cuda\"".into()]);
        // the card that a worker sees is its first; CUDA alone would count the fastest first
        let card = visible(*gpu, given.as_deref())?;
        let order = ("CUDA_DEVICE_ORDER".into(), "PCI_BUS_ID".into());
        let envs = vec![order, ("CUDA_VISIBLE_DEVICES".into(), card.into())];
        Ok(WorkerCommand { program: program.clone(), args, envs })
    };
    gpus.iter().map(command).collect()
}

/// Of the cards that this program was given, where it was given some, the one of that number.
fn visible(gpu: u32, given: Option<&str>) -> Result<String, Complaint> {
    let Some(given) = given.filter(|given| !given.trim().is_empty()) else {
        return Ok(gpu.to_string());
    };
    let cards: Vec<&str> = given.split(',').map(str::trim).collect();
    cards.get(gpu as usize).map(|&card| card.to_owned()).ok_or_else(|| {
        let message = format!(
            "card {gpu} is to compute, but CUDA_VISIBLE_DEVICES={given} gives this program {} (counted from 0)",
            cards.len()
        );
        Complaint::new("bad_config", message, "name others in compute.gpus, or unset CUDA_VISIBLE_DEVICES")
    })
}

fn words(stage: &Stage<'_>) -> Vec<OsString> {
    let (settings, machine) = (&stage.config.serve, stage.machine);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let slots = settings.slots.unwrap_or((cores / 2).max(1)).max(1);
    let mut args: Vec<OsString> = vec!["worker".into(), "--data".into(), stage.data.clone().into()];
    args.extend(["--slots".into(), slots.to_string().into()]);
    let live_slots = settings.live_slots.unwrap_or(LIVE_SLOTS);
    args.extend(["--live-slots".into(), live_slots.to_string().into()]);
    for root in &settings.media_roots {
        args.extend(["--media-root".into(), root.clone().into()]);
    }
    let paths =
        [("--config", &machine.config), ("--ffmpeg", &machine.ffmpeg), ("--ffprobe", &machine.ffprobe)];
    for (flag, path) in paths {
        if let Some(path) = path {
            args.extend([flag.into(), path.clone().into()]);
        }
    }
    if let Some(seconds) = machine.max_audio_seconds {
        args.extend(["--max-audio-seconds".into(), seconds.to_string().into()]);
    }
    // no worker opens the record, whose address may hold a password
    for item in machine.conf.iter().filter(|item| !item.starts_with("serve.database=")) {
        args.extend(["--conf".into(), item.into()]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_one_of_those_that_were_given() {
        assert_eq!(visible(1, None).unwrap(), "1");
        assert_eq!(visible(1, Some("")).unwrap(), "1");
        assert_eq!(visible(0, Some("3, GPU-1a")).unwrap(), "3");
        assert_eq!(visible(1, Some("3, GPU-1a")).unwrap(), "GPU-1a");
        // else two workers would share the one card
        let message = visible(1, Some("1")).unwrap_err().message;
        assert!(message.contains("card 1") && message.contains("CUDA_VISIBLE_DEVICES=1"), "{message}");
    }
}
