//! Whatever the URL guard lets through, the second opinion must share.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/guard/oracle.rs"]
mod oracle;

static STORE: OnceLock<(tempfile::TempDir, store::Store)> = OnceLock::new();

fuzz_target!(|text: &str| {
    let (_, store) = STORE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let store = oracle::store(folder.path());
        (folder, store)
    });
    oracle::check(store, text);
});
