//! The blocks of q8_0, byte for byte.

use kernels::q8_0;

#[test]
fn q8_0_is_what_ggml_writes() {
    // a block whose largest value is 127 quarters: scale 0.25, values as they are
    let mut values: Vec<f32> = (0..32).map(|i| i as f32 * 0.25).collect();
    values[31] = -31.75;
    let bytes = q8_0::quantize(&values).unwrap();
    assert_eq!((bytes.len(), &bytes[..2]), (34, &0x3400u16.to_le_bytes()[..]));
    assert_eq!((bytes[2 + 5], bytes[2 + 31] as i8), (5, -127));
    assert_eq!(q8_0::dequantize(&bytes, 32).unwrap(), values);
    // every f16 survives the way to f32 and back
    for bits in (0..=u16::MAX).filter(|b| b & 0x7c00 != 0x7c00) {
        assert_eq!(q8_0::f32_to_f16(q8_0::f16_to_f32(bits)), bits);
    }
}
