// The windows of a convolution as rows of a matrix, for channels-last clips, pictures (one frame) and lines (one row of one frame):
// (b, t, h, w, c) -> (b t' h' w', kt kh kw c/groups), of which rows from `first` on are written. What lies outside is zero.
#include "number.cuh"

struct ColumnsParams {
  const void *x;
  void *y;
  unsigned long long first, rows;
  unsigned frames, height, width, channels;
  unsigned out_frames, out_height, out_width;
  unsigned taps, kernel_h, kernel_w;
  unsigned time_stride, stride, dilation, top, left;  // frames are not padded: the past is part of the clip
  unsigned from, count;                               // the channels of the group
};

template <typename T> __device__ void columns(const ColumnsParams &p) {
  const unsigned row_length = p.taps * p.kernel_h * p.kernel_w * p.count;
  const size_t total = p.rows * row_length, step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += step) {
    unsigned within = i % row_length;
    const unsigned ch = within % p.count;
    within /= p.count;
    const unsigned kw = within % p.kernel_w, kh = within / p.kernel_w % p.kernel_h, kt = within / p.kernel_w / p.kernel_h;
    size_t row = p.first + i / row_length;
    const unsigned ow = row % p.out_width;
    row /= p.out_width;
    const unsigned oh = row % p.out_height;
    row /= p.out_height;
    const unsigned ot = row % p.out_frames;
    const size_t b = row / p.out_frames;
    const int ih = (int)(oh * p.stride + kh * p.dilation) - (int)p.top;
    const int iw = (int)(ow * p.stride + kw * p.dilation) - (int)p.left;
    const unsigned it = ot * p.time_stride + kt;
    T v = narrow<T>(0.0f);
    if (ih >= 0 && ih < (int)p.height && iw >= 0 && iw < (int)p.width)
      v = ((const T *)p.x)[(((b * p.frames + it) * p.height + ih) * p.width + iw) * p.channels + p.from + ch];
    ((T *)p.y)[i] = v;
  }
}

#define KERNELS(name, T) \
  extern "C" __global__ void __launch_bounds__(256) columns_##name(ColumnsParams p) { columns<T>(p); }
EVERY_DTYPE(KERNELS)
#undef KERNELS
