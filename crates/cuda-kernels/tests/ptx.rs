//! The PTX as a driver will get it: every launch names a kernel in it, whose one argument is as large as ours, and `ptxas` makes code of it
//! for Ampere and Hopper without running out of registers.
#![cfg(feature = "ptx")]

use std::path::Path;
use std::process::Command;

use cuda_kernels::{
    Act, AttentionParams, ColumnsParams, Dtype, FinishParams, GatedParams, GegluParams, GroupNormParams,
    Launch, PTX, RopeParams, RowNormParams, attention, columns, finish, gated, geglu, group_norm, rope,
    row_norm,
};

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::F16];

#[test]
fn every_launch_finds_its_kernel_and_its_argument() {
    let mut checked = 0;
    let mut check = |launch: Launch, size: usize| {
        let Launch { kernel, grid, block } = launch;
        assert!(PTX.contains(&format!(".entry {kernel}(")), "there is no {kernel}");
        let argument = format!("{kernel}_param_0[{size}]");
        assert!(PTX.contains(&argument), "{kernel} does not take {size} bytes");
        let threads: u32 = block.iter().product();
        assert!((32..=1024).contains(&threads) && threads.is_multiple_of(32), "{kernel}: {block:?}");
        assert!(grid[0] > 0 && grid[1..].iter().all(|side| (1..=65535).contains(side)), "{kernel}: {grid:?}");
        checked += 1;
    };
    for dtype in DTYPES {
        for (batch, pixels, channels) in [(1, 1, 32), (4, 1024, 320), (1, 1 << 20, 6), (65535, 4, 8)] {
            let plan = group_norm(dtype, (batch, pixels, channels), 2, (1e-5, Act::Silu)).unwrap();
            plan.launches.into_iter().for_each(|launch| check(launch, size_of::<GroupNormParams>()));
        }
        for (rows, channels) in [(1, 1), (1 << 20, 128), (7, 1 << 20)] {
            check(row_norm(dtype, rows, channels).unwrap(), size_of::<RowNormParams>());
        }
        for channels in [7, 320] {
            check(finish(dtype, channels << 20, channels), size_of::<FinishParams>());
            check(gated(dtype, channels << 20, channels), size_of::<GatedParams>());
        }
        check(geglu(dtype, 1), size_of::<GegluParams>());
        check(rope(dtype, 1 << 30), size_of::<RopeParams>());
        let windows = ColumnsParams {
            rows: 3,
            taps: 3,
            kernel_h: 3,
            kernel_w: 3,
            count: 4,
            ..ColumnsParams::default()
        };
        check(columns(dtype, &windows), size_of::<ColumnsParams>());
        for dim in [1, 40, 64, 72, 80, 128, 160].into_iter().filter(|_| dtype != Dtype::F32) {
            check(attention(dtype, (2, 32_760, 77), (40, dim)).unwrap(), size_of::<AttentionParams>());
        }
    }
    assert!(checked > 60, "{checked}");
}

#[test]
fn it_is_code_for_ampere_and_hopper() {
    let nvcc = std::env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    let ptxas = Path::new(&nvcc).with_file_name("ptxas");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = folder.join(format!("kernels-{}.ptx", std::process::id()));
    std::fs::write(&source, PTX).unwrap();
    for arch in ["sm_80", "sm_90"] {
        let made = Command::new(&ptxas)
            .args(["-v", "-arch", arch, "-o", "/dev/null"])
            .arg(&source)
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", ptxas.display()));
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{arch}: {said}");
        let spilled = said
            .lines()
            .find(|l| l.contains("spill") && !l.contains(" 0 bytes spill stores, 0 bytes spill loads"));
        assert_eq!(spilled, None, "{arch}");
        assert!(said.matches("Compiling entry function").count() > 30, "{arch}: {said}");
    }
    std::fs::remove_file(source).unwrap();
}
