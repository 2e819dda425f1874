//! The names under which a source holds a linear layer's weight as whole numbers with a scale a row: those of optimum-quanto's files.

/// Below the layer's name, in place of `weight`.
#[derive(Clone, Copy, Debug)]
pub struct Int8Names {
    /// (o, i), in two's complement; handed out as u8, because candle has no i8.
    pub data: &'static str,
    /// (o, 1)
    pub scale: &'static str,
}

pub const INT8: Int8Names = Int8Names { data: "weight._data", scale: "weight._scale" };

impl Int8Names {
    /// Whether a key is one of the two.
    pub fn is_part(&self, key: &str) -> bool {
        [self.data, self.scale].iter().any(|name| {
            key.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    }
}
