//! With the feature `ptx`: compiles `src/cu/kernels.cu` to PTX that every card from compute capability 8.0 on can take.

use std::path::PathBuf;
use std::process::Command;

/// Ampere, the oldest with bf16 on its tensor cores; a driver compiles the PTX for what is newer.
const ARCH: &str = "compute_80";

fn main() {
    println!("cargo::rerun-if-changed=src/cu");
    println!("cargo::rerun-if-env-changed=NVCC");
    if std::env::var_os("CARGO_FEATURE_PTX").is_none() {
        return;
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("kernels.ptx");
    let nvcc = std::env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    let compiled = Command::new(&nvcc)
        .args(["-ptx", "-std=c++17", "-O3", "-arch", ARCH, "src/cu/kernels.cu", "-o"])
        .arg(&out)
        .status();
    match compiled {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{nvcc} could not compile src/cu/kernels.cu: {status}"),
        Err(error) => {
            panic!(
                "{nvcc} could not be started ({error}): build with scripts/cuda.sh, which sets it up, or set NVCC"
            )
        }
    }
}
