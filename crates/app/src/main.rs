//! `talkie`

use std::process::ExitCode;

fn main() -> ExitCode {
    app::talkie()
}
