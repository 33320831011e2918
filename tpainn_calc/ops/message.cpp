// tpainn::message — gather, filter and scatter of one PaiNN message block in one pass.
//
// For every edge i <- j with vector e = x_j - x_i, r = |e|, u = e / r and filter W(r):
//
//     ds_i += Wa xa_j
//     dv_i += u Wb xb_j + Wc xc_j v_j            (Schuett et al. 2021, Eqs. 7 and 8)
//
// W is a cubic B-spline over r, so no tensor with one row per edge and channel ever exists.
//
// Symbols, in comments and in names. Per atom: x = (xa, xb, xc) and v = (nx, ny, nz), F channels
// each. Per edge: e, r, u, the filter W = (wa, wb, wc) and its derivatives W' and W''. Upstream
// gradients: s by ds, and h = (hx, hy, hz) by dv. With them
//
//     along = u . h          mix = v . h
//     A(r) = sum_f Wa xa s + Wc xc mix        C(r) = sum_f Wb xb h
//
// an edge contributes A + u . C to <(s, h), message>: dE/de is its gradient by e. A second
// derivative is taken along a direction, which moves x by y = (ya, yb, yc), v by m = (mx, my, mz)
// and e by he, that is r at the rate p = u . he and u at the rate q = (he - u p) / r. With
//
//     S(r) = sum_f Wa ya s + Wc (yc mix + xc m . h)        B(r) = sum_f Wb yb h
//
// the derivative along it is S + u . B + he . grad_e (A + u . C). A digit after a symbol counts
// derivatives by r: A1 = dA/dr, C2 = d2C/dr2.
//
// Sums over edges run over a compressed index: over the edges of a centre for what lands on
// centres, over the edges of a neighbour for what lands on neighbours. Each thread owns its rows,
// hence no atomics, and the result does not depend on the run.
//
// Three operators, each the analytic derivative of the one before:
//   message            values
//   message_backward   first derivatives: forces, and the energy part of the training gradient
//   message_backward2  derivative of message_backward along a direction: the force part
//
// Geometry is double throughout; the network's scalar type is float or double.

#include "message.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cmath>
#include <tuple>
#include <vector>

namespace tpainn {
namespace {

// Spline weights of one edge: value, first and second derivative of W with respect to r are
// linear combinations of four neighbouring rows of coefficients.
template <typename T>
struct Knot {
  bool inside = false;
  double r = 0, inv_r = 0, u[3] = {0, 0, 0};
  const T *row = nullptr;  // the first of the four rows, each 3F wide
  int64_t offset = 0;      // the same place as an offset into the table
  T w[4], d[4], dd[4];
};

template <typename T>
inline Knot<T> locate(const double *e, const T *table, int64_t intervals, double cutoff,
                      int64_t width) {
  Knot<T> k;
  const double r = std::sqrt(e[0] * e[0] + e[1] * e[1] + e[2] * e[2]);
  if (!(r < cutoff)) return k;
  k.inside = true;
  k.r = r;
  k.inv_r = r > 1e-12 ? 1.0 / r : 0.0;
  for (int a = 0; a < 3; ++a) k.u[a] = e[a] * k.inv_r;
  const double inv_h = intervals / cutoff;
  const double position = r * inv_h;
  int64_t index = static_cast<int64_t>(position);
  if (index > intervals - 1) index = intervals - 1;
  const double t = position - index, s = 1.0 - t;
  k.w[0] = s * s * s / 6;
  k.w[1] = (3 * t * t * t - 6 * t * t + 4) / 6;
  k.w[2] = (3 * s * s * s - 6 * s * s + 4) / 6;
  k.w[3] = t * t * t / 6;
  k.d[0] = -s * s / 2 * inv_h;
  k.d[1] = (3 * t * t - 4 * t) / 2 * inv_h;
  k.d[2] = -(3 * s * s - 4 * s) / 2 * inv_h;
  k.d[3] = t * t / 2 * inv_h;
  k.dd[0] = s * inv_h * inv_h;
  k.dd[1] = (3 * t - 2) * inv_h * inv_h;
  k.dd[2] = (3 * s - 2) * inv_h * inv_h;
  k.dd[3] = t * inv_h * inv_h;
  k.offset = index * width;
  k.row = table + k.offset;
  return k;
}

// W, W' or W'' of channel c: `coef` says which.
#define TPAINN_FILTER(coef, c) \
  ((coef)[0] * T0[c] + (coef)[1] * T1[c] + (coef)[2] * T2[c] + (coef)[3] * T3[c])
#define TPAINN_ROWS(knot, width)             \
  const T *T0 = (knot).row, *T1 = T0 + (width), *T2 = T1 + (width), *T3 = T2 + (width)

constexpr int64_t kGrain = 8;  // atoms per task at least: about 400 edges of liquid water

// What a message block reads; v is null in the first block, where it is zero.
template <typename T>
struct Inputs {
  const T *x, *v, *table;
  int64_t intervals, F;
  double cutoff;

