//! What nets compute on: the CPU, or an NVIDIA card (`[compute] device = "cuda"`). `talkie` itself knows no CUDA: what has to open a card and
//! cannot gives its place to `talkie-worker-cuda`, where that lies beside it, with the same arguments.

use std::path::PathBuf;

use contract::Complaint;
use layers::CardError;

use crate::compute::DeviceChoice;

pub use candle_core::Device;

/// What only says what engines are needs no card.
pub const CPU: Device = Device::Cpu;

const WORKER_CUDA: &str = "talkie-worker-cuda";

/// Returns where this program can compute on it; a program that can may take this one's place instead.
pub fn open(choice: Option<DeviceChoice>) -> Result<Device, Complaint> {
    match choice {
        None | Some(DeviceChoice::Cpu) => Ok(CPU),
        Some(DeviceChoice::Cuda) => match layers::open_card(0) {
            Ok(card) => Ok(card),
            Err(CardError::NotBuilt) => Err(hand_over()),
            Err(error) => Err(no_card(&error)),
        },
    }
}

/// The program that can compute on cards, or that there is none.
pub fn worker_cuda() -> Result<PathBuf, Complaint> {
    // under another's name this program is still itself
    let own = std::env::current_exe().ok().filter(|own| own.file_name() != Some(WORKER_CUDA.as_ref()));
    let beside = own.map(|own| own.with_file_name(WORKER_CUDA)).filter(|program| program.is_file());
    beside.ok_or_else(|| {
        let missing = no_card(&CardError::NotBuilt);
        Complaint::new(
            "no_cuda",
            format!("{}, and there is no {WORKER_CUDA} beside it", missing.message),
            missing.hint,
        )
    })
}

fn hand_over() -> Complaint {
    match worker_cuda() {
        Err(missing) => missing,
        Ok(program) => {
            let error = jobs::crew::give_way(&program, std::env::args_os().skip(1));
            Complaint::new(
                "no_cuda",
                format!("{} could not be started: {error}", program.display()),
                "build it again: scripts/cuda.sh build",
            )
        }
    }
}

pub fn no_card(error: &CardError) -> Complaint {
    Complaint::new("no_cuda", error.to_string(), error.remedy())
}
