/* The kernel as a backend of ggml, an accelerator beside its CPU backend as BLAS is one: it takes the flash attention
 * of the graphs that llama.cpp makes, and leaves everything else alone. */

#include <stdlib.h>
#include <string.h>

#include "ggml_abi.h"
#include "kernel.h"

/* A model with sliding windows has two masks in a pass, others have one. */
enum { PLANS = 2 };

typedef struct {
    Plan plan;
    const struct ggml_tensor *tensor; /* the mask's; NULL: none is planned */
    Mask mask;
} Planned;

typedef struct {
    int threads;
    ggml_abort_callback aborted;
    void *abort_data;
    const void *first_keys; /* the cache of the layer whose attention comes first in each pass through the model */
    Planned planned[PLANS];
    int next;
    Workspace workspace;
} State;

static Mask mask_of(const struct ggml_tensor *op) {
    const struct ggml_tensor *queries = op->src[0], *keys = op->src[1], *mask = op->src[3];
    return (Mask){
        .data = mask->data, .streams = (int)queries->ne[3], .rows = (int)queries->ne[1], .cells = keys->ne[1],
        .stream_bytes = mask->ne[3] > 1 ? mask->nb[3] : 0, .row_bytes = mask->nb[1],
    };
}

static bool is_planned(const Planned *planned, const struct ggml_tensor *tensor, const Mask *mask) {
    const Mask *known = &planned->mask;
    return planned->tensor == tensor && known->data == mask->data && known->rows == mask->rows &&
           known->streams == mask->streams && known->cells == mask->cells;
}

static void forget_plans(State *state) {
    for (int i = 0; i < PLANS; i++) state->planned[i].tensor = NULL;
}

/* The layer's KV cache; NULL for keys that were just computed, as those of an encoder. */
static const void *cache_of(const struct ggml_tensor *keys) {
    return keys->view_src && keys->view_src->op == GGML_OP_NONE ? keys->view_src->data : NULL;
}

/* The plan for an attention. All layers of a pass have the same masks, so it is made once for each. A pass begins
 * where the first layer's cache comes again: llama.cpp computes the layers in their order, each time. */
static const Plan *plan_for(State *state, const struct ggml_tensor *op) {
    const struct ggml_tensor *keys = op->src[1];
    const void *cache = cache_of(keys);
    if (!state->first_keys) state->first_keys = cache;
    if (cache == state->first_keys || !cache) forget_plans(state);
    Mask mask = mask_of(op);
    for (int i = 0; i < PLANS; i++)
        if (is_planned(&state->planned[i], op->src[3], &mask)) return &state->planned[i].plan;
    Planned *made = &state->planned[state->next];
    state->next = (state->next + 1) % PLANS;
    made->tensor = NULL;
    if (!plan_make(&made->plan, &mask, (int)(op->src[0]->ne[2] / keys->ne[2]), state->threads)) return NULL;
    made->tensor = op->src[3];
    made->mask = mask;
    return &made->plan;
}

static float float_param(const struct ggml_tensor *op, int number) {
    float value;
    memcpy(&value, op->op_params + number, sizeof value);
    return value;
}

static View view_of(const struct ggml_tensor *tensor) {
    return (View){tensor->data, tensor->nb[1], tensor->nb[2], tensor->nb[3]};
}

static Outcome compute(State *state, const struct ggml_tensor *op) {
    const struct ggml_tensor *queries = op->src[0], *keys = op->src[1], *values = op->src[2], *sinks = op->src[4];
    const Plan *plan = plan_for(state, op);
    if (!plan) return ATTENTION_NO_MEMORY;
    Attention attention = {
        .queries = view_of(queries), .keys = view_of(keys), .values = view_of(values),
        .out = {op->data, op->nb[2], op->nb[1], op->nb[3]}, /* by head, then by row */
        .rows = (int)queries->ne[1], .streams = (int)queries->ne[3],
        .heads = (int)queries->ne[2], .kv_heads = (int)keys->ne[2],
        .key_width = (int)keys->ne[0], .value_width = (int)values->ne[0],
        .scale = float_param(op, 0), .cap = float_param(op, 2), .sinks = sinks ? sinks->data : NULL,
        .aborted = state->aborted, .abort_data = state->abort_data,
    };
    return attention_compute(&attention, plan, &state->workspace, state->threads);
}

