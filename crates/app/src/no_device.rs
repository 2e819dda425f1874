//! Without the neural half there are no nets, and nothing to compute them on.

use std::path::PathBuf;

use contract::Complaint;

use crate::compute::DeviceChoice;

pub struct Device;

pub const CPU: Device = Device;

pub fn open(choice: Option<DeviceChoice>) -> Result<Device, Complaint> {
    match choice {
        None | Some(DeviceChoice::Cpu) => Ok(Device),
        Some(DeviceChoice::Cuda) => Err(missing()),
    }
}

pub fn worker_cuda() -> Result<PathBuf, Complaint> {
    Err(missing())
}

fn missing() -> Complaint {
    let message = "compute.device is cuda, and this program was built without its neural half";
    Complaint::new("no_cuda", message, "build it with its default features, or leave compute.device out")
}
