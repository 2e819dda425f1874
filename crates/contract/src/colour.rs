//! BT.709, 8 bit: what the bytes of an I420 frame mean. Source: ITU-R BT.709-6 and H.273, limited range.

/// Full-range red, green, blue, 0..255.
pub type Rgb = [f32; 3];
/// Limited-range Y (16..235), Cb and Cr (16..240).
pub type Yuv = [f32; 3];

const KR: f32 = 0.2126;
const KB: f32 = 0.0722;
const KG: f32 = 1.0 - KR - KB;

pub fn rgb_to_yuv([r, g, b]: Rgb) -> Yuv {
    let luma = KR * r + KG * g + KB * b;
    let cb = (b - luma) / (2.0 * (1.0 - KB));
    let cr = (r - luma) / (2.0 * (1.0 - KR));
    [16.0 + luma * (219.0 / 255.0), 128.0 + cb * (224.0 / 255.0), 128.0 + cr * (224.0 / 255.0)]
}

/// Not clamped: a legal Y with an extreme chroma may lie outside 0..255.
pub fn yuv_to_rgb([y, u, v]: Yuv) -> Rgb {
    let luma = (y - 16.0) * (255.0 / 219.0);
    let cb = (u - 128.0) * (255.0 / 224.0);
    let cr = (v - 128.0) * (255.0 / 224.0);
    let r = luma + 2.0 * (1.0 - KR) * cr;
    let b = luma + 2.0 * (1.0 - KB) * cb;
    [r, (luma - KR * r - KB * b) / KG, b]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primaries_land_where_the_standard_puts_them() {
        let rows: [(Rgb, [i32; 3]); 5] = [
            ([0.0, 0.0, 0.0], [16, 128, 128]),
            ([255.0, 255.0, 255.0], [235, 128, 128]),
            ([255.0, 0.0, 0.0], [63, 102, 240]),
            ([0.0, 255.0, 0.0], [173, 42, 26]),
            ([0.0, 0.0, 255.0], [32, 240, 118]),
        ];
        for (rgb, expected) in rows {
            let yuv = rgb_to_yuv(rgb);
            assert_eq!(yuv.map(|v| v.round() as i32), expected, "{rgb:?}");
            let back = yuv_to_rgb(yuv);
            assert!(rgb.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-2), "{rgb:?} {back:?}");
        }
    }
}