  Inputs(const Tensor &x_, const OptTensor &v_, const Tensor &table_, double cutoff_)
      : x(x_.const_data_ptr<T>()), v(pointer<T>(v_)), table(table_.const_data_ptr<T>()),
        intervals(table_.size(0) - 3), F(x_.size(1) / 3), cutoff(cutoff_) {}
};

// Gradients by what a message block gives.
template <typename T>
struct Upstream {
  const T *ds, *dv;
};

// Gradients by what it reads. vec and table are null where nobody asks for them; the table has
// n_chunks parts of table_size, to be summed.
template <typename T>
struct Gradients {
  T *x, *v;
  double *vec;
  T *table;
  int64_t table_size, n_chunks;
};

// The direction of a second derivative.
template <typename T>
struct Direction {
  const T *x, *v;
  const double *vec;
};

// ------------------------------------------------------------------------------------- forward

template <typename T>
void forward_kernel(const Edges &E, const Inputs<T> &in, T *ds, T *dv) {
  const auto [x, v, table, intervals, F, cutoff] = in;
  const int64_t W = 3 * F;
  at::parallel_for(0, E.n_centre, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T *__restrict__ s = ds + i * F;
      T *__restrict__ vx = dv + i * W;
      T *__restrict__ vy = vx + F;
      T *__restrict__ vz = vy + F;
      for (int64_t p = E.centre_start[i]; p < E.centre_start[i + 1]; ++p) {
        const int64_t e = E.centre_order[p];
        const Knot<T> k = locate(E.vec + 3 * e, table, intervals, cutoff, W);
        if (!k.inside) continue;
        TPAINN_ROWS(k, W);
        const T w[4] = {k.w[0], k.w[1], k.w[2], k.w[3]};
        const T ux = k.u[0], uy = k.u[1], uz = k.u[2];
        const T *__restrict__ xa = x + E.neighbour[e] * W;
        const T *__restrict__ xb = xa + F;
        const T *__restrict__ xc = xb + F;
        if (v == nullptr) {
#pragma omp simd
          for (int64_t f = 0; f < F; ++f) {
            s[f] += TPAINN_FILTER(w, f) * xa[f];
            const T b = TPAINN_FILTER(w, F + f) * xb[f];
            vx[f] += ux * b;
            vy[f] += uy * b;
            vz[f] += uz * b;
          }
        } else {
          const T *__restrict__ nx = v + E.neighbour[e] * W;
          const T *__restrict__ ny = nx + F;
          const T *__restrict__ nz = ny + F;
#pragma omp simd
          for (int64_t f = 0; f < F; ++f) {
            s[f] += TPAINN_FILTER(w, f) * xa[f];
            const T b = TPAINN_FILTER(w, F + f) * xb[f];
            const T c = TPAINN_FILTER(w, 2 * F + f) * xc[f];
            vx[f] += ux * b + c * nx[f];
            vy[f] += uy * b + c * ny[f];
            vz[f] += uz * b + c * nz[f];
          }
        }
      }
    }
  });
}

// ------------------------------------------------------------------------------------ backward

// Runs `body(begin, end, thread)` over the neighbours in one contiguous chunk per thread, so that
// per-thread table gradients are summed in a fixed order.
template <typename Body>
void over_chunks(int64_t n, int64_t n_chunks, const Body &body) {
  at::parallel_for(0, n_chunks, 1, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) body(n * c / n_chunks, n * (c + 1) / n_chunks, c);
  });
}

// Adds `da, db, dc` (per channel) times the spline weights to the table gradient of one edge.
template <typename T>
inline void scatter_table(T *__restrict__ g, const T *coef, const T *__restrict__ d, int64_t W) {
  for (int row = 0; row < 4; ++row) {
    const T c = coef[row];
    T *__restrict__ out = g + row * W;
#pragma omp simd
    for (int64_t f = 0; f < W; ++f) out[f] += c * d[f];
  }
}

