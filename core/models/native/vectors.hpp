// Sixteen floats at a time, in the compiler's own vectors, so that one source serves AVX512, AVX2 and others.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qw {

constexpr int LANES = 16;
typedef float Floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t Words __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t Halves __attribute__((vector_size(32), aligned(2), may_alias));

enum Kind : int32_t { INT4 = 4, INT8 = 8, BF16 = 16, F16 = 17, F32 = 32 };  // as core/models/native/structures.py has them

inline Floats all(float x) { return Floats{} + x; }
inline Floats load(const float* from) { return *reinterpret_cast<const Floats*>(from); }
inline void store(float* to, Floats x) { *reinterpret_cast<Floats*>(to) = x; }
inline float total(Floats x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    float some[LANES];
    store(some, x);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) some[i] += some[i + width];
    return some[0];
#endif
}

inline Floats widened(Halves x) {
    Words bits = __builtin_convertvector(x, Words) << 16;
    return (Floats)bits;
}
inline Floats load(const uint16_t* bf16) { return widened(*reinterpret_cast<const Halves*>(bf16)); }

#if defined(__FLT16_MANT_DIG__)
typedef _Float16 Half;
typedef _Float16 HalfFloats __attribute__((vector_size(32), aligned(2), may_alias));
inline Floats load(const Half* f16) { return __builtin_convertvector(*reinterpret_cast<const HalfFloats*>(f16), Floats); }
inline float one(const Half* from) { return float(*from); }
inline void put(Half* to, float x) { *to = Half(x); }
constexpr bool HAS_F16 = true;
#else
typedef uint16_t Half;  // never used: Python asks qw_has_f16 first
constexpr bool HAS_F16 = false;
#endif

typedef int8_t Bytes __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint8_t Levels __attribute__((vector_size(16), aligned(1), may_alias));
#if defined(__AVX512F__)  // the compiler would go there in two steps
inline Floats load(const int8_t* from) {
    return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from)));
}
inline Floats load(const uint8_t* from) {
    return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)from)));
}
#else
inline Floats load(const int8_t* from) {
    return __builtin_convertvector(__builtin_convertvector(*reinterpret_cast<const Bytes*>(from), Ints), Floats);
}
inline Floats load(const uint8_t* from) {
    return __builtin_convertvector(__builtin_convertvector(*reinterpret_cast<const Levels*>(from), Ints), Floats);
}
#endif

inline float one(const float* from) { return *from; }
inline float one(const uint16_t* from) {
    uint32_t bits = uint32_t(*from) << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}
inline void put(float* to, float x) { *to = x; }
inline void put(uint16_t* to, float x) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    *to = x != x ? 0x7fc0 : uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// e^x, relative error below 2e-7 (Cody and Waite's reduction, Taylor to the sixth power).
inline Floats exponential(Floats x) {
    const Floats low = all(-87.0f), high = all(88.0f);
    x = x < low ? low : x;
    x = x > high ? high : x;
    Floats scaled = x * 1.44269504f;
    Ints whole = __builtin_convertvector(scaled + (scaled < 0 ? all(-0.5f) : all(0.5f)), Ints);
    Floats n = __builtin_convertvector(whole, Floats);
    Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Floats p = all(1.0f / 720);
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * (Floats)((whole + 127) << 23);
}

inline Floats silu(Floats x) { return x / (exponential(-x) + 1.0f); }

inline float sum_of_squares(const float* x, int count) {
    Floats sum{};
    int i = 0;
    for (; i + LANES <= count; i += LANES) sum += load(x + i) * load(x + i);
    float rest = 0;
    for (; i < count; i++) rest += x[i] * x[i];
    return total(sum) + rest;
}

// out = x * weight / sqrt(|x|^2 + least), weight being enlarged by the root of the width.
inline void norm(const float* x, const float* weight, float least, int count, float* out) {
    const float scale = 1.0f / std::sqrt(sum_of_squares(x, count) + least);
    int i = 0;
    for (; i + LANES <= count; i += LANES) store(out + i, load(x + i) * load(weight + i) * scale);
    for (; i < count; i++) out[i] = x[i] * weight[i] * scale;
}

}  // namespace qw
