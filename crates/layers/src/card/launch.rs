//! Tensors as addresses on their card, and a kernel of ours started over them on the stream that candle uses.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda::cudarc::driver::{
    CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg, SyncOnDrop,
};
use candle_core::cuda::{CudaStorage, CudaStorageSlice};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, DType, Error, Result, Shape, Storage, Tensor, bail};
use cuda_kernels::{Address, Launch};

/// One module holds every kernel.
const MODULE: &str = "talkie";

/// The one argument of a kernel.
#[repr(transparent)]
struct Argument<P>(P);

// SAFETY: the parameters of `cuda-kernels` are plain numbers laid out as in C, as their kernels take them
unsafe impl<P: Copy> DeviceRepr for Argument<P> {}

/// Starts `launch` with `params`.
///
/// # Safety
/// The addresses in `params` must hold as many values as the kernel reads and writes.
pub(super) unsafe fn start<P: Copy>(device: &CudaDevice, launch: &Launch, params: P) -> Result<()> {
    let function = device.get_or_load_custom_func(&launch.kernel, MODULE, cuda_kernels::PTX)?;
    let argument = Argument(params);
    let mut builder = function.builder();
    builder.arg(&argument);
    let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
    let geometry = LaunchConfig { grid_dim: (gx, gy, gz), block_dim: (bx, by, bz), shared_mem_bytes: 0 };
    // SAFETY: as the caller promises
    unsafe { builder.launch(geometry) }.map_err(Error::wrap)?;
    Ok(())
}

pub(super) fn card_of(x: &Tensor) -> Result<CudaDevice> {
    Ok(x.device().as_cuda_device()?.clone())
}

/// Lends the addresses of the first values of tensors that lie on `device`; `None` is address zero. What `with` starts has been put on the stream when it returns.
pub(super) fn lend<R>(
    device: &CudaDevice,
    tensors: &[Option<&Tensor>],
    with: impl FnOnce(&[Address]) -> Result<R>,
) -> Result<R> {
    let stream = device.cuda_stream();
    let held: Vec<_> = tensors.iter().map(|x| x.map(Tensor::storage_and_layout)).collect();
    let mut guards = Vec::with_capacity(held.len());
    let mut addresses = Vec::with_capacity(held.len());
    for tensor in &held {
        let Some((storage, layout)) = tensor else {
            addresses.push(0);
            continue;
        };
        let Storage::Cuda(storage) = &**storage else {
            bail!("a tensor of this operation is not on the card")
        };
        let (start, guard) = reading(storage, &stream)?;
        addresses.push(start + (layout.start_offset() * storage.dtype().size_in_bytes()) as Address);
        guards.push(guard);
    }
    with(&addresses)
}

/// A tensor that `fill` writes whole, given its address.
pub(super) fn make(
    device: &CudaDevice,
    dtype: DType,
    shape: impl Into<Shape>,
    fill: impl FnOnce(Address) -> Result<()>,
) -> Result<Tensor> {
    let shape = shape.into();
    // SAFETY: `fill` writes every value before anything that reads them is put on the stream
    let mut storage = unsafe { device.alloc_uninit(&shape, dtype)? };
    let stream = device.cuda_stream();
    let (start, guard) = writing(&mut storage, &stream)?;
    let filled = fill(start);
    drop(guard);
    filled?;
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

fn reading<'a>(storage: &'a CudaStorage, stream: &'a CudaStream) -> Result<(Address, SyncOnDrop<'a>)> {
    Ok(match &storage.slice {
        CudaStorageSlice::F32(values) => values.device_ptr(stream),
        CudaStorageSlice::BF16(values) => values.device_ptr(stream),
        CudaStorageSlice::F16(values) => values.device_ptr(stream),
        CudaStorageSlice::U32(values) => values.device_ptr(stream),
        _ => bail!("no kernel takes {:?}", storage.dtype()),
    })
}

fn writing<'a>(storage: &'a mut CudaStorage, stream: &'a CudaStream) -> Result<(Address, SyncOnDrop<'a>)> {
    let dtype = storage.dtype();
    Ok(match &mut storage.slice {
        CudaStorageSlice::F32(values) => values.device_ptr_mut(stream),
        CudaStorageSlice::BF16(values) => values.device_ptr_mut(stream),
        CudaStorageSlice::F16(values) => values.device_ptr_mut(stream),
        _ => bail!("no kernel writes {dtype:?}"),
    })
}
