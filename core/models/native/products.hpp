// Products by quantised weights, and by plain ones for a single row.
//
// Weights: tiles of 16 outputs. A tile of 8 bits is (in / 4, 16, 4) bytes, one of 4 bits (in / 8, 16, 4) bytes, whose low
// halves are inputs 8 i + 0..3 and high halves 8 i + 4..7. Scales and zeros are (tiles, groups, 16).
// Inputs: 16 bits, as high * 254 + low with both in 8 bits, and a scale for each BLOCK of them: the sums are whole
// numbers, so a row gives the same whatever others are multiplied with it.
#pragma once
#include <algorithm>
#include <vector>

#include "pool.hpp"
#include "vectors.hpp"

namespace qw {

constexpr int TILE = 16, BLOCK = 32, ZERO_PARTS = 256, BASE = 254, LARGEST = 127 * BASE + 126;

// Of an adapter, for some of the outputs: they get b (outputs, rank) times the low numbers from `at` on.
struct Piece {
    const float* b;
    int32_t first, outputs, at, rank;
};

struct Linear {
    const void* codes;
    const float* scales;
    const uint16_t* zeros;  // in parts of ZERO_PARTS; null where all are the middle
    const float* bias;     // may be null
    const float* a;        // of an adapter, (low, inputs)
    const Piece* pieces;
    int32_t outputs, inputs, groups, kind, low, piece_count;
};

inline void quantise(const float* x, int inputs, int8_t* high, int8_t* low, float* scales, float* sums) {
    for (int at = 0, block = 0; at < inputs; at += BLOCK, block++) {
        const Floats a = load(x + at), b = load(x + at + LANES);
        Floats sizes = a < 0 ? -a : a, others = b < 0 ? -b : b;
        sizes = sizes > others ? sizes : others;
        float largest = 0;
        for (int i = 0; i < LANES; i++) largest = std::max(largest, sizes[i]);
        const float broken = total(a - a + b - b);  // not a number where an input is none, else 0
        const float step = largest / LARGEST + broken, inverse = largest > 0 ? LARGEST / largest : 0;
        Ints sum{};
        for (int half = 0; half < 2; half++) {
            const Floats scaled = (half ? b : a) * inverse;
            const Ints whole = __builtin_convertvector(scaled + (scaled < 0 ? all(-0.5f) : all(0.5f)), Ints);
            const Floats part = __builtin_convertvector(whole, Floats) * (1.0f / BASE);
            const Ints top = __builtin_convertvector(part + (part < 0 ? all(-0.5f) : all(0.5f)), Ints);
            *reinterpret_cast<Bytes*>(high + at + half * LANES) = __builtin_convertvector(top, Bytes);
            *reinterpret_cast<Bytes*>(low + at + half * LANES) = __builtin_convertvector(whole - top * BASE, Bytes);
            sum += whole;
        }
        int32_t added = 0;
        for (int i = 0; i < LANES; i++) added += sum[i];
        scales[block] = step;
        sums[block] = float(added) * step;
    }
}

// Rows in 16 bits, one after the other; sums: of each block, high * 254 + low, by its scale.
struct Rounded {
    std::vector<int8_t> high, low;
    std::vector<float> scales, sums;

    void fit(int64_t count) {
        if (int64_t(high.size()) >= count) return;
        high.resize(count), low.resize(count), scales.resize(count / BLOCK), sums.resize(count / BLOCK);
    }