template <typename T>
void backward_kernel(const Edges &E, const Inputs<T> &in, const Upstream<T> &up,
                     const Gradients<T> &out) {
  const auto [x, v, table, intervals, F, cutoff] = in;
  const auto [gs, gv] = up;
  const auto [gx, gvn, ge, gt, table_size, n_chunks] = out;
  const int64_t W = 3 * F;
  over_chunks(E.n_neighbour, n_chunks, [&](int64_t begin, int64_t end, int64_t chunk) {
    std::vector<T> zero(v == nullptr ? W : 0, T(0)), scratch(gt ? W : 0);
    T *my_table = gt ? gt + chunk * table_size : nullptr;
    for (int64_t j = begin; j < end; ++j) {
      const T *__restrict__ xa = x + j * W;
      const T *__restrict__ xb = xa + F;
      const T *__restrict__ xc = xb + F;
      const T *__restrict__ nx = v ? v + j * W : zero.data();
      const T *__restrict__ ny = nx + (v ? F : 0);
      const T *__restrict__ nz = ny + (v ? F : 0);
      T *__restrict__ ga = gx + j * W;
      T *__restrict__ gb = ga + F;
      T *__restrict__ gc = gb + F;
      for (int64_t p = E.neighbour_start[j]; p < E.neighbour_start[j + 1]; ++p) {
        const int64_t e = E.neighbour_order[p];
        const Knot<T> k = locate(E.vec + 3 * e, table, intervals, cutoff, W);
        if (!k.inside) continue;
        TPAINN_ROWS(k, W);
        const T w[4] = {k.w[0], k.w[1], k.w[2], k.w[3]};
        const T d[4] = {k.d[0], k.d[1], k.d[2], k.d[3]};
        const T ux = k.u[0], uy = k.u[1], uz = k.u[2];
        const T *__restrict__ s = gs + E.centre[e] * F;
        const T *__restrict__ hx = gv + E.centre[e] * W;
        const T *__restrict__ hy = hx + F;
        const T *__restrict__ hz = hy + F;
        T radial = 0, tx = 0, ty = 0, tz = 0;
        if (v) {
          T *__restrict__ ox = gvn + j * W;
          T *__restrict__ oy = ox + F;
          T *__restrict__ oz = oy + F;
#pragma omp simd reduction(+ : radial, tx, ty, tz)
          for (int64_t f = 0; f < F; ++f) {
            const T wa = TPAINN_FILTER(w, f), wb = TPAINN_FILTER(w, F + f),
                    wc = TPAINN_FILTER(w, 2 * F + f);
            const T along = ux * hx[f] + uy * hy[f] + uz * hz[f];
            const T mix = nx[f] * hx[f] + ny[f] * hy[f] + nz[f] * hz[f];
            ga[f] += wa * s[f];
            gb[f] += wb * along;
            gc[f] += wc * mix;
            const T c = wc * xc[f], b = wb * xb[f];
            ox[f] += c * hx[f];
            oy[f] += c * hy[f];
            oz[f] += c * hz[f];
            tx += b * hx[f];
            ty += b * hy[f];
            tz += b * hz[f];
            radial += TPAINN_FILTER(d, f) * xa[f] * s[f] +
                      TPAINN_FILTER(d, F + f) * xb[f] * along +
                      TPAINN_FILTER(d, 2 * F + f) * xc[f] * mix;
          }
        } else {
#pragma omp simd reduction(+ : radial, tx, ty, tz)
          for (int64_t f = 0; f < F; ++f) {
            const T wa = TPAINN_FILTER(w, f), wb = TPAINN_FILTER(w, F + f);
            const T along = ux * hx[f] + uy * hy[f] + uz * hz[f];
            ga[f] += wa * s[f];
            gb[f] += wb * along;
            const T b = wb * xb[f];
            tx += b * hx[f];
            ty += b * hy[f];
            tz += b * hz[f];
            radial += TPAINN_FILTER(d, f) * xa[f] * s[f] +
                      TPAINN_FILTER(d, F + f) * xb[f] * along;
          }
        }
        // dE/de = u dE/dr + (1 - u u^T) dE/du / r
        const double t[3] = {double(tx), double(ty), double(tz)};
        const double ut = k.u[0] * t[0] + k.u[1] * t[1] + k.u[2] * t[2];
        for (int a = 0; a < 3; ++a)
          ge[3 * e + a] = k.u[a] * double(radial) + (t[a] - k.u[a] * ut) * k.inv_r;
        if (my_table) {
          T *__restrict__ q = scratch.data();
#pragma omp simd
          for (int64_t f = 0; f < F; ++f) {
            q[f] = s[f] * xa[f];
            q[F + f] = (ux * hx[f] + uy * hy[f] + uz * hz[f]) * xb[f];
          }
          if (v) {
#pragma omp simd
            for (int64_t f = 0; f < F; ++f)
              q[2 * F + f] = (nx[f] * hx[f] + ny[f] * hy[f] + nz[f] * hz[f]) * xc[f];
          }
          scatter_table(my_table + k.offset, w, q, W);
        }
      }
    }
  });
}

// ----------------------------------------------------------------------------- second backward

// The rates of r (p) and of u (q) along the direction, of one edge.
template <typename T>
struct EdgeRate {
  double p = 0, q[3] = {0, 0, 0};
  EdgeRate(const Knot<T> &k, const double *he) {
    p = k.u[0] * he[0] + k.u[1] * he[1] + k.u[2] * he[2];
    for (int a = 0; a < 3; ++a) q[a] = (he[a] - k.u[a] * p) * k.inv_r;
  }
};

