// The kernels of message.cpp for NVIDIA GPUs, compiled when they are first needed (gpu.cpp).
//
// `Real` is the network's scalar type; the formulas and symbols are those of message.cpp. One block
// owns one row (a centre, a neighbour, or an interval of the table), so there are no atomics and the
// result does not depend on the run. Threads: x is the channel, y a share of the row's edges; sums
// over y are taken in a fixed order at the end. x spans whole warps, so every warp is at one edge.
//
// The geometry of an edge is worked out once per block, in double, by one thread; the channels then
// read it from shared memory.

#ifndef KERNEL
#define KERNEL extern "C" __global__ void
#endif

typedef long long int64;

#define CHUNK 32         // edges whose geometry a block holds at a time
#define MAX_THREADS 512  // of a block, and so of the channels
#define MAX_WARPS 16
#define FILTER(coef, p)                                                   \
  ((coef)[0] * (p)[0] + (coef)[1] * (p)[width] + (coef)[2] * (p)[2 * width] + \
   (coef)[3] * (p)[3 * width])

struct EdgeList {
  const int64 *centre, *neighbour;
  const int64 *start, *order;  // of the rows that this kernel owns
  const double *vec;
  int64 n_row, n_edge;
};

struct Shape {
  int F;          // channels
  int intervals;  // of the table
  double cutoff;  // Å
};

struct Knot {
  bool inside;
  int64 edge, other;  // `other`: the node at the other end
  int row;            // first of the four rows of the table
  double u[3], inv_r;
  Real w[4], d[4], ur[3];
  Real q[3];          // rate of u, where there is a direction (EdgeRate of message.cpp)
};

__device__ void locate(Knot &k, const double *e, const Shape &s) {
  const double r = sqrt(e[0] * e[0] + e[1] * e[1] + e[2] * e[2]);
  k.inside = !(r >= s.cutoff);  // what is not a number goes on, into the forces, and is seen there
  if (!k.inside) return;
  k.inv_r = r > 1e-12 ? 1.0 / r : 0.0;
  for (int a = 0; a < 3; ++a) {
    k.u[a] = e[a] * k.inv_r;
    k.ur[a] = k.u[a];
  }
  const double inv_h = s.intervals / s.cutoff, position = r * inv_h;
  int index = (int)position;
  index = index < 0 ? 0 : index > s.intervals - 1 ? s.intervals - 1 : index;
  const double t = position - index, o = 1.0 - t;
  k.w[0] = o * o * o / 6;
  k.w[1] = (3 * t * t * t - 6 * t * t + 4) / 6;
  k.w[2] = (3 * o * o * o - 6 * o * o + 4) / 6;
  k.w[3] = t * t * t / 6;
  k.d[0] = -o * o / 2 * inv_h;
  k.d[1] = (3 * t * t - 4 * t) / 2 * inv_h;
  k.d[2] = -(3 * o * o - 4 * o) / 2 * inv_h;
  k.d[3] = t * t / 2 * inv_h;
  k.row = index;
}

// Along a direction he of the edge vector: q is the rate of u, and d becomes the rate of W.
__device__ void add_rate(Knot &k, const double *he) {
  const double p = k.u[0] * he[0] + k.u[1] * he[1] + k.u[2] * he[2];
  for (int a = 0; a < 3; ++a) {
    k.q[a] = (he[a] - k.u[a] * p) * k.inv_r;
  }
  for (int a = 0; a < 4; ++a) k.d[a] *= p;
}

// Fills `knots` with edges first .. first + CHUNK of a row; returns how many there are.
__device__ int load_chunk(Knot *knots, const EdgeList &E, const int64 *other, const Shape &s,
                          int64 first, int64 last, const double *he) {
  const int id = threadIdx.y * blockDim.x + threadIdx.x;
  const int64 left = last - first;
  const int count = left < CHUNK ? (int)left : CHUNK;
  __syncthreads();  // the chunk before is done with
  if (id < count) {
    Knot k;
    k.edge = E.order[first + id];
    k.other = other[k.edge];
    locate(k, E.vec + 3 * k.edge, s);
    if (he && k.inside) add_rate(k, he + 3 * k.edge);
    knots[id] = k;
  }
  __syncthreads();
  return count;
}