    // Row r of x (rows, inputs), as this kind of weights wants it: for plain weights nothing is to be done.
    void take(const float* x, int r, const Linear& by) {
        if (by.kind != INT4 && by.kind != INT8) return;
        const int64_t at = int64_t(r) * by.inputs, block = at / BLOCK;
        quantise(x + at, by.inputs, &high[at], &low[at], &scales[block], &sums[block]);
    }
};

// --- whole numbers: acc += codes (unsigned) * x (signed), four neighbours at a time -------------------

#if defined(__AVX512VNNI__)
constexpr int SHIFT8 = 0;
typedef __m512i Sum;
inline Sum nothing() { return _mm512_setzero_si512(); }
inline __m512i codes_of(const uint8_t* from) { return _mm512_loadu_si512(from); }
inline __m512i low_half(__m512i x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
inline __m512i high_half(__m512i x) { return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15)); }
inline int32_t four(const int8_t* x) { int32_t word; std::memcpy(&word, x, 4); return word; }
template <int KIND>
inline Sum add(Sum sum, __m512i codes, const int8_t* x) {
    return _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(four(x)));
}
inline Floats floats(Sum sum) { return (Floats)_mm512_cvtepi32_ps(sum); }
#elif defined(__AVX2__)
constexpr int SHIFT8 = 128;  // codes of 8 bits are taken as signed: unsigned ones would overflow 16 bits
struct Pair { __m256i a, b; };
typedef Pair Sum;
inline Sum nothing() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline Pair codes_of(const uint8_t* from) {
    return {_mm256_loadu_si256((const __m256i*)from), _mm256_loadu_si256((const __m256i*)(from + 32))};
}
inline Pair low_half(Pair x) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
inline Pair high_half(Pair x) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(_mm256_srli_epi16(x.a, 4), mask), _mm256_and_si256(_mm256_srli_epi16(x.b, 4), mask)};
}
inline int32_t four(const int8_t* x) { int32_t word; std::memcpy(&word, x, 4); return word; }
template <int KIND>
inline __m256i added(__m256i sum, __m256i codes, __m256i x) {
    if (KIND == INT8) {
        const __m256i is_signed = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
        x = _mm256_sign_epi8(x, is_signed), codes = _mm256_abs_epi8(is_signed);
    }
    const __m256i pairs = _mm256_maddubs_epi16(codes, x);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
template <int KIND>
inline Sum add(Sum sum, Pair codes, const int8_t* x) {
    const __m256i four_of_x = _mm256_set1_epi32(four(x));
    return {added<KIND>(sum.a, codes.a, four_of_x), added<KIND>(sum.b, codes.b, four_of_x)};
}
inline Floats floats(Sum sum) {
    float out[LANES];
    _mm256_storeu_ps(out, _mm256_cvtepi32_ps(sum.a));
    _mm256_storeu_ps(out + 8, _mm256_cvtepi32_ps(sum.b));
    return load(out);
}
#else
constexpr int SHIFT8 = 0;
struct Codes { uint8_t byte[64]; };
typedef Ints Sum;
inline Sum nothing() { return Ints{}; }
inline Codes codes_of(const uint8_t* from) { Codes c; std::memcpy(c.byte, from, 64); return c; }
inline Codes low_half(Codes c) { for (auto& x : c.byte) x &= 15; return c; }
inline Codes high_half(Codes c) { for (auto& x : c.byte) x >>= 4; return c; }
template <int KIND>
inline Sum add(Sum sum, const Codes& c, const int8_t* x) {
    for (int n = 0; n < TILE; n++)
        for (int j = 0; j < 4; j++) sum[n] += int(c.byte[4 * n + j]) * x[j];
    return sum;
}
inline Floats floats(Sum sum) { return __builtin_convertvector(sum, Floats); }
#endif

// --- a tile by some rows ------------------------------------------------------------------------------

// Quantised rows as `quantise` leaves them, one after the other.
struct Rows {
    const int8_t *high, *low;
    const float *scales, *sums;
};

template <int KIND, int ROWS>
void tile_by(const Linear& by, int tile, const Rows& rows, Floats* out) {
    const int inputs = by.inputs, blocks = inputs / BLOCK, group = inputs / by.groups / BLOCK;
    const int bytes = BLOCK * TILE * KIND / 8;
    const uint8_t* codes = static_cast<const uint8_t*>(by.codes) + int64_t(tile) * blocks * bytes;
    const float middle = KIND == INT8 ? 128 - SHIFT8 : 8;
    for (int r = 0; r < ROWS; r++) out[r] = Floats{};
    for (int g = 0, block = 0; g < by.groups; g++) {
        Floats part[ROWS];
        for (int r = 0; r < ROWS; r++) part[r] = Floats{};
        float offset[ROWS] = {};
        for (const int end = block + group; block < end; block++, codes += bytes) {
            Sum high[ROWS], low[ROWS];
            for (int r = 0; r < ROWS; r++) high[r] = nothing(), low[r] = nothing();
            if (KIND == INT8) {
                for (int i = 0; i < BLOCK / 4; i++) {
                    const auto some = codes_of(codes + 64 * i);
                    for (int r = 0; r < ROWS; r++) {
                        const int at = r * inputs + block * BLOCK + 4 * i;
                        high[r] = add<KIND>(high[r], some, rows.high + at);
                        low[r] = add<KIND>(low[r], some, rows.low + at);
                    }
                }
            } else {
                for (int i = 0; i < BLOCK / 8; i++) {
                    const auto both = codes_of(codes + 64 * i);
                    const auto a = low_half(both), b = high_half(both);
                    for (int r = 0; r < ROWS; r++) {
                        const int at = r * inputs + block * BLOCK + 8 * i;
                        high[r] = add<KIND>(add<KIND>(high[r], a, rows.high + at), b, rows.high + at + 4);
                        low[r] = add<KIND>(add<KIND>(low[r], a, rows.low + at), b, rows.low + at + 4);
                    }
                }
            }
            for (int r = 0; r < ROWS; r++) {
                const int at = r * blocks + block;
                part[r] += (floats(high[r]) * float(BASE) + floats(low[r])) * rows.scales[at];
                offset[r] += rows.sums[at];
            }
        }
        const int64_t at = (int64_t(tile) * by.groups + g) * TILE;
        Floats zeros = all(middle);
        if (by.zeros)
            for (int i = 0; i < TILE; i++) zeros[i] = float(by.zeros[at + i]) * (1.0f / ZERO_PARTS) - (KIND == INT8 ? SHIFT8 : 0);
        for (int r = 0; r < ROWS; r++) out[r] += (part[r] - zeros * offset[r]) * load(by.scales + at);
    }
    if (by.bias)
        for (int r = 0; r < ROWS; r++) out[r] += load(by.bias + int64_t(tile) * TILE);
}

// --- plain weights, row by row of the matrix, for a single row of inputs ------------------------------

template <typename Weight>
Floats plain_tile(const Linear& by, int tile, const float* x) {
    constexpr int AT_ONCE = 4;
    const Weight* weights = static_cast<const Weight*>(by.codes);
    Floats out{};
    for (int first = 0; first < TILE; first += AT_ONCE) {
        const Weight* rows[AT_ONCE];
        for (int n = 0; n < AT_ONCE; n++) {
            const int output = std::min(tile * TILE + first + n, by.outputs - 1);
            rows[n] = weights + int64_t(output) * by.inputs;
        }
        Floats sums[AT_ONCE] = {};
        int k = 0;
        for (; k + LANES <= by.inputs; k += LANES) {
            const Floats some = load(x + k);
            for (int n = 0; n < AT_ONCE; n++) sums[n] += load(rows[n] + k) * some;
        }
        for (int n = 0; n < AT_ONCE; n++) {
            float sum = total(sums[n]);
            for (int rest = k; rest < by.inputs; rest++) sum += one(rows[n] + rest) * x[rest];
            out[first + n] = sum;
        }
    }
    if (by.bias)
        for (int n = 0; n < TILE && tile * TILE + n < by.outputs; n++) out[n] += by.bias[tile * TILE + n];
    return out;
}

inline float dot(const float* a, const float* b, int count) {
    Floats sum{};
    int i = 0;
    for (; i + LANES <= count; i += LANES) sum += load(a + i) * load(b + i);
    float rest = 0;
    for (; i < count; i++) rest += a[i] * b[i];
    return total(sum) + rest;
}

// The rows that go into a product, as its kind of weights wants them. Each thread has its own.
class Input {
   public:
    // x: (count, inputs)
    void take(const float* x, int count, const Linear& by) {
        own_.fit(int64_t(count) * by.inputs);
        for (int r = 0; r < count; r++) own_.take(x, r, by);
        look(x, count, own_);
    }

    // The same where the rows were rounded already.
    void look(const float* x, int count, const Rounded& rounded) {
        plain_ = x, count_ = count, rounded_ = &rounded, low_of_ = nullptr;
    }

    // The outputs of a tile, for every row.
    void by(const Linear& linear, int number, Floats* out) {
        switch (linear.kind) {
            case INT8: rows_by<INT8>(linear, number, out); break;
            case INT4: rows_by<INT4>(linear, number, out); break;
            case BF16: plain_by<uint16_t>(linear, number, out); break;
            case F16: plain_by<Half>(linear, number, out); break;
            default: plain_by<float>(linear, number, out);
        }
        if (linear.low) adapt(linear, number * TILE, out);
    }

   private:
    template <int KIND>
    void rows_by(const Linear& linear, int number, Floats* out) const {
        for (int r = 0; r < count_;) {
            const int64_t at = int64_t(r) * linear.inputs, block = at / BLOCK;
            const Rows rows{&rounded_->high[at], &rounded_->low[at], &rounded_->scales[block], &rounded_->sums[block]};
            if (count_ - r >= 4) tile_by<KIND, 4>(linear, number, rows, out + r), r += 4;
            else if (count_ - r >= 2) tile_by<KIND, 2>(linear, number, rows, out + r), r += 2;
            else tile_by<KIND, 1>(linear, number, rows, out + r), r += 1;
        }
    }

    template <typename Weight>
    void plain_by(const Linear& linear, int number, Floats* out) const {
        for (int r = 0; r < count_; r++)
            out[r] = plain_tile<Weight>(linear, number, plain_ + int64_t(r) * linear.inputs);
    }

    void adapt(const Linear& linear, int first, Floats* out) {
        const int low = linear.low;
        if (low_of_ != linear.a) {
            low_.resize(int64_t(count_) * low), low_of_ = linear.a;
            for (int r = 0; r < count_; r++)
                for (int i = 0; i < low; i++)
                    low_[r * low + i] = dot(linear.a + int64_t(i) * linear.inputs, plain_ + int64_t(r) * linear.inputs, linear.inputs);
        }
        for (int p = 0; p < linear.piece_count; p++) {
            const Piece& piece = linear.pieces[p];
            const int from = std::max(first, piece.first), until = std::min(first + TILE, piece.first + piece.outputs);
            for (int n = from; n < until; n++)
                for (int r = 0; r < count_; r++)
                    out[r][n - first] += dot(piece.b + int64_t(n - piece.first) * piece.rank, &low_[r * low + piece.at], piece.rank);
        }
    }

    const float *plain_ = nullptr, *low_of_ = nullptr;
    int count_ = 0;
    std::vector<float> low_;
    const Rounded* rounded_ = nullptr;
    Rounded own_;
};

inline int tiles(const Linear& linear) { return (linear.outputs + TILE - 1) / TILE; }

inline void put_tile(float* out, int outputs, int number, Floats x) {
    const int at = number * TILE;
    if (at + TILE <= outputs) return store(out + at, x);
    for (int n = at; n < outputs; n++) out[n] = x[n - at];
}

// --- many rows ----------------------------------------------------------------------------------------

// out (count, outputs) = x (count, inputs) by quantised weights.
template <int KIND>
void product(const Linear& by, const float* x, int count, float* out, int threads) {
    constexpr int AT_ONCE = 4;
    const int inputs = by.inputs;
    Rounded rounded;
    rounded.fit(int64_t(count) * inputs);
    const std::function<void(int)> work = [&](int thread) {
        const Share mine = share(count, thread, threads);
        for (int r = mine.start; r < mine.stop; r++) rounded.take(x, r, by);
        pool().meet();
        const Share some = share(tiles(by), thread, threads);
        for (int t = some.start; t < some.stop; t++) {
            for (int r = 0; r < count;) {
                const int64_t at = int64_t(r) * inputs, block = at / BLOCK;
                const Rows rows{&rounded.high[at], &rounded.low[at], &rounded.scales[block], &rounded.sums[block]};
                Floats found[AT_ONCE];
                const int taken = r + AT_ONCE <= count ? AT_ONCE : 1;
                taken > 1 ? tile_by<KIND, AT_ONCE>(by, t, rows, found) : tile_by<KIND, 1>(by, t, rows, found);
                for (int i = 0; i < taken; i++, r++) put_tile(out + int64_t(r) * by.outputs, by.outputs, t, found[i]);
            }
        }
    };
    pool().run(threads, work);
}

}  // namespace qw
