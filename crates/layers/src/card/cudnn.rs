//! Convolutions by cuDNN, channels-last on both sides, where it is installed and supports them. f32 is multiplied as f32 (`CUDNN_FMA_MATH`), not as TF32.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use candle_core::cuda::cudarc::cudnn::{ConvForward, Cudnn, CudnnDataType, CudnnError, sys};
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaView, DeviceRepr};
use candle_core::cuda::{CudaDType, CudaStorage, DeviceId};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, DType, Error, Result, Storage, Tensor, WithDType, bail};
use half::{bf16, f16};

use super::convolution::Shapes;
use super::launch::card_of;
use crate::conv3d::Conv3dConfig;

thread_local! {
    /// A handle belongs to a thread.
    static HANDLES: RefCell<HashMap<DeviceId, Arc<Cudnn>>> = RefCell::default();
    /// What cuDNN's heuristics said of a convolution, and the bytes it borrows; `None` where it does not support it.
    static PICKED: RefCell<HashMap<Asked, Option<Picked>>> = RefCell::default();
}

type Asked = (DeviceId, DType, [usize; 5], [usize; 10], [usize; 5]);
type Picked = (sys::cudnnConvolutionFwdAlgo_t, usize);

fn is_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    // SAFETY: only tries to load the library by its usual names
    *INSTALLED.get_or_init(|| unsafe { sys::is_culib_present() })
}

/// x: (b, t, h, w, c), weight: (o, taps, kh, kw, c / groups) -> (b, t', h', w', o), or nothing where cuDNN does not do it.
pub(super) fn convolve(
    x: &Tensor,
    weight: &Tensor,
    cfg: (&Conv3dConfig, (usize, usize)),
    shapes: Shapes,
) -> Result<Option<Tensor>> {
    let indexed = |dims: [usize; 5]| dims.iter().product::<usize>() <= i32::MAX as usize;
    if !is_installed() || !indexed(shapes.x) || !indexed(shapes.y) {
        return Ok(None);
    }
    match x.dtype() {
        DType::F32 => typed::<f32>(x, weight, cfg, shapes),
        DType::BF16 => typed::<bf16>(x, weight, cfg, shapes),
        DType::F16 => typed::<f16>(x, weight, cfg, shapes),
        _ => Ok(None),
    }
}

fn typed<T: CudaDType + CudnnDataType + DeviceRepr + WithDType>(
    x: &Tensor,
    weight: &Tensor,
    cfg: (&Conv3dConfig, (usize, usize)),
    shapes: Shapes,
) -> Result<Option<Tensor>> {
    let device = card_of(x)?;
    let (x_held, x_layout) = x.storage_and_layout();
    let (w_held, w_layout) = weight.storage_and_layout();
    let (Storage::Cuda(x_storage), Storage::Cuda(w_storage)) = (&*x_held, &*w_held) else {
        bail!("a tensor of this convolution is not on the card")
    };
    let x_view = x_storage.as_cuda_slice::<T>()?.slice(x_layout.start_offset()..);
    let w_view = w_storage.as_cuda_slice::<T>()?.slice(w_layout.start_offset()..);
    // SAFETY: the convolution writes every value before anything that reads them is put on the stream
    let mut y = unsafe { device.alloc::<T>(shapes.y.iter().product())? };
    let operands = Operands { device: &device, x: &x_view, weight: &w_view };
    if !operands.run(&mut y, weight.dims(), cfg, shapes)? {
        return Ok(None);
    }
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(y, device));
    Ok(Some(Tensor::from_storage(storage, shapes.y.as_slice(), BackpropOp::none(), false)))
}

struct Operands<'a, T> {
    device: &'a CudaDevice,
    x: &'a CudaView<'a, T>,
    weight: &'a CudaView<'a, T>,
}