// What lands on centres: the tangent of `message` along the direction.
template <typename T>
void tangent_kernel(const Edges &E, const Inputs<T> &in, const Direction<T> &along, T *ds, T *dv) {
  const auto [x, v, table, intervals, F, cutoff] = in;
  const auto [hx, hv, he] = along;
  const int64_t W = 3 * F;
  at::parallel_for(0, E.n_centre, kGrain, [&](int64_t begin, int64_t end) {
    const std::vector<T> zero(W, T(0));
    for (int64_t i = begin; i < end; ++i) {
      T *__restrict__ s = ds + i * F;
      T *__restrict__ ox = dv + i * W;
      T *__restrict__ oy = ox + F;
      T *__restrict__ oz = oy + F;
      for (int64_t m = E.centre_start[i]; m < E.centre_start[i + 1]; ++m) {
        const int64_t e = E.centre_order[m], j = E.neighbour[e];
        const Knot<T> k = locate(E.vec + 3 * e, table, intervals, cutoff, W);
        if (!k.inside) continue;
        TPAINN_ROWS(k, W);
        const EdgeRate<T> rate(k, he + 3 * e);
        const T w[4] = {k.w[0], k.w[1], k.w[2], k.w[3]};
        const T d[4] = {T(k.d[0] * rate.p), T(k.d[1] * rate.p), T(k.d[2] * rate.p),
                        T(k.d[3] * rate.p)};
        const T ux = k.u[0], uy = k.u[1], uz = k.u[2];
        const T qx = rate.q[0], qy = rate.q[1], qz = rate.q[2];
        const T *__restrict__ xa = x + j * W, *__restrict__ xb = xa + F, *__restrict__ xc = xb + F;
        const T *__restrict__ ya = hx + j * W, *__restrict__ yb = ya + F,
                *__restrict__ yc = yb + F;
        const T *__restrict__ nx = v ? v + j * W : zero.data();
        const T *__restrict__ ny = nx + F, *__restrict__ nz = ny + F;
        const T *__restrict__ mx = v ? hv + j * W : zero.data();
        const T *__restrict__ my = mx + F, *__restrict__ mz = my + F;
#pragma omp simd
        for (int64_t f = 0; f < F; ++f) {
          s[f] += TPAINN_FILTER(w, f) * ya[f] + TPAINN_FILTER(d, f) * xa[f];
          const T wb = TPAINN_FILTER(w, F + f), wc = TPAINN_FILTER(w, 2 * F + f);
          const T along_u = wb * yb[f] + TPAINN_FILTER(d, F + f) * xb[f];
          const T along_q = wb * xb[f];
          const T c = wc * yc[f] + TPAINN_FILTER(d, 2 * F + f) * xc[f];
          const T cc = wc * xc[f];
          ox[f] += ux * along_u + qx * along_q + c * nx[f] + cc * mx[f];
          oy[f] += uy * along_u + qy * along_q + c * ny[f] + cc * my[f];
          oz[f] += uz * along_u + qz * along_q + c * nz[f] + cc * mz[f];
        }
      }
    }
  });
}

