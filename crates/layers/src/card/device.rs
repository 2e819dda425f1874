//! Opening a card, so that whatever is missing is said with its remedy: candle and cudarc panic where a library cannot be loaded.

use candle_core::Device;
use candle_core::cuda::cudarc::{cublas, curand, driver};
use driver::sys::CUdevice_attribute as Attribute;

use crate::card_error::CardError;

/// CUDA 13.0, as `cuDriverGetVersion` counts: the PTX of this program is of its ISA.
const DRIVER: i32 = 13000;

/// Ampere: bf16 on the tensor cores.
const CAPABILITY: (i32, i32) = (8, 0);

/// The card that the driver counts as `ordinal`.
pub fn open(ordinal: usize) -> Result<Device, CardError> {
    // SAFETY: each of these only tries to load a library by its usual names
    let (driver_is_there, cublas_is_there, curand_is_there) = unsafe {
        (driver::sys::is_culib_present(), cublas::sys::is_culib_present(), curand::sys::is_culib_present())
    };
    if !driver_is_there {
        return Err(CardError::NoDriver);
    }
    check_driver(ordinal)?;
    for (there, name) in [(cublas_is_there, "libcublas"), (curand_is_there, "libcurand")] {
        if !there {
            return Err(CardError::NoLibrary(name));
        }
    }
    // cudarc panics where a library is there, but lacks what it looks for in it
    let opened = std::panic::catch_unwind(|| Device::new_cuda(ordinal))
        .map_err(|_| CardError::Failed("a library of NVIDIA's is of another version than CUDA 13".into()))?;
    opened.map_err(|error| CardError::Failed(error.to_string()))
}

fn check_driver(ordinal: usize) -> Result<(), CardError> {
    let failed = |error: driver::DriverError| CardError::Failed(error.to_string());
    let mut found = 0;
    // SAFETY: writes one number; allowed before cuInit
    let asked = unsafe { driver::sys::cuDriverGetVersion(&raw mut found) };
    asked.result().map_err(failed)?;
    if found < DRIVER {
        return Err(CardError::OldDriver { found, needed: DRIVER });
    }
    match driver::result::init() {
        Err(error) if error.0 == driver::sys::CUresult::CUDA_ERROR_NO_DEVICE => {
            return Err(CardError::NoCard);
        }
        initialised => initialised.map_err(failed)?,
    }
    let count = driver::result::device::get_count().map_err(failed)?.max(0) as usize;
    if count == 0 {
        return Err(CardError::NoCard);
    }
    if ordinal >= count {
        return Err(CardError::NoSuchCard { ordinal, count });
    }
    let device = driver::result::device::get(ordinal as i32).map_err(failed)?;
    let capability = |attribute| {
        // SAFETY: `device` was just given by the driver
        unsafe { driver::result::device::get_attribute(device, attribute) }.map_err(failed)
    };
    let found = (
        capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    if found < CAPABILITY {
        let name = driver::result::device::get_name(device).map_err(failed)?;
        return Err(CardError::OldCard { name, found });
    }
    Ok(())
}

/// Bytes that are free on the card of `device`.
pub fn free_memory(device: &Device) -> Option<u64> {
    // the driver tells it of a thread's current context, and one that has computed nothing yet has none
    device.as_cuda_device().ok()?.cuda_stream().context().bind_to_thread().ok()?;
    driver::result::mem_get_info().ok().map(|(free, _)| free as u64)
}