impl<T: CudaDType + CudnnDataType + DeviceRepr + WithDType> Operands<'_, T> {
    /// Whether cuDNN did it.
    fn run(
        &self,
        y: &mut CudaSlice<T>,
        weight: &[usize],
        (cfg, padding): (&Conv3dConfig, (usize, usize)),
        shapes: Shapes,
    ) -> Result<bool> {
        let cudnn = handle(self.device)?;
        let frame = &cfg.frame;
        // clips have an axis of time, and cuDNN no convolution with fewer than two axes
        let clip = cfg.taps > 1 || shapes.x[1] > 1;
        let axes =
            |of: [usize; 3]| -> Vec<i32> { of.iter().skip(usize::from(!clip)).map(|v| *v as i32).collect() };
        let mut conv = cudnn
            .create_convnd::<f32>(
                &axes([0, padding.0, padding.1]),
                &axes([cfg.time_stride, frame.stride, frame.stride]),
                &axes([1, frame.dilation, frame.dilation]),
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
            )
            .map_err(Error::wrap)?;
        conv.set_math_type(match T::DTYPE {
            DType::F32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
            _ => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        })
        .map_err(Error::wrap)?;
        conv.set_group_count(frame.groups as i32).map_err(Error::wrap)?;
        // channels first in what is listed, last in memory
        let listed = |[b, t, h, w, c]: [usize; 5]| -> (Vec<i32>, Vec<i32>) {
            let dims = [b, c].map(|v| v as i32).into_iter().chain(axes([t, h, w])).collect();
            let strides = [t * h * w * c, 1].map(|v| v as i32).into_iter();
            (dims, strides.chain(axes([h * w * c, w * c, c])).collect())
        };
        let ((x_dims, x_strides), (y_dims, y_strides)) = (listed(shapes.x), listed(shapes.y));
        let &[o, taps, kh, kw, per_group] = weight else {
            bail!("a weight of {weight:?} is no convolution's")
        };
        let filter: Vec<i32> =
            [o, per_group].map(|v| v as i32).into_iter().chain(axes([taps, kh, kw])).collect();
        let x = cudnn.create_nd_tensor::<T>(&x_dims, &x_strides).map_err(Error::wrap)?;
        let out = cudnn.create_nd_tensor::<T>(&y_dims, &y_strides).map_err(Error::wrap)?;
        let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let w = cudnn.create_nd_filter::<T>(format, &filter).map_err(Error::wrap)?;
        let forward = ConvForward { conv: &conv, x: &x, w: &w, y: &out };
        let asked = (
            self.device.id(),
            T::DTYPE,
            shapes.x,
            [o, taps, kh, kw, per_group, padding.0, padding.1, frame.stride, frame.dilation, cfg.time_stride],
            shapes.y,
        );
        let Some((algorithm, bytes)) = picked(asked, &forward)? else { return Ok(false) };
        // SAFETY: scratch, which cuDNN writes before it reads
        let Ok(mut scratch) = (unsafe { self.device.alloc::<u8>(bytes.max(1)) }) else {
            // the other way takes less
            return Ok(false);
        };
        // SAFETY: the operands are as the descriptors say
        unsafe {
            forward.launch(algorithm, Some(&mut scratch), (T::one(), T::zero()), self.x, self.weight, y)
        }
        .map_err(Error::wrap)?;
        Ok(true)
    }
}

fn handle(device: &CudaDevice) -> Result<Arc<Cudnn>> {
    HANDLES.with_borrow_mut(|handles| {
        if let Some(handle) = handles.get(&device.id()) {
            return Ok(Arc::clone(handle));
        }
        let handle = Cudnn::new(device.cuda_stream()).map_err(Error::wrap)?;
        handles.insert(device.id(), Arc::clone(&handle));
        Ok(handle)
    })
}

/// By cuDNN's heuristics, once for every shape.
fn picked<T: CudnnDataType>(asked: Asked, forward: &ConvForward<T, f32, T>) -> Result<Option<Picked>> {
    if let Some(picked) = PICKED.with_borrow(|picked| picked.get(&asked).copied()) {
        return Ok(picked);
    }
    let found = forward
        .pick_algorithm()
        .and_then(|algorithm| Ok((algorithm, forward.get_workspace_size(algorithm)?)));
    let found = match found {
        Ok(found) => Some(found),
        Err(error) if is_unsupported(&error) => None,
        Err(error) => return Err(Error::wrap(error)),
    };
    PICKED.with_borrow_mut(|picked| picked.insert(asked, found));
    Ok(found)
}

/// cuDNN 9 says why in what it adds to the code (cudnnStatus_t).
fn is_unsupported(error: &CudnnError) -> bool {
    (sys::cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED as u32..4000).contains(&(error.0 as u32))
}
