//! Why nothing can be computed on an NVIDIA card here, and the remedy.

use thiserror::Error;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CardError {
    #[error("this program is built without CUDA")]
    NotBuilt,
    #[error("no NVIDIA driver is installed: libcuda.so.1 cannot be loaded")]
    NoDriver,
    #[error("the NVIDIA driver supports CUDA {}.{}, the limit is {}.{}", .found / 1000, .found % 1000 / 10, .needed / 1000, .needed % 1000 / 10)]
    OldDriver { found: i32, needed: i32 },
    #[error("the NVIDIA driver is installed, but sees no card")]
    NoCard,
    #[error("there is no card {ordinal}: the driver sees {count}, counted from 0")]
    NoSuchCard { ordinal: usize, count: usize },
    #[error("{name} has compute capability {}.{}, the limit is 8.0", .found.0, .found.1)]
    OldCard { name: String, found: (i32, i32) },
    #[error("{0} of CUDA 13 cannot be loaded")]
    NoLibrary(&'static str),
    #[error("the card could not be opened: {0}")]
    Failed(String),
}

impl CardError {
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotBuilt => {
                "scripts/cuda.sh in a checkout of Talkie builds `talkie-worker-cuda`, which computes on NVIDIA cards"
            }
            Self::NoDriver => {
                "install NVIDIA's driver, 580 or newer; in a container, start it with --gpus all"
            }
            Self::OldDriver { .. } => "install NVIDIA's driver 580 or newer",
            Self::NoCard => {
                "check nvidia-smi and CUDA_VISIBLE_DEVICES; in a container, start it with --gpus all"
            }
            Self::NoSuchCard { .. } => {
                "name a card that nvidia-smi lists and CUDA_VISIBLE_DEVICES does not hide"
            }
            Self::OldCard { .. } => "use an Ampere card or a newer one, or compute on the CPU",
            Self::NoLibrary(_) => {
                "scripts/cuda-toolkit.sh libraries fetches it; elsewhere, set LD_LIBRARY_PATH to the folder that has it"
            }
            Self::Failed(_) => "check nvidia-smi; another program may hold the card or its memory",
        }
    }
}
