//! The URL guard against a hundred thousand mangled URLs, the same at every run.

mod oracle;

const SEEDS: [&str; 14] = [
    "http://example.com/a.png",
    "https://example.com:443/?a=b#c",
    "http://127.0.0.1/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://[::1]/",
    "http://[::ffff:10.0.0.1]:80/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://169.254.169.254/latest/",
    "http://user:pass@8.8.8.8/",
    "http://localhost./",
    "http://8.8.8.8:80/",
    "data:image/png;base64,aGVsbG8=",
];

const PIECES: [&str; 40] = [
    "0",
    "1",
    "7",
    "9",
    "255",
    "256",
    "0x",
    "0X7f",
    "017",
    ".",
    "..",
    ":",
    "::",
    "[",
    "]",
    "@",
    "/",
    "//",
    "\\",
    "?",
    "#",
    "%",
    "%2e",
    "%30",
    "%00",
    "\t",
    "\n",
    " ",
    "\u{0}",
    "。",
    "１",
    "ﬀ",
    "\u{ad}",
    "\u{200b}",
    "localhost",
    "ffff:",
    "127.0.0.1",
    "10.1",
    "64:ff9b::",
    "http:",
];

#[test]
fn what_is_let_through_is_never_an_inner_address() {
    let folder = tempfile::tempdir().unwrap();
    let store = oracle::store(folder.path());
    let mut state = 0x853c_49e6_748f_ea9b_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut let_through = 0;
    for _ in 0..100_000 {
        let mut text: Vec<char> = SEEDS[next(SEEDS.len())].chars().collect();
        for _ in 0..=next(4) {
            let at = next(text.len() + 1);
            let until = (at + next(4)).min(text.len());
            let piece = if next(4) == 0 { "" } else { PIECES[next(PIECES.len())] };
            text.splice(at..until, piece.chars());
        }
        let text: String = text.into_iter().collect();
        let_through += usize::from(store.allow_url(&text).is_ok());
        oracle::check(&store, &text);
    }
    assert!((5_000..60_000).contains(&let_through), "{let_through}: the rows are all good or all bad");
}