/* ---- backend ---- */

static enum ggml_status graph_compute(ggml_backend_t backend, struct ggml_cgraph *graph) {
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        const struct ggml_tensor *node = ggml_graph_node(graph, i);
        if (node->op != GGML_OP_FLASH_ATTN_EXT) continue;
        Outcome outcome = compute(backend->context, node);
        if (outcome == ATTENTION_ABORTED) return GGML_STATUS_ABORTED;
        if (outcome == ATTENTION_NO_MEMORY) return GGML_STATUS_ALLOC_FAILED;
    }
    return GGML_STATUS_SUCCESS;
}

static const char *backend_name(ggml_backend_t backend) { (void)backend; return "AIOS"; }

static void backend_free(ggml_backend_t backend) {
    State *state = backend->context;
    for (int i = 0; i < PLANS; i++) plan_free(&state->planned[i].plan);
    workspace_free(&state->workspace);
    free(state);
    free(backend);
}

static void set_threads(ggml_backend_t backend, int threads) {
    State *state = backend->context;
    if (state->threads == threads) return;
    state->threads = threads;
    forget_plans(state); /* they count on the number of threads */
}

static void set_abort_callback(ggml_backend_t backend, ggml_abort_callback aborted, void *data) {
    State *state = backend->context;
    state->aborted = aborted;
    state->abort_data = data;
}

/* ---- device ---- */

static const char *device_name(ggml_backend_dev_t device) { (void)device; return "AIOS"; }

static const char *device_description(ggml_backend_dev_t device) { (void)device; return "attention of many agents"; }

static void device_memory(ggml_backend_dev_t device, size_t *free, size_t *total) {
    (void)device;
    *free = *total = 0; /* none of its own */
}

static enum ggml_backend_dev_type device_type(ggml_backend_dev_t device) {
    (void)device;
    return GGML_BACKEND_DEVICE_TYPE_ACCEL;
}

static void device_props(ggml_backend_dev_t device, struct ggml_backend_dev_props *props) {
    memset(props, 0, sizeof *props);
    props->name = device_name(device);
    props->description = device_description(device);
    props->type = device_type(device);
}

static ggml_backend_t device_backend(ggml_backend_dev_t device, const char *params) {
    static uint8_t guid[16] = {0x61, 0x69, 0x6f, 0x73, 0x5f, 0x61, 0x74, 0x74, 0x65, 0x6e, 0x74, 0x69, 0x6f, 0x6e, 0x00, 0x01};
    (void)params;
    ggml_backend_t backend = calloc(1, sizeof *backend);
    State *state = calloc(1, sizeof *state);
    if (!backend || !state) {
        free(backend);
        free(state);
        return NULL;
    }
    state->threads = 1;
    backend->guid = &guid;
    backend->get_name = backend_name;
    backend->free = backend_free;
    backend->graph_compute = graph_compute;
    backend->device = device;
    backend->context = state;
    return backend;
}

static ggml_backend_buffer_type_t device_buffer_type(ggml_backend_dev_t device) {
    (void)device;
    return ggml_backend_cpu_buffer_type();
}

static bool supports_attention(const struct ggml_tensor *op) {
    const struct ggml_tensor *queries = op->src[0], *keys = op->src[1], *values = op->src[2], *mask = op->src[3];
    bool widths = keys->ne[0] % WIDTH_STEP == 0 && keys->ne[0] <= LARGEST_WIDTH && values->ne[0] % WIDTH_STEP == 0 &&
                  values->ne[0] <= LARGEST_WIDTH;
    bool types = queries->type == GGML_TYPE_F32 && keys->type == GGML_TYPE_F16 && values->type == GGML_TYPE_F16;
    bool packed = queries->nb[0] == sizeof(float) && keys->nb[0] == sizeof(uint16_t) && values->nb[0] == sizeof(uint16_t);
    bool heads = values->ne[2] == keys->ne[2] && queries->ne[2] % keys->ne[2] == 0 &&
                 queries->ne[2] / keys->ne[2] <= MOST_ROWS;
    bool positions = float_param(op, 1) != 0; /* ALiBi: then the mask has numbers of all kinds */
    return widths && types && packed && heads && !positions && mask && mask->ne[2] == 1;
}