// Sum over threadIdx.y, in order; the result is good where threadIdx.y is 0.
__device__ Real sum_shares(Real value, Real *scratch) {
  if (blockDim.y == 1) return value;
  __syncthreads();
  scratch[threadIdx.y * blockDim.x + threadIdx.x] = value;
  __syncthreads();
  Real sum = 0;
  if (threadIdx.y == 0)
    for (int y = 0; y < blockDim.y; ++y) sum += scratch[y * blockDim.x + threadIdx.x];
  return sum;
}

// Sums of four values over a warp: lanes 0, 8, 16 and 24 hold that of a, b, c and d.
__device__ Real warp_sum4(Real a, Real b, Real c, Real d) {
  const int lane = threadIdx.x & 31;
  const bool high = lane & 16, low = lane & 8;
  Real p = high ? c : a, q = high ? d : b;
  p += __shfl_xor_sync(0xffffffffu, high ? a : c, 16);
  q += __shfl_xor_sync(0xffffffffu, high ? b : d, 16);
  Real r = low ? q : p;
  r += __shfl_xor_sync(0xffffffffu, low ? p : q, 8);
  for (int step = 4; step; step >>= 1) r += __shfl_xor_sync(0xffffffffu, r, step);
  return r;
}

KERNEL message(EdgeList E, Shape s, const Real *__restrict__ x,
                                   const Real *__restrict__ v, const Real *__restrict__ table,
                                   Real *__restrict__ ds, Real *__restrict__ dv) {
  __shared__ Real scratch[MAX_THREADS];
  __shared__ Knot knots[CHUNK];
  const int f = threadIdx.x, F = s.F, width = 3 * F;
  const bool mine = f < F;
  const int64 i = blockIdx.x;
  Real sum = 0, sx = 0, sy = 0, sz = 0;
  const int64 last = E.start[i + 1];
  for (int64 first = E.start[i]; first < last; first += CHUNK) {
    const int count = load_chunk(knots, E, E.neighbour, s, first, last, nullptr);
    for (int n = threadIdx.y; n < count; n += blockDim.y) {
      const Knot &k = knots[n];
      if (!k.inside || !mine) continue;
      const Real *t = table + (int64)k.row * width + f;
      const Real *xj = x + k.other * width + f;
      sum += FILTER(k.w, t) * xj[0];
      const Real b = FILTER(k.w, t + F) * xj[F];
      sx += k.ur[0] * b;
      sy += k.ur[1] * b;
      sz += k.ur[2] * b;
      if (v) {
        const Real c = FILTER(k.w, t + 2 * F) * xj[2 * F];
        const Real *vj = v + k.other * width + f;
        sx += c * vj[0];
        sy += c * vj[F];
        sz += c * vj[2 * F];
      }
    }
  }
  sum = sum_shares(sum, scratch);
  sx = sum_shares(sx, scratch);
  sy = sum_shares(sy, scratch);
  sz = sum_shares(sz, scratch);
  if (!mine || threadIdx.y) return;
  ds[i * F + f] = sum;
  dv[i * width + f] = sx;
  dv[i * width + F + f] = sy;
  dv[i * width + 2 * F + f] = sz;
}