// What lands on neighbours, on the table and (only when asked for: Hessians) on the edges.
template <typename T>
void backward2_kernel(const Edges &E, const Inputs<T> &in, const Upstream<T> &up,
                      const Direction<T> &along, const Gradients<T> &out) {
  const auto [x, v, table, intervals, F, cutoff] = in;
  const auto [gs, gv] = up;
  const auto [hx, hv, he] = along;
  const auto [gx, gvn, ge, gt, table_size, n_chunks] = out;
  const int64_t W = 3 * F;
  over_chunks(E.n_neighbour, n_chunks, [&](int64_t begin, int64_t end, int64_t chunk) {
    std::vector<T> zero(W, T(0)), scratch(2 * W, T(0));
    T *my_table = gt ? gt + chunk * table_size : nullptr;
    for (int64_t j = begin; j < end; ++j) {
      const T *__restrict__ xa = x + j * W, *__restrict__ xb = xa + F, *__restrict__ xc = xb + F;
      const T *__restrict__ ya = hx + j * W, *__restrict__ yb = ya + F, *__restrict__ yc = yb + F;
      const T *__restrict__ nx = v ? v + j * W : zero.data();
      const T *__restrict__ ny = nx + F, *__restrict__ nz = ny + F;
      const T *__restrict__ mx = v ? hv + j * W : zero.data();
      const T *__restrict__ my = mx + F, *__restrict__ mz = my + F;
      T *__restrict__ ga = gx + j * W, *__restrict__ gb = ga + F, *__restrict__ gc = gb + F;
      // without v its gradient is thrown away, into scratch that nothing reads
      T *__restrict__ ox = v ? gvn + j * W : scratch.data();
      T *__restrict__ oy = ox + F, *__restrict__ oz = oy + F;
      std::vector<T> rates(my_table ? 2 * W : 0);
      for (int64_t m = E.neighbour_start[j]; m < E.neighbour_start[j + 1]; ++m) {
        const int64_t e = E.neighbour_order[m];
        const Knot<T> k = locate(E.vec + 3 * e, table, intervals, cutoff, W);
        if (!k.inside) continue;
        TPAINN_ROWS(k, W);
        const EdgeRate<T> rate(k, he + 3 * e);
        const T w[4] = {k.w[0], k.w[1], k.w[2], k.w[3]};
        const T d[4] = {T(k.d[0] * rate.p), T(k.d[1] * rate.p), T(k.d[2] * rate.p),
                        T(k.d[3] * rate.p)};
        const T ux = k.u[0], uy = k.u[1], uz = k.u[2];
        const T qx = rate.q[0], qy = rate.q[1], qz = rate.q[2];
        const T *__restrict__ s = gs + E.centre[e] * F;
        const T *__restrict__ hvx = gv + E.centre[e] * W;
        const T *__restrict__ hvy = hvx + F, *__restrict__ hvz = hvy + F;
#pragma omp simd
        for (int64_t f = 0; f < F; ++f) {
          const T along_u = ux * hvx[f] + uy * hvy[f] + uz * hvz[f];
          const T along_q = qx * hvx[f] + qy * hvy[f] + qz * hvz[f];
          const T mix = nx[f] * hvx[f] + ny[f] * hvy[f] + nz[f] * hvz[f];
          const T mix_h = mx[f] * hvx[f] + my[f] * hvy[f] + mz[f] * hvz[f];
          const T wb = TPAINN_FILTER(w, F + f), wc = TPAINN_FILTER(w, 2 * F + f);
          const T dc = TPAINN_FILTER(d, 2 * F + f);
          ga[f] += TPAINN_FILTER(d, f) * s[f];
          gb[f] += TPAINN_FILTER(d, F + f) * along_u + wb * along_q;
          gc[f] += dc * mix + wc * mix_h;
          const T c = wc * yc[f] + dc * xc[f];
          ox[f] += c * hvx[f];
          oy[f] += c * hvy[f];
          oz[f] += c * hvz[f];
        }
        if (my_table) {
          T *__restrict__ q = rates.data();
          T *__restrict__ qd = q + W;
#pragma omp simd
          for (int64_t f = 0; f < F; ++f) {
            const T along_u = ux * hvx[f] + uy * hvy[f] + uz * hvz[f];
            const T along_q = qx * hvx[f] + qy * hvy[f] + qz * hvz[f];
            const T mix = nx[f] * hvx[f] + ny[f] * hvy[f] + nz[f] * hvz[f];
            const T mix_h = mx[f] * hvx[f] + my[f] * hvy[f] + mz[f] * hvz[f];
            q[f] = s[f] * ya[f];
            q[F + f] = along_u * yb[f] + along_q * xb[f];
            q[2 * F + f] = mix * yc[f] + mix_h * xc[f];
            qd[f] = s[f] * xa[f];
            qd[F + f] = along_u * xb[f];
            qd[2 * F + f] = mix * xc[f];
          }
          T *__restrict__ out = my_table + k.offset;
          for (int row = 0; row < 4; ++row) {
            const T cw = w[row], cd = d[row];
#pragma omp simd
            for (int64_t f = 0; f < W; ++f) out[row * W + f] += cw * q[f] + cd * qd[f];
          }
        }
        if (ge) {
          // d/de of S + u . B + he . grad_e (A + u . C)
          const T d1[4] = {k.d[0], k.d[1], k.d[2], k.d[3]};
          const T d2[4] = {k.dd[0], k.dd[1], k.dd[2], k.dd[3]};
          double S1 = 0, A1 = 0, A2 = 0, B[3] = {}, B1[3] = {}, C[3] = {}, C1[3] = {}, C2[3] = {};
          for (int64_t f = 0; f < F; ++f) {
            const double h[3] = {double(hvx[f]), double(hvy[f]), double(hvz[f])};
            const double mix = nx[f] * h[0] + ny[f] * h[1] + nz[f] * h[2];
            const double mix_h = mx[f] * h[0] + my[f] * h[1] + mz[f] * h[2];
            S1 += TPAINN_FILTER(d1, f) * ya[f] * s[f] +
                  TPAINN_FILTER(d1, 2 * F + f) * (yc[f] * mix + xc[f] * mix_h);
            A1 += TPAINN_FILTER(d1, f) * xa[f] * s[f] + TPAINN_FILTER(d1, 2 * F + f) * xc[f] * mix;
            A2 += TPAINN_FILTER(d2, f) * xa[f] * s[f] + TPAINN_FILTER(d2, 2 * F + f) * xc[f] * mix;
            for (int a = 0; a < 3; ++a) {
              B[a] += TPAINN_FILTER(w, F + f) * yb[f] * h[a];
              B1[a] += TPAINN_FILTER(d1, F + f) * yb[f] * h[a];
              C[a] += TPAINN_FILTER(w, F + f) * xb[f] * h[a];
              C1[a] += TPAINN_FILTER(d1, F + f) * xb[f] * h[a];
              C2[a] += TPAINN_FILTER(d2, F + f) * xb[f] * h[a];
            }
          }
          const auto dot = [](const double *a, const double *b) {
            return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
          };
          const double p = rate.p, *q = rate.q, *u = k.u, ir = k.inv_r;
          const double uB = dot(u, B), uC = dot(u, C), qC = dot(q, C), uC1 = dot(u, C1),
                       qC1 = dot(q, C1);
          for (int a = 0; a < 3; ++a) {
            double g = u[a] * (S1 + dot(u, B1)) + (B[a] - u[a] * uB) * ir;
            g += A2 * u[a] * p + A1 * q[a];
            g += q[a] * uC1 + u[a] * (qC1 + p * dot(u, C2));
            g += -(q[a] * uC + u[a] * qC) * ir;
            g += (C1[a] - u[a] * uC1) * p * ir - (C[a] - u[a] * uC) * p * ir * ir;
            ge[3 * e + a] = g;
          }
        }
      }
    }
  });
}

// ------------------------------------------------------------------------------ tensor wrappers

std::tuple<Tensor, Tensor> message_cpu(const Tensor &x_, const OptTensor &v_, const Tensor &vec_,
                                       const Tensor &table_, double cutoff,
                                       at::TensorList index) {
  const Tensor x = x_.contiguous(), table = table_.contiguous(), vec = vec_.contiguous();
  const OptTensor v = contiguous(v_);
  const Edges E = unpack(vec, index);
  check_network(x, v, table, E);
  const int64_t F = x.size(1) / 3;
  Tensor ds = at::zeros({E.n_centre, F}, x.options());
  Tensor dv = at::zeros({E.n_centre, 3, F}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "tpainn::message", [&] {
    forward_kernel<scalar_t>(E, {x, v, table, cutoff}, ds.mutable_data_ptr<scalar_t>(),
                             dv.mutable_data_ptr<scalar_t>());
  });
  return {ds, dv};
}

