/* Sixteen floats at a time, in the vector types that GCC and clang share: one zmm register with AVX-512, two of AVX2,
 * four of NEON. Only the conversion from half precision is written for each. */

#ifndef AIOS_VECTOR_H
#define AIOS_VECTOR_H

#include <math.h>
#include <stdint.h>

#if defined(__F16C__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES 16

typedef float Vector __attribute__((vector_size(64)));
typedef float Unaligned __attribute__((vector_size(64), aligned(4)));
typedef int32_t Integers __attribute__((vector_size(64)));

INLINE Vector vector_load(const float *from) { return (Vector) * (const Unaligned *)from; }

INLINE void vector_store(float *to, Vector x) { *(Unaligned *)to = (Unaligned)x; }

INLINE Vector vector_of(float x) { return x - (Vector){0}; }

INLINE Vector vector_of_halves(const uint16_t *from) {
#if defined(__AVX512F__)
    return (Vector)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif defined(__F16C__)
    union { __m256 halves[2]; Vector whole; } x;
    x.halves[0] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
    x.halves[1] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + 8)));
    return x.whole;
#else
    Vector x;
    for (int i = 0; i < LANES; i++) x[i] = (float)((const _Float16 *)from)[i];
    return x;
#endif
}

/* Where a lane of `condition` is all ones that of `yes`, where it is zero that of `no`. */
INLINE Vector vector_choose(Integers condition, Vector yes, Vector no) {
    return (Vector)((condition & (Integers)yes) | (~condition & (Integers)no));
}

INLINE Vector vector_larger(Vector a, Vector b) { return vector_choose(a > b, a, b); }

INLINE float vector_sum(Vector x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

INLINE float vector_largest(Vector x) {
    float largest = x[0];
    for (int i = 1; i < LANES; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

/* e^x for x <= 0, to within 2e-7 of its size; what would be below 1e-37 is about that.
 *
 * x = n ln 2 + r: a Taylor polynomial for e^r, and n goes into the exponent's bits. Adding 1.5 * 2^23 rounds to an
 * integer and leaves it in the low bits; ln 2 is taken off in two parts, of which n times the first is exact. */
INLINE Vector vector_exp(Vector x) {
    const float rounder = 12582912.0f;
    x = vector_larger(x, vector_of(-86.0f));
    Vector shifted = x * 1.44269504f + rounder, n = shifted - rounder;
    Vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vector p = 1.0f / 120 + r * (1.0f / 720);
    p = 1.0f / 24 + r * p;
    p = 1.0f / 6 + r * p;
    p = 0.5f + r * p;
    p = 1.0f + r * p;
    p = 1.0f + r * p;
    return (Vector)((Integers)p + ((Integers)shifted << 23));
}

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (Integers){__VA_ARGS__})
#endif

/* Rows to columns: in each round rows that are `DISTANCE` apart exchange halves, quarters, eighths, sixteenths. */
#define EXCHANGE(DISTANCE, FIRST, SECOND)                       \
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) {  \
        if (i & DISTANCE) continue;                             \
        Vector upper = rows[i], lower = rows[i + DISTANCE];     \
        rows[i] = SHUFFLE(upper, lower, FIRST);                 \
        rows[i + DISTANCE] = SHUFFLE(upper, lower, SECOND);     \
    }
#define LIST(...) __VA_ARGS__

INLINE void vector_transpose(Vector rows[LANES]) {
    EXCHANGE(8, LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
             LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
    EXCHANGE(4, LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
             LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    EXCHANGE(2, LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
             LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    EXCHANGE(1, LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
             LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
}

#endif