KERNEL message_backward(EdgeList E, Shape s, const Real *__restrict__ gs,
                                            const Real *__restrict__ gv,
                                            const Real *__restrict__ x,
                                            const Real *__restrict__ v,
                                            const Real *__restrict__ table, Real *__restrict__ gx,
                                            Real *__restrict__ gvn, double *__restrict__ ge) {
  __shared__ Real scratch[MAX_THREADS];
  __shared__ Knot knots[CHUNK];
  __shared__ Real partial[CHUNK][MAX_WARPS][4];  // radial, tx, ty, tz by warps of channels
  const int f = threadIdx.x, F = s.F, width = 3 * F;
  const bool mine = f < F;
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, warps = blockDim.x >> 5;
  const int id = threadIdx.y * blockDim.x + threadIdx.x;
  const int64 j = blockIdx.x;
  Real xa = 0, xb = 0, xc = 0, nx = 0, ny = 0, nz = 0;
  if (mine) {
    const Real *xj = x + j * width + f;
    xa = xj[0];
    xb = xj[F];
    if (v) {
      xc = xj[2 * F];
      const Real *vj = v + j * width + f;
      nx = vj[0];
      ny = vj[F];
      nz = vj[2 * F];
    }
  }
  Real ga = 0, gb = 0, gc = 0, ox = 0, oy = 0, oz = 0;
  const int64 last = E.start[j + 1];
  for (int64 first = E.start[j]; first < last; first += CHUNK) {
    const int count = load_chunk(knots, E, E.centre, s, first, last, nullptr);
    for (int n = threadIdx.y; n < count; n += blockDim.y) {
      const Knot &k = knots[n];
      if (!k.inside) continue;
      Real radial = 0, tx = 0, ty = 0, tz = 0;
      if (mine) {
        const Real *t = table + (int64)k.row * width + f;
        const Real si = gs[k.other * F + f];
        const Real *hi = gv + k.other * width + f;
        const Real hx = hi[0], hy = hi[F], hz = hi[2 * F];
        const Real along = k.ur[0] * hx + k.ur[1] * hy + k.ur[2] * hz;
        const Real wb = FILTER(k.w, t + F);
        ga += FILTER(k.w, t) * si;
        gb += wb * along;
        const Real b = wb * xb;
        tx = b * hx;
        ty = b * hy;
        tz = b * hz;
        radial = FILTER(k.d, t) * xa * si + FILTER(k.d, t + F) * xb * along;
        if (v) {
          const Real mix = nx * hx + ny * hy + nz * hz, wc = FILTER(k.w, t + 2 * F);
          gc += wc * mix;
          const Real c = wc * xc;
          ox += c * hx;
          oy += c * hy;
          oz += c * hz;
          radial += FILTER(k.d, t + 2 * F) * xc * mix;
        }
      }
      const Real total = warp_sum4(radial, tx, ty, tz);
      if ((lane & 7) == 0) partial[n][warp][lane >> 3] = total;
    }
    __syncthreads();
    if (id < count && knots[id].inside) {
      const Knot &k = knots[id];
      double g[4] = {0, 0, 0, 0};
      for (int w = 0; w < warps; ++w)
        for (int a = 0; a < 4; ++a) g[a] += partial[id][w][a];
      // dE/de = u dE/dr + (1 - u u^T) dE/du / r
      const double ut = k.u[0] * g[1] + k.u[1] * g[2] + k.u[2] * g[3];
      for (int a = 0; a < 3; ++a)
        ge[3 * k.edge + a] = k.u[a] * g[0] + (g[a + 1] - k.u[a] * ut) * k.inv_r;
    }
  }
  ga = sum_shares(ga, scratch);
  gb = sum_shares(gb, scratch);
  if (v) {
    gc = sum_shares(gc, scratch);
    ox = sum_shares(ox, scratch);
    oy = sum_shares(oy, scratch);
    oz = sum_shares(oz, scratch);
  }
  if (!mine || threadIdx.y) return;
  Real *g = gx + j * width + f;
  g[0] = ga;
  g[F] = gb;
  g[2 * F] = gc;
  if (v) {
    Real *o = gvn + j * width + f;
    o[0] = ox;
    o[F] = oy;
    o[2 * F] = oz;
  }
}

// What lands on centres: the tangent of `message` along (hx, hv, he).
KERNEL tangent(EdgeList E, Shape s, const Real *__restrict__ x,
                                   const Real *__restrict__ v, const Real *__restrict__ table,
                                   const Real *__restrict__ hx, const Real *__restrict__ hv,
                                   const double *__restrict__ he, Real *__restrict__ ds,
                                   Real *__restrict__ dv) {
  __shared__ Real scratch[MAX_THREADS];
  __shared__ Knot knots[CHUNK];
  const int f = threadIdx.x, F = s.F, width = 3 * F;
  const bool mine = f < F;
  const int64 i = blockIdx.x;
  Real sum = 0, sx = 0, sy = 0, sz = 0;
  const int64 last = E.start[i + 1];
  for (int64 first = E.start[i]; first < last; first += CHUNK) {
    const int count = load_chunk(knots, E, E.neighbour, s, first, last, he);
    for (int n = threadIdx.y; n < count; n += blockDim.y) {
      const Knot &k = knots[n];
      if (!k.inside || !mine) continue;
      const Real *t = table + (int64)k.row * width + f;
      const Real *xj = x + k.other * width + f, *yj = hx + k.other * width + f;
      sum += FILTER(k.w, t) * yj[0] + FILTER(k.d, t) * xj[0];
      const Real wb = FILTER(k.w, t + F);
      const Real along_u = wb * yj[F] + FILTER(k.d, t + F) * xj[F];
      const Real along_q = wb * xj[F];
      sx += k.ur[0] * along_u + k.q[0] * along_q;
      sy += k.ur[1] * along_u + k.q[1] * along_q;
      sz += k.ur[2] * along_u + k.q[2] * along_q;
      if (v) {
        const Real wc = FILTER(k.w, t + 2 * F);
        const Real c = wc * yj[2 * F] + FILTER(k.d, t + 2 * F) * xj[2 * F];
        const Real cc = wc * xj[2 * F];
        const Real *vj = v + k.other * width + f, *mj = hv + k.other * width + f;
        sx += c * vj[0] + cc * mj[0];
        sy += c * vj[F] + cc * mj[F];
        sz += c * vj[2 * F] + cc * mj[2 * F];
      }
    }
  }
  sum = sum_shares(sum, scratch);
  sx = sum_shares(sx, scratch);
  sy = sum_shares(sy, scratch);
  sz = sum_shares(sz, scratch);
  if (!mine || threadIdx.y) return;
  ds[i * F + f] = sum;
  dv[i * width + f] = sx;
  dv[i * width + F + f] = sy;
  dv[i * width + 2 * F + f] = sz;
}

