#include "kernel.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "vector.h"

const int kernel_factors = FACTORS;

/* Cells are taken 64 at a time. Of their tiles, a vector's width each, four columns take four at once, so that the
 * scores fill sixteen registers; or two where there are but sixteen in all. Of the elements of results the same. */
enum { CELLS = 64, QUAD = 4, TILES = LANES == 8 ? 2 : 4, MOST_COLUMNS = MOST_ROWS, CACHE_LINE = 64 };

/* Jobs for each thread, if the units are fewer: then they are split by heads. */
enum { JOBS_A_THREAD = 4 };

/* What a thread works in: queries by column, keys by element (transposed), values by cell, all three as factors; and
 * scores by column, which become the weights of the values, as factors. */
typedef struct {
    float queries[MOST_COLUMNS * LARGEST_WIDTH];
    float keys[LARGEST_WIDTH * CELLS];
    float values[CELLS * LARGEST_WIDTH];
    float scores[MOST_COLUMNS * CELLS];
} Scratch;

/* A column's part of the results: its elements, not yet divided by the sum, then the sum, spread over a vector, then
 * the scale: they are all so many powers of two too small. A power of two changes no digit of theirs, so that what is
 * computed depends little on which cells are computed together. */
typedef float *Partial;

/* The scale at which weights are at most 1 if scores are at most so large. */
static float scale_of(float score) { return ceilf(score * 1.44269504f); }

static float power_of_two(float exponent) { return exponent < -126 ? 0 : ldexpf(1, (int)exponent); }

static size_t partial_length(const Attention *a) { return a->value_width + 2 * LANES; }

static Partial partial_of(const Attention *a, const Plan *plan, const Workspace *w, int unit, int kv_head, int column) {
    int group = a->heads / a->kv_heads, columns = plan->segments[plan->units[unit].segment].row_count * group;
    int64_t at = plan->units[unit].columns * a->kv_heads + (int64_t)kv_head * columns + column;
    return w->partial + at * partial_length(a);
}

/* ---- 64 cells of one KV head ---- */

/* What is at hand: the rows of a segment, up to 64 of its cells, and one KV head. */
typedef struct {
    const Attention *attention;
    const Segment *segment;
    int kv_head, group, columns;
    const int32_t *cells;
    const uint64_t *seen;
    int cell_count, tiles;
    Partial partial; /* of the first column */
    Scratch *scratch;
} Piece;

static const char *cell_of(const View *view, const Piece *piece, int cell) {
    return view->data + piece->segment->stream * view->stream + piece->kv_head * view->head +
           piece->cells[cell] * view->row;
}

/* How many factors' places a query or a key takes. */
static int key_places(const Attention *a) { return (a->key_width + LANES * FACTORS - 1) / (LANES * FACTORS) * LANES; }

static void load_queries(const Piece *piece) {
    const Attention *a = piece->attention;
    const View *view = &a->queries;
    float scale = a->cap != 0 ? a->scale / a->cap : a->scale;
    for (int column = 0; column < piece->columns; column++) {
        int row = piece->segment->rows[column / piece->group], head = piece->kv_head * piece->group + column % piece->group;
        const float *from =
            (const float *)(view->data + piece->segment->stream * view->stream + head * view->head + row * view->row);
        float *to = piece->scratch->queries + column * key_places(a), *end = to + key_places(a);
        for (int i = 0; i < a->key_width; i += LANES, to += LANES / FACTORS)
            vector_store_factors(to, vector_load(from + i) * scale);
        for (; to < end; to += LANES / FACTORS) vector_store_factors(to, (Vector){0});
    }
}

static void load_keys(const Piece *piece) {
    int width = piece->attention->key_width;
    for (int tile = 0; tile < piece->tiles; tile++)
        for (int place = 0; place * FACTORS < width; place += LANES) {
            Vector rows[LANES];
            int element = place * FACTORS, both = element + LANES < width;
            for (int i = 0; i < LANES; i++) {
                int cell = tile * LANES + i;
                if (cell >= piece->cell_count) cell = piece->cell_count - 1;
                const uint16_t *key = (const uint16_t *)cell_of(&piece->attention->keys, piece, cell);
                rows[i] = vector_factors_of_row(key + element, both);
            }
            vector_transpose(rows);
            for (int i = 0; i < LANES; i++)
                vector_store(piece->scratch->keys + (place + i) * CELLS + tile * LANES, rows[i]);
        }
}

