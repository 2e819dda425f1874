//! From the stored picture to a `Frame` of the wanted layout: upright, at most `longest`, even where I420 needs it,
//! BT.709 limited. One filter chain for stills and clips.

use contract::{Layout, Size};

use crate::VideoProbe;

/// Size that frames get: scaled down to `longest`, never up.
pub(crate) fn fit(natural: Size, layout: Layout, longest: u32) -> Size {
    let longest = longest.max(2);
    let scaled = if natural.longest() > longest {
        let factor = f64::from(longest) / f64::from(natural.longest());
        let side = |s: u32| ((f64::from(s) * factor).round() as u32).max(1);
        Size::new(side(natural.width), side(natural.height))
    } else {
        natural
    };
    match layout {
        Layout::I420 => Size::new((scaled.width & !1).max(2), (scaled.height & !1).max(2)),
        Layout::Rgb24 => scaled,
    }
}

/// What the encoder makes of pictures of `size`: chroma comes in pairs of rows and columns, and an odd last one is cut off.
pub fn encoded(size: Size) -> Size {
    Size::new(size.width & !1, size.height & !1)
}

/// The filter that scales to `size`: as a whole, or until it is filled and the rest can be cut off on either side.
pub(crate) fn scaled(size: Size, fills: bool, options: &str) -> String {
    let Size { width, height } = size;
    if fills {
        format!(
            "scale={width}:{height}:force_original_aspect_ratio=increase:{options},crop={width}:{height}:exact=1"
        )
    } else {
        format!("scale={width}:{height}:{options}")
    }
}

/// The filters that turn stored pixels of `video` into frames of `size` which it fills, cut at its centre.
pub(crate) fn filling(video: &VideoProbe, layout: Layout, size: Size) -> String {
    let mut chain: Vec<String> = video.turn.filters().iter().map(|&f| f.to_owned()).collect();
    if video.pixel_format.starts_with("mono") {
        chain.push("format=gray".to_owned());
    }
    chain.push(scaled(size, true, &conversion(video, layout)));
    chain.push(format!("format={}", pixel_format(layout)));
    chain.join(",")
}

/// The filters that turn stored pixels of `video` into frames of `size`.
pub(crate) fn filters(video: &VideoProbe, layout: Layout, size: Size) -> String {
    let mut chain: Vec<String> = video.turn.filters().iter().map(|&f| f.to_owned()).collect();
    if video.pixel_format.starts_with("mono") {
        chain.push("format=gray".to_owned()); // straight from one bit, swscale takes white for 255 of 235
    }
    // one odd column or row is cut off, so that a picture that needs no scaling stays pixel for pixel
    let cut_only = video.turn.apply(video.stored) == video.upright
        && video.upright.width - size.width <= 1
        && video.upright.height - size.height <= 1;
    if cut_only && size != video.upright {
        chain.push(format!("crop={}:{}:0:0:exact=1", size.width, size.height));
    }
    chain.push(scaled(size, false, &conversion(video, layout)));
    chain.push(format!("format={}", pixel_format(layout)));
    chain.join(",")
}

/// How colours and sizes are converted.
fn conversion(video: &VideoProbe, layout: Layout) -> String {
    // untagged: standard definition is BT.601, from 720 lines on BT.709, as players guess
    let matrix = match (video.matrix_told, video.stored.height >= 720) {
        (true, _) => "auto",
        (false, true) => "bt709",
        (false, false) => "bt601",
    };
    let out = match layout {
        Layout::I420 => ":out_color_matrix=bt709:out_range=tv",
        Layout::Rgb24 => "",
    };
    let flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp";
    format!("flags={flags}:in_color_matrix={matrix}{out}")
}

pub(crate) fn pixel_format(layout: Layout) -> &'static str {
    match layout {
        Layout::I420 => "yuv420p",
        Layout::Rgb24 => "rgb24",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_shrink_to_the_limit_and_never_grow() {
        let rows = [
            ((4032, 3024), 1280, (1280, 960)),
            ((333, 501), 1280, (332, 500)),
            ((100, 2000), 500, (24, 500)),
            ((16, 16), 512, (16, 16)),
            ((20_000, 10), 500, (500, 2)),
        ];
        for ((w, h), longest, (ew, eh)) in rows {
            assert_eq!(fit(Size::new(w, h), Layout::I420, longest), Size::new(ew, eh), "{w}x{h}");
        }
        assert_eq!(fit(Size::new(333, 501), Layout::Rgb24, 1280), Size::new(333, 501));
    }
}
