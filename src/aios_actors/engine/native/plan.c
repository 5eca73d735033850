#include "plan.h"

#include <stdlib.h>
#include <string.h>

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

enum { MASKED = 0xFC00, WORD = 64 }; /* minus infinity in half precision; bits of a word */

/* A unit has a multiple of so many cells, unless it is a segment's last. */
enum { SMALLEST_UNIT = 64, UNITS_A_THREAD = 8 };

/* Reading a cell's key and value costs as much as computing with it for so many columns. */
enum { READING = 4 };

/* ---- arena ---- */

typedef struct Chunk {
    struct Chunk *next;
    size_t size, used;
    _Alignas(64) char memory[];
} Chunk;

struct Arena {
    Chunk *first, *current;
};

enum { SMALLEST_CHUNK = 1 << 18 };

static void *take(Arena *arena, size_t bytes) {
    bytes = (bytes + 63) & ~(size_t)63;
    Chunk *last = NULL;
    for (Chunk *chunk = arena->current; chunk; last = chunk, chunk = chunk->next) {
        if (chunk->used + bytes > chunk->size) continue;
        void *memory = chunk->memory + chunk->used;
        chunk->used += bytes;
        arena->current = chunk;
        return memory;
    }
    size_t size = bytes > SMALLEST_CHUNK ? bytes : SMALLEST_CHUNK;
    Chunk *chunk = aligned_alloc(64, sizeof(Chunk) + size);
    if (!chunk) return NULL;
    *chunk = (Chunk){.size = size, .used = bytes};
    *(last ? &last->next : &arena->first) = chunk;
    arena->current = chunk;
    return chunk->memory;
}

static Arena *emptied(Arena *arena) {
    if (!arena) return calloc(1, sizeof(Arena));
    for (Chunk *chunk = arena->first; chunk; chunk = chunk->next) chunk->used = 0;
    arena->current = arena->first;
    return arena;
}