static void load_values(const Piece *piece) {
    int width = piece->attention->value_width;
    for (int cell = 0; cell < piece->cell_count; cell += FACTORS) {
        int other = cell + FACTORS - 1 < piece->cell_count ? cell + FACTORS - 1 : cell; /* if none, its weight is 0 */
        const uint16_t *first = (const uint16_t *)cell_of(&piece->attention->values, piece, cell);
        const uint16_t *second = (const uint16_t *)cell_of(&piece->attention->values, piece, other);
        float *to = piece->scratch->values + cell / FACTORS * width;
        for (int i = 0; i < width; i += LANES) vector_store(to + i, vector_factors_of_rows(first + i, second + i));
    }
}

/* The scores of `columns` columns and `tiles` tiles of cells, from the given ones on. */
INLINE void score(const Piece *piece, int column, int tile, const int columns, const int tiles) {
    int width = key_places(piece->attention);
    const float *query = piece->scratch->queries + column * width, *key = piece->scratch->keys + tile * LANES;
    float *to = piece->scratch->scores + column * CELLS + tile * LANES;
    Vector sums[QUAD][QUAD] = {0};
    for (int i = 0; i < width; i++) {
        Vector keys[QUAD];
        for (int t = 0; t < tiles; t++) {
            keys[t] = vector_load(key + i * CELLS + t * LANES);
            vector_keep(&keys[t]);
        }
        for (int c = 0; c < columns; c++)
            for (int t = 0; t < tiles; t++) vector_add_products(&sums[c][t], keys[t], query[c * width + i]);
    }
    for (int c = 0; c < columns; c++)
        for (int t = 0; t < tiles; t++) vector_store(to + c * CELLS + t * LANES, sums[c][t]);
}

/* Adds what the weights in the scores' place give of the values, for `columns` columns and `parts` vectors of elements. */
INLINE void add_values(const Piece *piece, int column, int element, const int columns, const int parts) {
    int width = piece->attention->value_width;
    size_t length = partial_length(piece->attention);
    const float *weight = piece->scratch->scores + column * CELLS, *value = piece->scratch->values + element;
    float *to = piece->partial + column * length + element;
    Vector sums[QUAD][QUAD];
    for (int c = 0; c < columns; c++)
        for (int p = 0; p < parts; p++) sums[c][p] = vector_load(to + c * length + p * LANES);
    for (int i = 0; i * FACTORS < piece->cell_count; i++) {
        Vector values[QUAD];
        for (int p = 0; p < parts; p++) {
            values[p] = vector_load(value + i * width + p * LANES);
            vector_keep(&values[p]);
        }
        for (int c = 0; c < columns; c++)
            for (int p = 0; p < parts; p++) vector_add_products(&sums[c][p], values[p], weight[c * CELLS + i]);
    }
    for (int c = 0; c < columns; c++)
        for (int p = 0; p < parts; p++) vector_store(to + c * length + p * LANES, sums[c][p]);
}

/* Both are compiled for each number of columns and of vectors, so that the sums stay in registers. */
#define FOR_EACH_SIZE(columns, vectors, CALL)   \
    switch ((columns) * 8 + (vectors)) {        \
        FOR_EACH_VECTORS(1, CALL)               \
        FOR_EACH_VECTORS(2, CALL)               \
        FOR_EACH_VECTORS(3, CALL)               \
        FOR_EACH_VECTORS(4, CALL)               \
    }
#define FOR_EACH_VECTORS(C, CALL)       \
    case C * 8 + 1: CALL(C, 1); break;  \
    case C * 8 + 2: CALL(C, 2); break;  \
    case C * 8 + 3: CALL(C, 3); break;  \
    case C * 8 + 4: CALL(C, 4); break;

static int smaller(int a, int b) { return a < b ? a : b; }