int64_t chunk_count(int64_t n) {
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  return std::max<int64_t>(1, std::min<int64_t>(threads, n / kGrain));
}

Tensor sum_chunks(const Tensor &t) { return t.size(0) == 1 ? t.squeeze(0) : t.sum(0); }

// Gradients with respect to x, v, edge_vec and (with_table) the table.
std::tuple<Tensor, Tensor, Tensor, Tensor> message_backward_cpu(
    const Tensor &gs_, const Tensor &gv_, const Tensor &x_, const OptTensor &v_,
    const Tensor &vec_, const Tensor &table_, double cutoff, at::TensorList index,
    bool with_table) {
  const Tensor gs = gs_.contiguous(), gv = gv_.contiguous(), x = x_.contiguous(),
               table = table_.contiguous(), vec = vec_.contiguous();
  const OptTensor v = contiguous(v_);
  const Edges E = unpack(vec, index);
  check_network(x, v, table, E);
  const int64_t F = x.size(1) / 3, chunks = chunk_count(E.n_neighbour);
  Tensor gx = at::zeros_like(x), ge = at::zeros_like(vec);
  Tensor gvn = v ? at::zeros_like(*v) : at::empty({0}, x.options());
  Tensor gt = with_table ? at::zeros({chunks, table.size(0), 3 * F}, x.options())
                         : at::empty({0}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "tpainn::message_backward", [&] {
    backward_kernel<scalar_t>(
        E, {x, v, table, cutoff}, {gs.const_data_ptr<scalar_t>(), gv.const_data_ptr<scalar_t>()},
        {gx.mutable_data_ptr<scalar_t>(), v ? gvn.mutable_data_ptr<scalar_t>() : nullptr,
         ge.mutable_data_ptr<double>(), with_table ? gt.mutable_data_ptr<scalar_t>() : nullptr,
         table.numel(), chunks});
  });
  return {gx, gvn, ge, with_table ? sum_chunks(gt) : gt};
}

// Gradients of <h, message_backward> with respect to gs, gv, x, v, edge_vec and the table.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> message_backward2_cpu(
    const Tensor &hx_, const OptTensor &hv_, const Tensor &he_, const Tensor &gs_,
    const Tensor &gv_, const Tensor &x_, const OptTensor &v_, const Tensor &vec_,
    const Tensor &table_, double cutoff, at::TensorList index, bool with_table, bool with_edges) {
  const Tensor gs = gs_.contiguous(), gv = gv_.contiguous(), x = x_.contiguous(),
               table = table_.contiguous(), vec = vec_.contiguous(), hx = hx_.contiguous(),
               he = he_.contiguous();
  const OptTensor v = contiguous(v_), hv = contiguous(hv_);
  const Edges E = unpack(vec, index);
  check_network(x, v, table, E);
  const int64_t F = x.size(1) / 3, chunks = chunk_count(E.n_neighbour);
  Tensor ds = at::zeros_like(gs), dv = at::zeros_like(gv), gx = at::zeros_like(x);
  Tensor gvn = v ? at::zeros_like(*v) : at::empty({0}, x.options());
  Tensor ge = with_edges ? at::zeros_like(vec) : at::empty({0}, vec.options());
  Tensor gt = with_table ? at::zeros({chunks, table.size(0), 3 * F}, x.options())
                         : at::empty({0}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "tpainn::message_backward2", [&] {
    const Inputs<scalar_t> in(x, v, table, cutoff);
    const Direction<scalar_t> along{hx.const_data_ptr<scalar_t>(), pointer<scalar_t>(hv),
                                    he.const_data_ptr<double>()};
    tangent_kernel<scalar_t>(E, in, along, ds.mutable_data_ptr<scalar_t>(),
                             dv.mutable_data_ptr<scalar_t>());
    backward2_kernel<scalar_t>(
        E, in, {gs.const_data_ptr<scalar_t>(), gv.const_data_ptr<scalar_t>()}, along,
        {gx.mutable_data_ptr<scalar_t>(), v ? gvn.mutable_data_ptr<scalar_t>() : nullptr,
         with_edges ? ge.mutable_data_ptr<double>() : nullptr,
         with_table ? gt.mutable_data_ptr<scalar_t>() : nullptr, table.numel(), chunks});
  });
  return {ds, dv, gx, gvn, ge, with_table ? sum_chunks(gt) : gt};
}

// Compressed index of `key` (counting sort, stable): start (n + 1) and order (edges).
std::tuple<Tensor, Tensor> compress_cpu(const Tensor &key_, int64_t n) {
  const Tensor key = key_.contiguous();
  TORCH_CHECK(key.scalar_type() == at::kLong && key.dim() == 1,
              "tpainn::compress: key must be int64 (edges,)");
  Tensor start = at::zeros({n + 1}, key.options()), order = at::empty_like(key);
  const int64_t edges = key.numel(), *k = key.const_data_ptr<int64_t>();
  int64_t *s = start.mutable_data_ptr<int64_t>(), *o = order.mutable_data_ptr<int64_t>();
  for (int64_t e = 0; e < edges; ++e) {
    TORCH_CHECK_INDEX(k[e] >= 0 && k[e] < n, "tpainn::compress: index ", k[e],
                      " is outside 0..", n - 1);
    ++s[k[e] + 1];
  }
  for (int64_t i = 0; i < n; ++i) s[i + 1] += s[i];
  std::vector<int64_t> next(s, s + n);
  for (int64_t e = 0; e < edges; ++e) o[next[k[e]]++] = e;
  return {start, order};
}

