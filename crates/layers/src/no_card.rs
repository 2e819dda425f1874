//! What stands in for `card` where this room is built without its feature `cuda`: no card can be opened, so there is none to compute on.

use candle_core::{Device, Result, Tensor};

use crate::activation::Activation;
use crate::attention::{Mask, Sequences};
use crate::card_error::CardError;
use crate::conv3d::Conv3dConfig;
use crate::rope::Pairing;

pub fn open(_ordinal: usize) -> std::result::Result<Device, CardError> {
    Err(CardError::NotBuilt)
}

pub fn free_memory(_device: &Device) -> Option<u64> {
    None
}

/// There is none.
#[derive(Clone, Copy)]
pub(crate) enum Card {}

impl Card {
    pub(crate) fn of(_tensors: &[&Tensor]) -> Option<Self> {
        None
    }

    pub(crate) fn attends(_qkv: [&Tensor; 3]) -> Option<Self> {
        None
    }

    pub(crate) fn attention(self, _qkv: [&Tensor; 3], _mask: &Mask, _scale: f64) -> Result<Tensor> {
        match self {}
    }

    pub(crate) fn attention_of(
        self,
        _qkv: [&Tensor; 3],
        _sequences: &Sequences,
        _scale: f64,
    ) -> Result<Tensor> {
        match self {}
    }

    pub(crate) fn group_norm(
        self,
        _x: &Tensor,
        _groups: usize,
        _affine: (&Tensor, &Tensor),
        _how: (f64, Option<Activation>),
    ) -> Result<Tensor> {
        match self {}
    }

    pub(crate) fn layer_norm(
        self,
        _x: &Tensor,
        _affine: (Option<&Tensor>, Option<&Tensor>),
        _eps: f64,
    ) -> Result<Tensor> {
        match self {}
    }

    pub(crate) fn modulated_norm(
        self,
        _x: &Tensor,
        _modulation: (&Tensor, &Tensor),
        _eps: f64,
    ) -> Result<Tensor> {
        match self {}
    }

    pub(crate) fn add_gated(self, _x: &Tensor, _a: &Tensor, _gate: &Tensor) -> Result<Tensor> {
        match self {}
    }

    pub(crate) fn rms_norm(
        self,
        _x: &Tensor,
        _weight: &Tensor,
        _how: (f64, Option<Activation>),
    ) -> Result<Tensor> {
        match self {}
    }

    pub(crate) fn linear(
        self,
        _x: &Tensor,
        _parameters: (&Tensor, Option<&Tensor>),
        _act: Option<Activation>,
        _addend: Option<&Tensor>,
    ) -> Result<Tensor> {
        match self {}
    }

    pub(crate) fn convolution(
        self,
        _weight: &Tensor,
        _bias: Option<&Tensor>,
        _cfg: Conv3dConfig,
    ) -> Result<Convolution> {
        match self {}
    }

    pub(crate) fn activation(self, _x: &Tensor, _activation: Activation) -> Result<Tensor> {
        match self {}
    }

    pub(crate) fn geglu(self, _x: &Tensor) -> Result<Tensor> {
        match self {}
    }

    pub(crate) fn rope(self, _x: &Tensor, _tables: (&Tensor, &Tensor), _pairing: Pairing) -> Result<Tensor> {
        match self {}
    }
}

/// There is none either.
#[derive(Clone, Debug)]
pub(crate) enum Convolution {}

impl Convolution {
    pub(crate) fn forward(
        &self,
        _x: &Tensor,
        _act: Option<Activation>,
        _addend: Option<&Tensor>,
    ) -> Result<Tensor> {
        match *self {}
    }
}
