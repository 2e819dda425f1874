//! The windows of a convolution as rows of a matrix: `cu/columns.cu`.

use crate::{Address, Dtype, Launch, walk};

/// Of clips (b, t, h, w, c); a picture is a clip of one frame, a line a picture of one row.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ColumnsParams {
    pub x: Address,
    pub y: Address,
    /// The rows (b t' h' w') to write.
    pub first: u64,
    pub rows: u64,
    pub frames: u32,
    pub height: u32,
    pub width: u32,
    pub channels: u32,
    pub out_frames: u32,
    pub out_height: u32,
    pub out_width: u32,
    pub taps: u32,
    pub kernel_h: u32,
    pub kernel_w: u32,
    pub time_stride: u32,
    pub stride: u32,
    pub dilation: u32,
    pub top: u32,
    pub left: u32,
    /// The channels of the group.
    pub from: u32,
    pub count: u32,
}

impl ColumnsParams {
    /// Values of one row.
    pub fn row_length(&self) -> usize {
        (self.taps * self.kernel_h * self.kernel_w * self.count) as usize
    }
}

pub fn columns(dtype: Dtype, params: &ColumnsParams) -> Launch {
    walk(format!("columns_{}", dtype.name()), params.rows as usize * params.row_length())
}
