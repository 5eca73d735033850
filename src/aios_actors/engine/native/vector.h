/* Floats by the register, in the vector types that GCC and clang share. Only what these types cannot say is written for
 * each kind of CPU: 16 lanes with AVX-512, 8 with AVX2, 4 with NEON.
 *
 * Where the CPU multiplies pairs of bf16 numbers, a product takes two factors at once, in the place of one float: twice
 * as many in the same time, in the precision in which models are trained. Sums are floats everywhere. */

#ifndef AIOS_VECTOR_H
#define AIOS_VECTOR_H

#include <math.h>
#include <stdint.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX2__) && defined(__F16C__) && defined(__FMA__)
#include <immintrin.h>
#define LANES 8
#elif defined(__aarch64__)
#define LANES 4
#else
#error "this CPU has no fast vectors of half-precision numbers"
#endif

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define FACTORS 2
#else
#define FACTORS 1
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef float Unaligned __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));

INLINE Vector vector_load(const float *from) { return (Vector) * (const Unaligned *)from; }

INLINE void vector_store(float *to, Vector x) { *(Unaligned *)to = (Unaligned)x; }

INLINE Vector vector_of(float x) { return x - (Vector){0}; }

INLINE Vector vector_of_halves(const uint16_t *from) {
#if LANES == 16
    return (Vector)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif LANES == 8
    return (Vector)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
    Vector x;
    for (int i = 0; i < LANES; i++) x[i] = (float)((const _Float16 *)from)[i];
    return x;
#endif
}

/* Floats as factors of products, to memory: LANES of them to LANES / FACTORS places. */
INLINE void vector_store_factors(float *to, Vector x) {
#if FACTORS == 2
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    vector_store(to, x);
#endif
}

/* LANES x FACTORS numbers in a row as factors; of the second half zeros, if it is not there. */
INLINE Vector vector_factors_of_row(const uint16_t *from, int both) {
    Vector first = vector_of_halves(from);
#if FACTORS == 2
    Vector second = both ? vector_of_halves(from + LANES) : (Vector){0};
    return (Vector)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
#else
    (void)both;
    return first;
#endif
}

/* LANES numbers of each of FACTORS rows, side by side. */
INLINE Vector vector_factors_of_rows(const uint16_t *first, const uint16_t *second) {
#if FACTORS == 2
    const __m512i by_turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                              21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512bh rows = _mm512_cvtne2ps_pbh((__m512)vector_of_halves(second), (__m512)vector_of_halves(first));
    return (Vector)_mm512_permutexvar_epi16(by_turns, (__m512i)rows);
#else
    (void)second;
    return vector_of_halves(first);
#endif
}

/* Adds the products of `a` and, for all lanes, `b`, which are factors. */
INLINE void vector_add_products(Vector *sum, Vector a, float b) {
#if FACTORS == 2
    *sum = (Vector)_mm512_dpbf16_ps((__m512)*sum, (__m512bh)a, (__m512bh)_mm512_set1_ps(b));
#else
    *sum += a * b;
#endif
}

/* Where a lane of `condition` is all ones that of `yes`, where it is zero that of `no`. */
INLINE Vector vector_choose(Integers condition, Vector yes, Vector no) {
    return (Vector)((condition & (Integers)yes) | (~condition & (Integers)no));
}

INLINE Vector vector_larger(Vector a, Vector b) { return vector_choose(a > b, a, b); }

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (Integers){__VA_ARGS__})
#endif