// What lands on neighbours: the derivative of message_backward's gx and gvn's sources.
KERNEL message_backward2(
    EdgeList E, Shape s, const Real *__restrict__ gs, const Real *__restrict__ gv,
    const Real *__restrict__ x, const Real *__restrict__ v, const Real *__restrict__ table,
    const Real *__restrict__ hx, const Real *__restrict__ hv, const double *__restrict__ he,
    Real *__restrict__ gx, Real *__restrict__ gvn) {
  __shared__ Real scratch[MAX_THREADS];
  __shared__ Knot knots[CHUNK];
  const int f = threadIdx.x, F = s.F, width = 3 * F;
  const bool mine = f < F;
  const int64 j = blockIdx.x;
  Real xc = 0, yc = 0, nx = 0, ny = 0, nz = 0, mx = 0, my = 0, mz = 0;
  if (mine && v) {
    xc = x[j * width + 2 * F + f];
    yc = hx[j * width + 2 * F + f];
    const Real *vj = v + j * width + f, *mj = hv + j * width + f;
    nx = vj[0];
    ny = vj[F];
    nz = vj[2 * F];
    mx = mj[0];
    my = mj[F];
    mz = mj[2 * F];
  }
  Real ga = 0, gb = 0, gc = 0, ox = 0, oy = 0, oz = 0;
  const int64 last = E.start[j + 1];
  for (int64 first = E.start[j]; first < last; first += CHUNK) {
    const int count = load_chunk(knots, E, E.centre, s, first, last, he);
    for (int n = threadIdx.y; n < count; n += blockDim.y) {
      const Knot &k = knots[n];
      if (!k.inside || !mine) continue;
      const Real *t = table + (int64)k.row * width + f;
      const Real *h = gv + k.other * width + f;
      const Real gx_ = h[0], gy_ = h[F], gz_ = h[2 * F];
      const Real along_u = k.ur[0] * gx_ + k.ur[1] * gy_ + k.ur[2] * gz_;
      const Real along_q = k.q[0] * gx_ + k.q[1] * gy_ + k.q[2] * gz_;
      ga += FILTER(k.d, t) * gs[k.other * F + f];
      gb += FILTER(k.d, t + F) * along_u + FILTER(k.w, t + F) * along_q;
      if (v) {
        const Real mix = nx * gx_ + ny * gy_ + nz * gz_;
        const Real mix_h = mx * gx_ + my * gy_ + mz * gz_;
        const Real wc = FILTER(k.w, t + 2 * F), dc = FILTER(k.d, t + 2 * F);
        gc += dc * mix + wc * mix_h;
        const Real c = wc * yc + dc * xc;
        ox += c * gx_;
        oy += c * gy_;
        oz += c * gz_;
      }
    }
  }
  ga = sum_shares(ga, scratch);
  gb = sum_shares(gb, scratch);
  if (v) {
    gc = sum_shares(gc, scratch);
    ox = sum_shares(ox, scratch);
    oy = sum_shares(oy, scratch);
    oz = sum_shares(oz, scratch);
  }
  if (!mine || threadIdx.y) return;
  Real *g = gx + j * width + f;
  g[0] = ga;
  g[F] = gb;
  g[2 * F] = gc;
  if (v) {
    Real *o = gvn + j * width + f;
    o[0] = ox;
    o[F] = oy;
    o[2 * F] = oz;
  }
}

// Interval of the table that every edge falls into; `intervals` where it is beyond the cut-off.
KERNEL table_interval(const double *__restrict__ vec, int64 n_edge, Shape s,
                                          int *__restrict__ interval) {
  const int64 e = (int64)blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= n_edge) return;
  Knot k;
  locate(k, vec + 3 * e, s);
  interval[e] = k.inside ? k.row : s.intervals;
}

