#!/usr/bin/env bash
# Installs the peer, PyTorch, from PyPI into target/peer-torch, and packages named as arguments beside it. The Linux wheel wants gigabytes of CUDA libraries that a CPU
# comparison never calls: they are left out, and empty libraries with their names and functions stand in, so that it loads.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${TORCH_VERSION:-2.15.0}
home=target/peer-torch
python=$home/bin/python
beside() { [ $# -eq 0 ] || "$python" -m pip install --quiet --disable-pip-version-check "$@"; }
if [ -e "$home/ready-$version" ]; then beside "$@"; exit; fi
python3 -m venv "$home"
# in this order: with torch there already, pip would complain of the libraries left out
"$python" -m pip install --quiet numpy typing_extensions filelock sympy networkx jinja2 fsspec
"$python" -m pip install --quiet --no-deps --force-reinstall "torch==$version"

lib=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/torch/lib
rm -f "$lib/libcuda_absent.so" # of a run that broke off
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
needed=$(readelf --dynamic "$lib"/*.so* | sed -n 's/.*(NEEDED).*\[\(lib\(cu\|nv\|nccl\)[^]]*\)\]/\1/p' | grep -v "^libcuda_absent" | sort -u)
# all functions go into one library, which the others need; what the peer defines itself is not stubbed
nm --dynamic --undefined-only "$lib"/*.so | sed -n 's/^ *U \(_*\(cu\|nv\|CU\|nccl\)[A-Za-z0-9_]*\).*/\1/p' | sort -u > "$work/wanted"
nm --dynamic --defined-only "$lib"/*.so | sed -n 's/^[0-9a-f]* [A-Za-z] \([A-Za-z0-9_]*\).*/\1/p' | sort -u > "$work/have"
comm -23 "$work/wanted" "$work/have" > "$work/missing"
{
	# __cudaRegisterFatBinary's callers keep its result; nothing reads through it
	echo 'static long nothing[4096];'
	sed 's/.*/void *&(void) { return nothing; }/' "$work/missing" | sed '/cudaGetDeviceCount\|cuInit\|cudaGetLastError/s/return nothing/return (void *)100/'
} > "$work/stub.c"
cc -shared -fPIC -w -Wl,-soname,libcuda_absent.so -o "$lib/libcuda_absent.so" "$work/stub.c"
echo > "$work/empty.c"
for name in $needed; do
	case $name in libtorch*) continue ;; esac
	cc -shared -fPIC -Wl,-soname,"$name" -Wl,--no-as-needed -Wl,-rpath,'$ORIGIN' \
		-o "$lib/$name" "$work/empty.c" "$lib/libcuda_absent.so"
done
"$python" -c 'import torch; assert not torch.cuda.is_available(); torch.ones(2, 2) @ torch.ones(2, 2)'
touch "$home/ready-$version"
beside "$@"
