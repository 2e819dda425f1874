//! `talkie-worker-cuda`

use std::process::ExitCode;

fn main() -> ExitCode {
    app::worker_cuda()
}
