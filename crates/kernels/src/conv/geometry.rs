//! What a convolution is (kernel, stride, padding, dilation, groups) and what it makes of a picture's size.

use crate::error::{Error, Result, check_positive};

/// A batch of pictures, channels apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    pub n: usize,
    pub h: usize,
    pub w: usize,
}

impl Size {
    pub fn new(n: usize, h: usize, w: usize) -> Self {
        Self { n, h, w }
    }

    pub fn pixels(self) -> usize {
        self.n * self.h * self.w
    }
}

/// Zeros around a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Padding {
    pub top: usize,
    pub bottom: usize,
    pub left: usize,
    pub right: usize,
}

impl Padding {
    /// the same on all four sides
    pub fn all(p: usize) -> Self {
        Self { top: p, bottom: p, left: p, right: p }
    }

    /// left and right only: a convolution over a line
    pub fn sides(p: usize) -> Self {
        Self { left: p, right: p, ..Self::default() }
    }

    /// the encoder's downsampling of the SD and Wan VAEs: `pad(0, 1, 0, 1)`
    pub fn right_and_bottom(p: usize) -> Self {
        Self { bottom: p, right: p, ..Self::default() }
    }
}

/// A 2D convolution's numbers; pairs are (vertical, horizontal). A 1D convolution has height 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvSpec {
    pub in_channels: usize,
    pub out_channels: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub padding: Padding,
    pub groups: usize,
}

impl ConvSpec {
    /// Stride 1, no padding, no dilation, one group.
    pub fn new(in_channels: usize, out_channels: usize, kernel: [usize; 2]) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel,
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding::default(),
            groups: 1,
        }
    }

    pub fn stride(self, stride: [usize; 2]) -> Self {
        Self { stride, ..self }
    }

    pub fn dilation(self, dilation: [usize; 2]) -> Self {
        Self { dilation, ..self }
    }

    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// input channels of a group
    pub fn group_in(&self) -> usize {
        self.in_channels / self.groups
    }

    /// output channels of a group
    pub fn group_out(&self) -> usize {
        self.out_channels / self.groups
    }

    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// values of the weight tensor (out, in / groups, kh, kw)
    pub fn weights(&self) -> usize {
        self.out_channels * self.group_in() * self.taps()
    }

    /// Refuses numbers that no convolution can have.
    pub fn check(&self) -> Result<()> {
        for (what, got) in [
            ("input channels", self.in_channels),
            ("output channels", self.out_channels),
            ("kernel height", self.kernel[0]),
            ("kernel width", self.kernel[1]),
            ("vertical stride", self.stride[0]),
            ("horizontal stride", self.stride[1]),
            ("vertical dilation", self.dilation[0]),
            ("horizontal dilation", self.dilation[1]),
            ("groups", self.groups),
        ] {
            check_positive(what, got)?;
        }
        for (what, got) in [("input channels", self.in_channels), ("output channels", self.out_channels)] {
            if !got.is_multiple_of(self.groups) {
                return Err(Error::Shape {
                    what,
                    got,
                    limit: "a multiple of the groups",
                    remedy: "check the weights",
                });
            }
        }
        Ok(())
    }

    /// The size of the output.
    pub fn output(&self, input: Size) -> Result<Size> {
        let p = self.padding;
        let side = |what, len: usize, pads: usize, axis: usize| {
            let reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
            (len + pads).checked_sub(reach).map(|rest| rest / self.stride[axis] + 1).ok_or(Error::Shape {
                what,
                got: len,
                limit: "at least the kernel's reach less the padding",
                remedy: "pass a larger picture",
            })
        };
        let h = side("picture height", input.h, p.top + p.bottom, 0)?;
        let w = side("picture width", input.w, p.left + p.right, 1)?;
        Ok(Size { n: input.n, h, w })
    }

    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.padding == Padding::default()
            && self.groups == 1
    }

    pub(crate) fn is_depthwise(&self) -> bool {
        self.group_in() == 1 && self.group_out() == 1
    }

    /// 3x3, stride 1: what Winograd's tiles can do
    pub(crate) fn is_winograd(&self) -> bool {
        self.kernel == [3, 3] && self.stride == [1, 1] && self.dilation == [1, 1] && self.groups == 1
    }
}