/* The other lane of each pair that is so far apart, and of two rows those that they exchange at that distance. */
#define LIST(...) __VA_ARGS__
#if LANES == 16
#define OTHER_8 LIST(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)
#define OTHER_4 LIST(4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
#define OTHER_2 LIST(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
#define OTHER_1 LIST(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
#define FIRST_8 LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define SECOND_8 LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define FIRST_4 LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27)
#define SECOND_4 LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31)
#define FIRST_2 LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define SECOND_2 LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define FIRST_1 LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30)
#define SECOND_1 LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31)
#define FOR_EACH_DISTANCE(CALL) CALL(8) CALL(4) CALL(2) CALL(1)
#elif LANES == 8
#define OTHER_4 LIST(4, 5, 6, 7, 0, 1, 2, 3)
#define OTHER_2 LIST(2, 3, 0, 1, 6, 7, 4, 5)
#define OTHER_1 LIST(1, 0, 3, 2, 5, 4, 7, 6)
#define FIRST_4 LIST(0, 1, 2, 3, 8, 9, 10, 11)
#define SECOND_4 LIST(4, 5, 6, 7, 12, 13, 14, 15)
#define FIRST_2 LIST(0, 1, 8, 9, 4, 5, 12, 13)
#define SECOND_2 LIST(2, 3, 10, 11, 6, 7, 14, 15)
#define FIRST_1 LIST(0, 8, 2, 10, 4, 12, 6, 14)
#define SECOND_1 LIST(1, 9, 3, 11, 5, 13, 7, 15)
#define FOR_EACH_DISTANCE(CALL) CALL(4) CALL(2) CALL(1)
#else
#define OTHER_2 LIST(2, 3, 0, 1)
#define OTHER_1 LIST(1, 0, 3, 2)
#define FIRST_2 LIST(0, 1, 4, 5)
#define SECOND_2 LIST(2, 3, 6, 7)
#define FIRST_1 LIST(0, 4, 2, 6)
#define SECOND_1 LIST(1, 5, 3, 7)
#define FOR_EACH_DISTANCE(CALL) CALL(2) CALL(1)
#endif

INLINE float vector_sum(Vector x) {
#define ADD(DISTANCE) x += SHUFFLE(x, x, OTHER_##DISTANCE);
    FOR_EACH_DISTANCE(ADD)
#undef ADD
    return x[0];
}

INLINE float vector_largest(Vector x) {
#define TAKE_LARGER(DISTANCE) x = vector_larger(x, SHUFFLE(x, x, OTHER_##DISTANCE));
    FOR_EACH_DISTANCE(TAKE_LARGER)
#undef TAKE_LARGER
    return x[0];
}

/* Keeps a vector that is used several times in a register: else compilers read it from memory at each use, and the
 * loads take longer than the arithmetic. */
INLINE void vector_keep(Vector *x) {
#if LANES == 16
    __asm__("" : "+v"(*x));
#elif LANES == 8
    __asm__("" : "+x"(*x));
#else
    __asm__("" : "+w"(*x));
#endif
}

/* e^x / 2^scale, to within 2e-7 of its size; 0 where it is below 2^-120, as for minus infinity.
 *
 * x = n ln 2 + r: a Taylor polynomial for e^r, and n - scale goes into the exponent's bits, so that another scale gives
 * the same digits. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits; ln 2 is taken off in two parts,
 * of which n times the first is exact. */
INLINE Vector vector_exp(Vector x, float scale) {
    const float rounder = 12582912.0f;
    Vector shifted = x * 1.44269504f + rounder, n = shifted - rounder;
    Vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vector p = 1.0f / 120 + r * (1.0f / 720);
    p = 1.0f / 24 + r * p;
    p = 1.0f / 6 + r * p;
    p = 0.5f + r * p;
    p = 1.0f + r * p;
    p = 1.0f + r * p;
    Vector scaled = (Vector)((Integers)p + (((Integers)shifted - (int32_t)scale) << 23));
    return vector_choose(n - scale >= -120.0f, scaled, vector_of(0));
}

/* Rows to columns: in each round rows that are so far apart exchange halves, quarters and so on. */
INLINE void vector_transpose(Vector rows[LANES]) {
#define EXCHANGE(DISTANCE)                                             \
    for (int i = 0; i < LANES; i++) {                                  \
        if (i & DISTANCE) continue;                                    \
        Vector upper = rows[i], lower = rows[i + DISTANCE];            \
        rows[i] = SHUFFLE(upper, lower, FIRST_##DISTANCE);             \
        rows[i + DISTANCE] = SHUFFLE(upper, lower, SECOND_##DISTANCE); \
    }
    FOR_EACH_DISTANCE(EXCHANGE)
#undef EXCHANGE
}

#endif