static void score_all(const Piece *piece) {
    for (int column = 0; column < piece->columns; column += QUAD)
        for (int tile = 0; tile < piece->tiles; tile += TILES) {
#define CALL(C, T) score(piece, column, tile, C, T)
            FOR_EACH_SIZE(smaller(piece->columns - column, QUAD), smaller(piece->tiles - tile, TILES), CALL)
#undef CALL
        }
}

static void add_all_values(const Piece *piece) {
    int width = piece->attention->value_width;
    for (int column = 0; column < piece->columns; column += QUAD)
        for (int element = 0; element < width; element += TILES * LANES) {
#define CALL(C, P) add_values(piece, column, element, C, P)
            FOR_EACH_SIZE(smaller(piece->columns - column, QUAD), smaller((width - element) / LANES, TILES), CALL)
#undef CALL
        }
}

/* Minus infinity where a row does not see a cell, and where there is none. */
static void hide(const Piece *piece, int column, float *scores) {
    for (int i = piece->cell_count; i < piece->tiles * LANES; i++) scores[i] = -INFINITY;
    if (!piece->seen) return;
    for (int i = 0; i < piece->cell_count; i++)
        if (!(piece->seen[i] >> column / piece->group & 1)) scores[i] = -INFINITY;
}

/* Scores to weights; what was summed up before is brought to the same scale. */
static void weigh(const Piece *piece, int column) {
    int width = piece->attention->value_width;
    float *scores = piece->scratch->scores + column * CELLS, cap = piece->attention->cap;
    Partial partial = piece->partial + column * partial_length(piece->attention);
    float *sum = partial + width, *scale = sum + LANES;
    if (cap != 0)
        for (int i = 0; i < piece->cell_count; i++) scores[i] = cap * tanhf(scores[i]);
    hide(piece, column, scores);
    Vector largest = vector_load(scores);
    for (int t = 1; t < piece->tiles; t++) largest = vector_larger(largest, vector_load(scores + t * LANES));
    float needed = scale_of(vector_largest(largest));
    if (needed > *scale) {
        float factor = power_of_two(*scale - needed); /* 0 at first */
        for (int i = 0; i < width + LANES; i += LANES) vector_store(partial + i, vector_load(partial + i) * factor);
        *scale = needed;
    }
    Vector total = vector_load(sum);
    for (int t = 0; t < piece->tiles; t++) {
        Vector weights = *scale == -INFINITY ? vector_of(0) : vector_exp(vector_load(scores + t * LANES), *scale);
        vector_store_factors(scores + t * (LANES / FACTORS), weights);
        total += weights;
    }
    vector_store(sum, total);
}

static void compute_piece(const Piece *piece) {
    load_queries(piece);
    load_keys(piece);
    score_all(piece);
    for (int column = 0; column < piece->columns; column++) weigh(piece, column);
    load_values(piece);
    add_all_values(piece);
}

/* ---- units ---- */

/* Reads from memory, in its order, what the pieces of the heads then find in the cache: head by head it would be read
 * with gaps, at half the speed. */
static void fetch(const View *view, const Piece *piece, int heads) {
    for (int i = 0; i < piece->cell_count; i++) {
        const volatile char *row = cell_of(view, piece, i);
        for (size_t at = 0; at < heads * view->head; at += CACHE_LINE) (void)row[at];
    }
}

static void clear_partial(const Piece *piece) {
    size_t length = partial_length(piece->attention);
    for (int column = 0; column < piece->columns; column++) {
        Partial partial = piece->partial + column * length;
        memset(partial, 0, sizeof(float) * length);
        partial[piece->attention->value_width + LANES] = -INFINITY;
    }
}