// Forces on atoms from the gradient by the edge vectors: + at centres, - at neighbours.
Tensor edge_forces_cpu(const Tensor &gradient_, at::TensorList index) {
  const Tensor gradient = gradient_.contiguous();
  const Edges E = unpack(gradient, index);
  Tensor forces = at::zeros({E.n_neighbour, 3}, gradient.options());
  double *f = forces.mutable_data_ptr<double>();
  at::parallel_for(0, E.n_neighbour, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t p = i < E.n_centre ? E.centre_start[i] : 0,
                   last = i < E.n_centre ? E.centre_start[i + 1] : 0; p < last; ++p)
        for (int a = 0; a < 3; ++a) f[3 * i + a] += E.vec[3 * E.centre_order[p] + a];
      for (int64_t p = E.neighbour_start[i]; p < E.neighbour_start[i + 1]; ++p)
        for (int a = 0; a < 3; ++a) f[3 * i + a] -= E.vec[3 * E.neighbour_order[p] + a];
    }
  });
  return forces;
}

// Which candidates of a skin list are edges at the given positions, and their vectors. Also the
// candidate at the shortest distance, and that distance squared.
std::tuple<Tensor, Tensor, Tensor, int64_t, double> edges_within(
    const Tensor &positions, const Tensor &centre, const Tensor &neighbour, const Tensor &offset,
    double cutoff) {
  TORCH_CHECK(positions.is_contiguous() && offset.is_contiguous() && centre.is_contiguous() &&
                  neighbour.is_contiguous() && offset.size(0) == centre.numel() &&
                  centre.numel() == neighbour.numel(),
              "tpainn::edges_within: expected contiguous arrays of one length");
  const int64_t n = centre.numel();
  Tensor c = at::empty_like(centre), o = at::empty_like(neighbour), v = at::empty_like(offset);
  const double *x = positions.const_data_ptr<double>(), *image = offset.const_data_ptr<double>();
  const int64_t *i = centre.const_data_ptr<int64_t>(), *j = neighbour.const_data_ptr<int64_t>();
  int64_t *kept_i = c.mutable_data_ptr<int64_t>(), *kept_j = o.mutable_data_ptr<int64_t>();
  double *vec = v.mutable_data_ptr<double>(), shortest = INFINITY;
  int64_t kept = 0, closest = 0;
  for (int64_t e = 0; e < n; ++e) {
    double d[3], squared = 0;
    for (int a = 0; a < 3; ++a) {
      d[a] = x[3 * j[e] + a] - x[3 * i[e] + a] + image[3 * e + a];
      squared += d[a] * d[a];
    }
    if (squared < shortest) {
      shortest = squared;
      closest = e;
    }
    // written in any case, and kept by going on to the next place
    kept_i[kept] = i[e];
    kept_j[kept] = j[e];
    for (int a = 0; a < 3; ++a) vec[3 * kept + a] = d[a];
    kept += squared < cutoff * cutoff;
  }
  return {c.narrow(0, 0, kept), o.narrow(0, 0, kept), v.narrow(0, 0, kept), closest, shortest};
}

// ------------------------------------------------------------------------------------ autograd

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using MessageSignature = std::tuple<Tensor, Tensor>(const Tensor &, const OptTensor &,
                                                    const Tensor &, const Tensor &, double,
                                                    at::TensorList);
using BackwardSignature = std::tuple<Tensor, Tensor, Tensor, Tensor>(
    const Tensor &, const Tensor &, const Tensor &, const OptTensor &, const Tensor &,
    const Tensor &, double, at::TensorList, bool);
using Backward2Signature = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>(
    const Tensor &, const OptTensor &, const Tensor &, const Tensor &, const Tensor &,
    const Tensor &, const OptTensor &, const Tensor &, const Tensor &, double, at::TensorList,
    bool, bool);