void plan_free(Plan *plan) {
    if (!plan->arena) return;
    for (Chunk *chunk = plan->arena->first, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(plan->arena);
    *plan = (Plan){0};
}

/* ---- sets of cells, a bit for each ---- */

static size_t words(int64_t cells) { return (size_t)(cells + WORD - 1) / WORD; }

static uint64_t seen_word(const uint16_t *mask, int64_t count) {
#if defined(__AVX512BW__)
    if (count >= WORD) {
        const __m512i masked = _mm512_set1_epi16((short)MASKED);
        uint64_t low = _mm512_cmpneq_epi16_mask(_mm512_loadu_si512(mask), masked);
        uint64_t high = _mm512_cmpneq_epi16_mask(_mm512_loadu_si512(mask + WORD / 2), masked);
        return low | high << WORD / 2;
    }
#endif
    uint64_t word = 0;
    for (int i = 0; i < WORD && i < count; i++) word |= (uint64_t)(mask[i] != MASKED) << i;
    return word;
}

static int size_of(const uint64_t *set, size_t length) {
    int size = 0;
    for (size_t i = 0; i < length; i++) size += __builtin_popcountll(set[i]);
    return size;
}

static int size_of_both(const uint64_t *a, const uint64_t *b, size_t length) {
    int size = 0;
    for (size_t i = 0; i < length; i++) size += __builtin_popcountll(a[i] & b[i]);
    return size;
}

static bool has(const uint64_t *set, int32_t cell) { return set[cell / WORD] >> cell % WORD & 1; }

/* ---- blocks: rows that see much of the same ---- */

typedef struct {
    int row_count, leader_size;
    const uint64_t *leader; /* what its first row sees */
    int *rows;
} Block;

typedef struct {
    Plan *plan;
    const Mask *mask;
    size_t length;            /* words of a set */
    uint64_t **seen;          /* of each row of the stream at hand */
    Block *blocks;
    int block_count, limit, stream;
    uint64_t *all, *most, *own;
} Maker;

static Block *block_for(Maker *maker, const uint64_t *seen, int *open) {
    int size = size_of(seen, maker->length);
    for (int i = maker->block_count - 1; i >= *open; i--) {
        Block *block = &maker->blocks[i];
        if (block->row_count == maker->limit) continue;
        int twice = 2 * size_of_both(seen, block->leader, maker->length);
        if (twice >= size && twice >= block->leader_size) return block;
    }
    Block *block = &maker->blocks[maker->block_count++];
    *block = (Block){.leader = seen, .leader_size = size, .rows = take(maker->plan->arena, sizeof(int) * maker->limit)};
    return block->rows ? block : NULL;
}

static bool make_blocks(Maker *maker) {
    const Mask *mask = maker->mask;
    int open = 0; /* blocks before it are full */
    maker->block_count = 0;
    for (int row = 0; row < mask->rows; row++) {
        const uint16_t *from =
            (const uint16_t *)(mask->data + maker->stream * mask->stream_bytes + row * mask->row_bytes);
        for (size_t word = 0; word < maker->length; word++)
            maker->seen[row][word] = seen_word(from + word * WORD, mask->cells - (int64_t)word * WORD);
        Block *block = block_for(maker, maker->seen[row], &open);
        if (!block) return false;
        block->rows[block->row_count++] = row;
        while (open < maker->block_count && maker->blocks[open].row_count == maker->limit) open++;
    }
    return true;
}

/* ---- segments ---- */

/* Cells that more than half of the rows see, but not all. */
static uint64_t seen_by_most(const Maker *maker, const Block *block, size_t word, uint64_t candidates) {
    uint64_t most = 0;
    for (; candidates; candidates &= candidates - 1) {
        int bit = __builtin_ctzll(candidates), count = 0;
        for (int i = 0; i < block->row_count; i++) count += maker->seen[block->rows[i]][word] >> bit & 1;
        if (2 * count > block->row_count) most |= (uint64_t)1 << bit;
    }
    return most;
}

static bool add_segment(Maker *maker, const int *rows, int row_count, const uint64_t *set, bool partly) {
    Plan *plan = maker->plan;
    Segment segment = {.stream = maker->stream, .rows = rows, .row_count = row_count};
    segment.cell_count = size_of(set, maker->length);
    if (!segment.cell_count) return true;
    int32_t *cells = take(plan->arena, sizeof *cells * segment.cell_count), *next = cells;
    if (!cells) return false;
    for (size_t word = 0; word < maker->length; word++)
        for (uint64_t bits = set[word]; bits; bits &= bits - 1)
            *next++ = (int32_t)(word * WORD) + __builtin_ctzll(bits);
    segment.cells = cells;
    if (partly) {
        uint64_t *seen = take(plan->arena, sizeof *seen * segment.cell_count);
        if (!seen) return false;
        for (int i = 0; i < segment.cell_count; i++) {
            seen[i] = 0;
            for (int row = 0; row < row_count; row++) seen[i] |= (uint64_t)has(maker->seen[rows[row]], cells[i]) << row;
        }
        segment.seen = seen;
    }
    plan->segments[plan->segment_count++] = segment;
    return true;
}

static bool add_segments(Maker *maker, const Block *block) {
    for (size_t word = 0; word < maker->length; word++) {
        uint64_t all = ~(uint64_t)0, any = 0;
        for (int i = 0; i < block->row_count; i++) {
            all &= maker->seen[block->rows[i]][word];
            any |= maker->seen[block->rows[i]][word];
        }
        maker->all[word] = all;
        maker->most[word] = seen_by_most(maker, block, word, any & ~all);
    }
    if (!add_segment(maker, block->rows, block->row_count, maker->all, false)) return false;
    if (!add_segment(maker, block->rows, block->row_count, maker->most, true)) return false;
    if (block->row_count == 1) return true;
    for (int i = 0; i < block->row_count; i++) {
        for (size_t word = 0; word < maker->length; word++)
            maker->own[word] = maker->seen[block->rows[i]][word] & ~maker->all[word] & ~maker->most[word];
        if (!add_segment(maker, block->rows + i, 1, maker->own, false)) return false;
    }
    return true;
}

static bool make_segments(Plan *plan, const Mask *mask, int limit) {
    Arena *arena = plan->arena;
    Maker maker = {.plan = plan, .mask = mask, .length = words(mask->cells), .limit = limit};
    size_t set = sizeof(uint64_t) * maker.length;
    plan->segments = take(arena, sizeof(Segment) * 3 * mask->rows * mask->streams);
    maker.blocks = take(arena, sizeof(Block) * mask->rows);
    maker.seen = take(arena, sizeof(uint64_t *) * mask->rows);
    maker.all = take(arena, set);
    maker.most = take(arena, set);
    maker.own = take(arena, set);
    if (!plan->segments || !maker.blocks || !maker.seen || !maker.all || !maker.most || !maker.own) return false;
    for (int row = 0; row < mask->rows; row++)
        if (!(maker.seen[row] = take(arena, set))) return false;
    for (maker.stream = 0; maker.stream < mask->streams; maker.stream++) {
        if (!make_blocks(&maker)) return false;
        for (int i = 0; i < maker.block_count; i++)
            if (!add_segments(&maker, &maker.blocks[i])) return false;
    }
    return true;
}

/* ---- units ---- */

static double cost(const Segment *segment, int group) { return segment->row_count * group + READING; }

static int unit_size(const Segment *segment, int group, double most) {
    int cells = (int)(most / cost(segment, group));
    return cells < SMALLEST_UNIT ? SMALLEST_UNIT : cells / SMALLEST_UNIT * SMALLEST_UNIT;
}

static bool make_units(Plan *plan, int group, int threads) {
    double sum = 0;
    for (int i = 0; i < plan->segment_count; i++)
        sum += cost(&plan->segments[i], group) * plan->segments[i].cell_count;
    double most = sum / (UNITS_A_THREAD * threads);
    size_t count = 0;
    for (int i = 0; i < plan->segment_count; i++) {
        int size = unit_size(&plan->segments[i], group, most);
        count += (plan->segments[i].cell_count + size - 1) / size;
    }
    plan->units = take(plan->arena, sizeof(Unit) * count);
    if (!plan->units) return false;
    for (int i = 0; i < plan->segment_count; i++) {
        const Segment *segment = &plan->segments[i];
        int size = unit_size(segment, group, most);
        for (int first = 0; first < segment->cell_count; first += size) {
            int left = segment->cell_count - first;
            plan->units[plan->unit_count++] = (Unit){i, first, left < size ? left : size, plan->columns};
            plan->columns += (int64_t)segment->row_count * group;
        }
    }
    return true;
}

/* Which units have results of each row: counted, then filled in. */
static bool make_parts(Plan *plan, int rows, int streams) {
    int total = rows * streams;
    plan->first_part = take(plan->arena, sizeof(int) * (total + 2));
    if (!plan->first_part) return false;
    int *next = plan->first_part + 1; /* becomes the end of each row, which is the first of the next */
    memset(plan->first_part, 0, sizeof(int) * (total + 2));
    for (int i = 0; i < plan->unit_count; i++) {
        const Segment *segment = &plan->segments[plan->units[i].segment];
        for (int row = 0; row < segment->row_count; row++) next[segment->stream * rows + segment->rows[row] + 1]++;
    }
    for (int row = 0; row < total; row++) next[row + 1] += next[row];
    plan->parts = take(plan->arena, sizeof(Part) * next[total]);
    if (!plan->parts) return false;
    for (int i = 0; i < plan->unit_count; i++) {
        const Segment *segment = &plan->segments[plan->units[i].segment];
        for (int row = 0; row < segment->row_count; row++)
            plan->parts[next[segment->stream * rows + segment->rows[row]]++] = (Part){i, row};
    }
    return true;
}

bool plan_make(Plan *plan, const Mask *mask, int group, int threads) {
    Arena *arena = emptied(plan->arena);
    *plan = (Plan){.arena = arena};
    int limit = MOST_ROWS / group > 1 ? MOST_ROWS / group : 1;
    return arena && make_segments(plan, mask, limit) && make_units(plan, group, threads) &&
           make_parts(plan, mask->rows, mask->streams);
}
