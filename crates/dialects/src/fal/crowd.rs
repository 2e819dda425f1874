//! A bound on the number of values in what clients send, looked at before any of them is built: one of two bytes takes thirty or more in memory. What
//! is not well formed is left for the parsers to refuse.

/// Values of one body or message; the inputs of the apps are a dozen of names with a text or a number each.
pub const MOST: usize = 4096;

/// Whether JSON holds more than `MOST` values.
pub fn in_json(text: &[u8]) -> bool {
    let (mut values, mut in_text, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b':' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
        if values > MOST {
            return true;
        }
    }
    false
}

/// Whether msgpack holds more than `MOST` values.
pub fn in_msgpack(bytes: &[u8]) -> bool {
    let (mut rest, mut values) = (bytes, 0);
    while let Some((marker, behind)) = rest.split_first() {
        values += 1;
        if values > MOST {
            return true;
        }
        let told = |digits: usize| {
            let digits = behind.get(..digits)?;
            Some(digits.iter().fold(0, |length: usize, byte| length << 8 | usize::from(*byte)))
        };
        // bytes behind the marker that are no values of their own; what lists and maps hold follows as values
        let own = match *marker {
            0xa0..=0xbf => Some(usize::from(marker & 0x1f)),
            0xc4 | 0xd9 => told(1).map(|length| 1 + length),
            0xc5 | 0xda => told(2).map(|length| 2 + length),
            0xc6 | 0xdb => told(4).map(|length| 4 + length),
            0xc7 => told(1).map(|length| 2 + length),
            0xc8 => told(2).map(|length| 3 + length),
            0xc9 => told(4).map(|length| 5 + length),
            0xcc | 0xd0 => Some(1),
            0xcd | 0xd1 | 0xd4 | 0xdc | 0xde => Some(2),
            0xd5 => Some(3),
            0xca | 0xce | 0xd2 | 0xdd | 0xdf => Some(4),
            0xd6 => Some(5),
            0xcb | 0xcf | 0xd3 => Some(8),
            0xd7 => Some(9),
            0xd8 => Some(17),
            _ => Some(0),
        };
        let Some(behind) = own.and_then(|own| behind.get(own..)) else { return false };
        rest = behind;
    }
    false
}

#[cfg(test)]
mod tests {
    use rmpv::Value;

    use super::*;

    #[test]
    fn values_are_counted_and_what_texts_hold_is_not() {
        let rows = [
            (String::new(), false),
            (format!("{{\"a\":\"{}\"}}", ",[{\\\",".repeat(MOST)), false),
            (format!("[{}0]", "0,".repeat(MOST / 2)), false),
            (format!("[{}0]", "0,".repeat(MOST)), true),
            ("[".repeat(MOST + 1), true),
            (format!("{{\"a\\\\\":[{}]}}", "{},".repeat(MOST)), true),
        ];
        for (text, expected) in rows {
            assert_eq!(in_json(text.as_bytes()), expected, "{:.40}", text);
        }
    }

    #[test]
    fn every_kind_of_msgpack_is_one_value() {
        let kinds = vec![
            Value::Nil,
            Value::from(true),
            Value::from(5),
            Value::from(-5),
            Value::from(200),
            Value::from(-200),
            Value::from(70_000),
            Value::from(-70_000),
            Value::from(i64::MAX),
            Value::from(i64::MIN),
            Value::F32(1.0),
            Value::F64(1.0),
            Value::from("short"),
            Value::from("x".repeat(40)),
            Value::from("x".repeat(300)),
            Value::from("x".repeat(70_000)),
            Value::Binary(vec![0xdd; 40]),
            Value::Binary(vec![0xdd; 300]),
            Value::Binary(vec![0xdd; 70_000]),
            Value::Ext(1, vec![0x91; 1]),
            Value::Ext(1, vec![0x91; 2]),
            Value::Ext(1, vec![0x91; 4]),
            Value::Ext(1, vec![0x91; 8]),
            Value::Ext(1, vec![0x91; 16]),
            Value::Ext(1, vec![0x91; 40]),
            Value::Ext(1, vec![0x91; 300]),
            Value::Ext(1, vec![0x91; 70_000]),
            Value::Array(Vec::new()),
            Value::Map(Vec::new()),
        ];
        let packed = |value: &Value| {
            let mut bytes = Vec::new();
            rmpv::encode::write_value(&mut bytes, value).unwrap();
            bytes
        };
        for kind in kinds {
            let one = packed(&kind);
            let list = packed(&Value::Array(vec![kind.clone(); 20]));
            for end in 0..list.len().min(64) {
                assert!(!in_msgpack(&list[..end]), "{kind}, cut: that is not for this to refuse");
            }
            // the large ones are as many as fit into memory well
            let many = one.repeat(if one.len() < 1000 { MOST } else { 20 });
            assert!(!in_msgpack(&many), "{kind}");
            if one.len() < 1000 {
                assert!(in_msgpack(&[many, one].concat()), "{kind}");
            }
        }
    }
}