template <typename Signature>
auto find_op(const char *name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

OptTensor optional(const Tensor &t) { return t.defined() ? OptTensor(t) : std::nullopt; }

// Input slots of both functions, so that gradients come back in the right places.
struct MessageBackward : torch::autograd::Function<MessageBackward> {
  static variable_list forward(AutogradContext *ctx, const Tensor &gs, const Tensor &gv,
                               const Tensor &x, const OptTensor &v, const Tensor &vec,
                               const Tensor &table, double cutoff, std::vector<Tensor> index,
                               bool with_table) {
    at::AutoDispatchBelowAutograd guard;
    static const auto op = find_op<BackwardSignature>("tpainn::message_backward");
    auto [gx, gvn, ge, gt] =
        op.call(gs, gv, x, v, vec, table, cutoff, index, with_table);
    variable_list saved{gs, gv, x, v.value_or(Tensor()), vec, table};
    saved.insert(saved.end(), index.begin(), index.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["cutoff"] = cutoff;
    return {gx, gvn, ge, gt};
  }

  static variable_list backward(AutogradContext *ctx, const variable_list &h) {
    const auto saved = ctx->get_saved_variables();
    const std::vector<Tensor> index(saved.begin() + 6, saved.end());
    const bool has_v = saved[3].defined();  // an absent v has no slot among the graph's edges
    const bool with_edges = ctx->needs_input_grad(3 + has_v);
    const bool with_table = ctx->needs_input_grad(4 + has_v);
    at::AutoDispatchBelowAutograd guard;
    static const auto op = find_op<Backward2Signature>("tpainn::message_backward2");
    auto [ds, dv, gx, gvn, ge, gt] =
        op.call(h[0], has_v ? OptTensor(h[1]) : std::nullopt, h[2], saved[0], saved[1], saved[2],
                optional(saved[3]), saved[4], saved[5], ctx->saved_data["cutoff"].toDouble(),
                index, with_table, with_edges);
    return {ds,
            dv,
            gx,
            has_v ? gvn : Tensor(),
            with_edges ? ge : Tensor(),
            with_table ? gt : Tensor(),
            Tensor(),
            Tensor(),
            Tensor()};
  }
};

struct Message : torch::autograd::Function<Message> {
  static variable_list forward(AutogradContext *ctx, const Tensor &x, const OptTensor &v,
                               const Tensor &vec, const Tensor &table, double cutoff,
                               std::vector<Tensor> index) {
    at::AutoDispatchBelowAutograd guard;
    static const auto op = find_op<MessageSignature>("tpainn::message");
    auto [ds, dv] = op.call(x, v, vec, table, cutoff, index);
    variable_list saved{x, v.value_or(Tensor()), vec, table};
    saved.insert(saved.end(), index.begin(), index.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["cutoff"] = cutoff;
    return {ds, dv};
  }

  static variable_list backward(AutogradContext *ctx, const variable_list &g) {
    const auto saved = ctx->get_saved_variables();
    std::vector<Tensor> index(saved.begin() + 4, saved.end());
    const bool has_v = saved[1].defined();
    const bool with_table = ctx->needs_input_grad(2 + has_v);
    auto out = MessageBackward::apply(g[0], g[1], saved[0], optional(saved[1]), saved[2], saved[3],
                                      ctx->saved_data["cutoff"].toDouble(), index, with_table);
    return {out[0], has_v ? out[1] : Tensor(),
            out[2], with_table ? out[3] : Tensor(),
            Tensor(), Tensor()};
  }
};

std::tuple<Tensor, Tensor> message_autograd(const Tensor &x, const OptTensor &v,
                                            const Tensor &vec, const Tensor &table,
                                            double cutoff, at::TensorList index) {
  auto out = Message::apply(x, v, vec, table, cutoff, index.vec());
  return {out[0], out[1]};
}

// Linear, so its derivative is its transpose: every edge takes the difference of its two atoms.
struct EdgeForces : torch::autograd::Function<EdgeForces> {
  static Tensor forward(AutogradContext *ctx, const Tensor &gradient, std::vector<Tensor> index) {
    at::AutoDispatchBelowAutograd guard;
    static const auto op =
        find_op<Tensor(const Tensor &, at::TensorList)>("tpainn::edge_forces");
    ctx->save_for_backward({index[0], index[1]});
    return op.call(gradient, index);
  }

  static variable_list backward(AutogradContext *ctx, const variable_list &h) {
    const auto saved = ctx->get_saved_variables();
    return {h[0].index_select(0, saved[0]) - h[0].index_select(0, saved[1]), Tensor()};
  }
};

Tensor edge_forces_autograd(const Tensor &gradient, at::TensorList index) {
  return EdgeForces::apply(gradient, index.vec());
}

}  // namespace

TORCH_LIBRARY(tpainn, m) {
  m.def(
      "message(Tensor x, Tensor? v, Tensor edge_vec, Tensor table, float cutoff, Tensor[] index)"
      " -> (Tensor, Tensor)");
  m.def(
      "message_backward(Tensor gs, Tensor gv, Tensor x, Tensor? v, Tensor edge_vec, Tensor table,"
      " float cutoff, Tensor[] index, bool with_table) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "message_backward2(Tensor hx, Tensor? hv, Tensor he, Tensor gs, Tensor gv, Tensor x,"
      " Tensor? v, Tensor edge_vec, Tensor table, float cutoff, Tensor[] index, bool with_table,"
      " bool with_edges) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("compress(Tensor key, int n) -> (Tensor start, Tensor order)");
  m.def("edge_forces(Tensor gradient, Tensor[] index) -> Tensor");
  m.def(
      "edges_within(Tensor positions, Tensor centre, Tensor neighbour, Tensor offset, float cutoff)"
      " -> (Tensor, Tensor, Tensor, int, float)");
}

TORCH_LIBRARY_IMPL(tpainn, CPU, m) {
  m.impl("message", message_cpu);
  m.impl("message_backward", message_backward_cpu);
  m.impl("message_backward2", message_backward2_cpu);
  m.impl("compress", compress_cpu);
  m.impl("edge_forces", edge_forces_cpu);
  m.impl("edges_within", edges_within);
}

TORCH_LIBRARY_IMPL(tpainn, Autograd, m) {
  m.impl("message", message_autograd);
  m.impl("edge_forces", edge_forces_autograd);
}

}  // namespace tpainn