static void compute_unit(const Attention *a, const Plan *plan, const Workspace *w, int number, int head, int heads) {
    const Unit *unit = &plan->units[number];
    const Segment *segment = &plan->segments[unit->segment];
    Piece piece = {.attention = a, .segment = segment, .group = a->heads / a->kv_heads};
    piece.columns = segment->row_count * piece.group;
    piece.scratch = (Scratch *)w->scratch + omp_get_thread_num();
    for (int done = 0; done < unit->cell_count; done += CELLS) {
        piece.cells = segment->cells + unit->first + done;
        piece.seen = segment->seen ? segment->seen + unit->first + done : NULL;
        piece.cell_count = smaller(unit->cell_count - done, CELLS);
        piece.tiles = (piece.cell_count + LANES - 1) / LANES;
        piece.kv_head = head;
        fetch(&a->keys, &piece, heads);
        fetch(&a->values, &piece, heads);
        for (; piece.kv_head < head + heads; piece.kv_head++) {
            piece.partial = partial_of(a, plan, w, number, piece.kv_head, 0);
            if (!done) clear_partial(&piece);
            compute_piece(&piece);
        }
    }
}

/* Puts the parts of one row and head together. */
static void merge(const Attention *a, const Plan *plan, const Workspace *w, int row, int head) {
    int group = a->heads / a->kv_heads, width = a->value_width;
    const View *view = &a->out;
    float *out = (float *)(view->data + row / a->rows * view->stream + row % a->rows * view->row + head * view->head);
    float scale = a->sinks ? scale_of(a->sinks[head]) : -INFINITY, sum = 0;
    if (a->sinks) sum = exp2f(a->sinks[head] * 1.44269504f - scale);
    memset(out, 0, sizeof(float) * width);
    for (int i = plan->first_part[row]; i < plan->first_part[row + 1]; i++) {
        int column = plan->parts[i].row * group + head % group;
        Partial partial = partial_of(a, plan, w, plan->parts[i].unit, head / group, column);
        float its = partial[width + LANES], larger = its > scale ? its : scale;
        if (larger == -INFINITY) continue;
        float old = power_of_two(scale - larger), new = power_of_two(its - larger);
        for (int j = 0; j < width; j += LANES)
            vector_store(out + j, vector_load(out + j) * old + vector_load(partial + j) * new);
        sum = sum * old + vector_sum(vector_load(partial + width)) * new;
        scale = larger;
    }
    float factor = sum > 0 ? 1 / sum : 0;
    for (int j = 0; j < width; j += LANES) vector_store(out + j, vector_load(out + j) * factor);
}

static bool make_room(const Attention *a, const Plan *plan, Workspace *w, int threads) {
    size_t bytes = sizeof(float) * partial_length(a) * plan->columns * a->kv_heads;
    if (w->partial_bytes < bytes) {
        free(w->partial);
        w->partial = aligned_alloc(CACHE_LINE, bytes);
        w->partial_bytes = w->partial ? bytes : 0;
    }
    if (w->scratch_threads < threads) {
        free(w->scratch);
        w->scratch = aligned_alloc(CACHE_LINE, sizeof(Scratch) * threads);
        w->scratch_threads = w->scratch ? threads : 0;
    }
    return w->partial_bytes >= bytes && w->scratch_threads >= threads;
}

void workspace_free(Workspace *workspace) {
    free(workspace->partial);
    free(workspace->scratch);
    *workspace = (Workspace){0};
}

Outcome attention_compute(const Attention *a, const Plan *plan, Workspace *w, int threads) {
    if (!make_room(a, plan, w, threads)) return ATTENTION_NO_MEMORY;
    int wanted = JOBS_A_THREAD * threads, shares = 1, next = 0, results = a->rows * a->streams * a->heads;
    bool aborted = false;
    if (plan->unit_count && plan->unit_count < wanted)
        shares = smaller((wanted + plan->unit_count - 1) / plan->unit_count, a->kv_heads);
#pragma omp parallel num_threads(threads)
    {
        for (;;) {
            int job = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED), share = job % shares;
            if (job >= plan->unit_count * shares) break;
            if (a->aborted && a->aborted(a->abort_data)) {
                __atomic_store_n(&aborted, true, __ATOMIC_RELAXED);
                break;
            }
            int head = a->kv_heads * share / shares, end = a->kv_heads * (share + 1) / shares;
            compute_unit(a, plan, w, job / shares, head, end - head);
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int i = 0; i < results; i++)
            if (!aborted) merge(a, plan, w, i / a->heads, i % a->heads);
    }
    return aborted ? ATTENTION_ABORTED : ATTENTION_DONE;
}
