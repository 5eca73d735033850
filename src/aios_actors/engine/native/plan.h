/* Which cells of the KV cache which rows of a batch attend to, found from the mask alone.
 *
 * Rows are the tokens of a batch. Those that see much of the same, be they tokens of one prompt or agents with a common
 * prefix, form a block of at most `limit` rows. A block's cells are those that all of its rows see, those that most of
 * them see, each with the rows that do, and those of single rows. So a shared prefix is read once for all that share
 * it, and what nobody in the batch sees, such as parked conversations, is not read at all. */

#ifndef AIOS_PLAN_H
#define AIOS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_ROWS 64

/* Memory that is taken piece by piece and given back all at once, to be taken again. */
typedef struct Arena Arena;

/* Some rows and cells that they see: all of them, or with `seen` those whose bit of the cell's word is set. */
typedef struct {
    int stream, row_count, cell_count;
    const int *rows;
    const int32_t *cells;
    const uint64_t *seen;
} Segment;

/* A part of a segment's cells: what one thread computes without a pause. Its results for a KV head begin at
 * `columns * heads` + that head's share, in columns (a row and a query head). */
typedef struct {
    int segment, first, cell_count;
    int64_t columns;
} Unit;

/* Where a row's results are: those of the row's place `row` in the segment of `unit`. */
typedef struct {
    int unit, row;
} Part;

typedef struct {
    Arena *arena;
    Segment *segments;
    int segment_count;
    Unit *units;
    int unit_count;
    int64_t columns;  /* of all units */
    Part *parts;
    int *first_part;  /* of row `stream * rows + row`; one more at the end */
} Plan;

/* A mask of half-precision numbers: 0 where a row sees a cell, minus infinity where not. */
typedef struct {
    const char *data;
    int streams, rows;
    int64_t cells;
    size_t stream_bytes, row_bytes;  /* from one to the next; no stream_bytes: all streams have the same */
} Mask;

/* Replaces what is in `plan`, which begins as zeros; false if there is no memory.
 *
 * `group` is how many query heads share a KV head; a block has at most MOST_ROWS columns, or one row. `threads` is how
 * many will compute: there are several units for each. */
bool plan_make(Plan *plan, const Mask *mask, int group, int threads);

void plan_free(Plan *plan);

#endif