/* What ggml asked about since `aios_attention_took_all` was last called. */
static int taken_count, refused_count;

static bool supports_op(ggml_backend_dev_t device, const struct ggml_tensor *op) {
    (void)device;
    switch (op->op) {
        case GGML_OP_NONE:
        case GGML_OP_RESHAPE:
        case GGML_OP_VIEW:
        case GGML_OP_PERMUTE:
        case GGML_OP_TRANSPOSE:
            return true; /* there is nothing to compute */
        case GGML_OP_FLASH_ATTN_EXT: {
            bool taken = supports_attention(op);
            __atomic_fetch_add(taken ? &taken_count : &refused_count, 1, __ATOMIC_RELAXED);
            return taken;
        }
        default:
            return false;
    }
}

static bool supports_buffer(ggml_backend_dev_t device, ggml_backend_buffer_type_t type) {
    (void)device;
    return ggml_backend_buft_is_host(type);
}

/* ---- registration ---- */

static struct ggml_backend_device the_device = {
    .get_name = device_name, .get_description = device_description, .get_memory = device_memory, .get_type = device_type,
    .get_props = device_props, .init_backend = device_backend, .get_buffer_type = device_buffer_type,
    .supports_op = supports_op, .supports_buft = supports_buffer,
};

static const char *registry_name(ggml_backend_reg_t registry) { (void)registry; return "AIOS"; }

static size_t device_count(ggml_backend_reg_t registry) { (void)registry; return 1; }

static ggml_backend_dev_t device_at(ggml_backend_reg_t registry, size_t index) {
    (void)index;
    the_device.reg = registry;
    return &the_device;
}

static void *function_named(ggml_backend_reg_t registry, const char *name) {
    (void)registry;
    if (!strcmp(name, "ggml_backend_set_n_threads")) return (void *)set_threads;
    if (!strcmp(name, "ggml_backend_set_abort_callback")) return (void *)set_abort_callback;
    return NULL;
}

static struct ggml_backend_reg the_registry = {
    .api_version = GGML_BACKEND_INTERFACE, .get_name = registry_name, .get_device_count = device_count,
    .get_device = device_at, .get_proc_address = function_named,
};

/* Whether ggml's structures are what `ggml_abi.h` says, by those of its CPU device. */
static bool layout_is_known(ggml_backend_dev_t cpu) {
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(cpu);
    if (registry->api_version != GGML_BACKEND_INTERFACE || cpu->reg != registry) return false;
    if (registry->get_device(registry, 0) != cpu || cpu->get_type(cpu) != GGML_BACKEND_DEVICE_TYPE_CPU) return false;
    ggml_backend_t backend = ggml_backend_dev_init(cpu, NULL);
    bool known = backend && backend->device == cpu && !strcmp(backend->get_name(backend), ggml_backend_name(backend));
    if (backend) ggml_backend_free(backend);
    return known;
}

/* The backend, for ggml's `ggml_backend_register`; NULL if this ggml is not the one that it was written for.
 *
 * `cpu` is ggml's CPU device. */
ggml_backend_reg_t aios_attention_backend(ggml_backend_dev_t cpu) {
    return layout_is_known(cpu) ? &the_registry : NULL;
}

/* Whether there was attention in the graphs that were planned since the last call, and all of it is taken: ggml plans
 * the largest graphs of a context when it is made. */
bool aios_attention_took_all(void) {
    int taken = __atomic_exchange_n(&taken_count, 0, __ATOMIC_RELAXED);
    return !__atomic_exchange_n(&refused_count, 0, __ATOMIC_RELAXED) && taken;
}

/* How many bf16 factors a product takes at once; 1: factors are floats. */
int aios_attention_factors(void) { return kernel_factors; }

/* One attention without ggml, for tests. */
Outcome aios_attention(const Attention *attention, const Mask *mask, int threads) {
    Plan plan = {0};
    Workspace workspace = {0};
    Outcome outcome = ATTENTION_NO_MEMORY;
    if (plan_make(&plan, mask, attention->heads / attention->kv_heads, threads))
        outcome = attention_compute(attention, &plan, &workspace, threads);
    plan_free(&plan);
    workspace_free(&workspace);
    return outcome;
}
