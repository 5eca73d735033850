/* Attention of a batch to the KV cache: softmax(queries x keys) x values, over the cells of a plan.
 *
 * Flash attention (Dao et al., 2022): 64 cells at a time, with a running maximum and sum for each column (a row and a
 * query head). Each part of the cells is computed apart and the parts are put together at the end (flash decoding, Dao
 * et al., 2023). All query heads of a KV head, and all rows of a block, use a key and a value while they are at hand. */

#ifndef AIOS_KERNEL_H
#define AIOS_KERNEL_H

#include "plan.h"

enum { LARGEST_WIDTH = 256, WIDTH_STEP = 16 };

/* Vectors in memory, by row or cell, head and stream: bytes from one to the next. */
typedef struct {
    char *data;
    size_t row, head, stream;
} View;

typedef struct {
    View queries, out;  /* of floats */
    View keys, values;  /* of half-precision numbers */
    int rows, streams, heads, kv_heads;
    int key_width, value_width;  /* multiples of WIDTH_STEP, at most LARGEST_WIDTH */
    float scale;                 /* of the scores */
    float cap;                   /* cap x tanh(score / cap) where it is not 0 */
    const float *sinks;          /* of each head, a score that takes part and has no value; NULL: none */
    bool (*aborted)(void *);     /* asked before each unit, with `abort_data`; NULL: never */
    void *abort_data;
} Attention;

typedef enum { ATTENTION_DONE, ATTENTION_ABORTED, ATTENTION_NO_MEMORY } Outcome;

/* Memory that is used again; begins as zeros. */
typedef struct {
    float *partial;
    size_t partial_bytes;
    void *scratch;
    int scratch_threads;
} Workspace;

/* How many bf16 factors a product takes at once; 1: factors are floats. */
extern const int kernel_factors;

Outcome attention_compute(const Attention *attention, const Plan *plan, Workspace *workspace, int threads);

void workspace_free(Workspace *workspace);

#endif
