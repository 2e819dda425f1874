//! Bodies: what is read is written and read again as the same, and nothing panics.
#![no_main]

use dialects::front_door::json::Json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = Json::read(bytes) else { return };
    let written = value.to_string();
    let again = Json::read(written.as_bytes()).expect("what is written can be read");
    // what JSON cannot say became null, once
    assert_eq!(again.to_string(), written);
});