// Gradient by the table, one block per interval: partial[interval][row of four][3F]. With a
// direction (hx, hv, he) that of message_backward2, else that of message_backward.
KERNEL table_gradient(EdgeList E, Shape s, const Real *__restrict__ gs,
                                          const Real *__restrict__ gv, const Real *__restrict__ x,
                                          const Real *__restrict__ v, const Real *__restrict__ hx,
                                          const Real *__restrict__ hv,
                                          const double *__restrict__ he,
                                          Real *__restrict__ partial) {
  __shared__ Real scratch[MAX_THREADS];
  __shared__ Knot knots[CHUNK];
  const int f = threadIdx.x, F = s.F, width = 3 * F;
  const bool mine = f < F;
  Real sum[4][3] = {};
  const int64 last = E.start[blockIdx.x + 1];
  for (int64 first = E.start[blockIdx.x]; first < last; first += CHUNK) {
    const int count = load_chunk(knots, E, E.neighbour, s, first, last, he);
    for (int n = threadIdx.y; n < count; n += blockDim.y) {
      const Knot &k = knots[n];
      if (!k.inside || !mine) continue;
      const int64 i = E.centre[k.edge], j = k.other;
      const Real g = gs[i * F + f];
      const Real *h = gv + i * width + f;
      const Real gx_ = h[0], gy_ = h[F], gz_ = h[2 * F];
      const Real along = k.ur[0] * gx_ + k.ur[1] * gy_ + k.ur[2] * gz_;
      Real mix = 0;
      if (v) {
        const Real *vj = v + j * width + f;
        mix = vj[0] * gx_ + vj[F] * gy_ + vj[2 * F] * gz_;
      }
      const Real *xj = x + j * width + f;
      Real rate[3] = {g * xj[0], along * xj[F], mix * xj[2 * F]};
      if (!he) {
        for (int r = 0; r < 4; ++r)
          for (int c = 0; c < 3; ++c) sum[r][c] += k.w[r] * rate[c];
        continue;
      }
      const Real *yj = hx + j * width + f;
      const Real along_q = k.q[0] * gx_ + k.q[1] * gy_ + k.q[2] * gz_;
      Real value[3] = {g * yj[0], along * yj[F] + along_q * xj[F], mix * yj[2 * F]};
      if (v) {
        const Real *mj = hv + j * width + f;
        value[2] += (mj[0] * gx_ + mj[F] * gy_ + mj[2 * F] * gz_) * xj[2 * F];
      }
      for (int r = 0; r < 4; ++r)
        for (int c = 0; c < 3; ++c) sum[r][c] += k.w[r] * value[c] + k.d[r] * rate[c];
    }
  }
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 3; ++c) {
      const Real total = sum_shares(sum[r][c], scratch);
      if (mine && threadIdx.y == 0)
        partial[((int64)blockIdx.x * 4 + r) * width + c * F + f] = total;
    }
}

// Forces from the gradient by the edge vectors: + at centres, - at neighbours. A warp per atom.
KERNEL edge_forces(const double *__restrict__ gradient,
                                       const int64 *__restrict__ centre_start,
                                       const int64 *__restrict__ centre_order,
                                       const int64 *__restrict__ neighbour_start,
                                       const int64 *__restrict__ neighbour_order, int64 n_centre,
                                       int64 n_atom,
                                       double *__restrict__ forces) {
  const int64 i = ((int64)blockIdx.x * blockDim.x + threadIdx.x) >> 5;
  const int lane = threadIdx.x & 31;
  if (i >= n_atom) return;
  double f[3] = {0, 0, 0};
  if (i < n_centre)
    for (int64 p = centre_start[i] + lane; p < centre_start[i + 1]; p += 32)
      for (int a = 0; a < 3; ++a) f[a] += gradient[3 * centre_order[p] + a];
  for (int64 p = neighbour_start[i] + lane; p < neighbour_start[i + 1]; p += 32)
    for (int a = 0; a < 3; ++a) f[a] -= gradient[3 * neighbour_order[p] + a];
  for (int a = 0; a < 3; ++a) {
    for (int step = 16; step; step >>= 1) f[a] += __shfl_xor_sync(0xffffffffu, f[a], step);
    if (lane == 0) forces[3 * i + a] = f[a];
  }
}
