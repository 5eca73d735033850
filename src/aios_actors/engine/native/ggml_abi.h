/* The part of ggml's backend interface, version 2, that its public headers leave out: what a backend is made of.
 *
 * Functions that this backend does not have are `Absent` pointers. `backend.c` compares the layout with ggml's own CPU
 * backend before it is used. */

#ifndef AIOS_GGML_ABI_H
#define AIOS_GGML_ABI_H

#include "ggml-backend.h"
#include "ggml.h"

enum { GGML_BACKEND_INTERFACE = 2 };

typedef void (*Absent)(void);

struct ggml_backend {
    ggml_guid_t guid;
    const char *(*get_name)(ggml_backend_t);
    void (*free)(ggml_backend_t);
    Absent copies[5], synchronize, plans[4];
    enum ggml_status (*graph_compute)(ggml_backend_t, struct ggml_cgraph *);
    Absent events[2], graph_optimize;
    ggml_backend_dev_t device;
    void *context;
};

struct ggml_backend_device {
    const char *(*get_name)(ggml_backend_dev_t);
    const char *(*get_description)(ggml_backend_dev_t);
    void (*get_memory)(ggml_backend_dev_t, size_t *free, size_t *total);
    enum ggml_backend_dev_type (*get_type)(ggml_backend_dev_t);
    void (*get_props)(ggml_backend_dev_t, struct ggml_backend_dev_props *);
    ggml_backend_t (*init_backend)(ggml_backend_dev_t, const char *params);
    ggml_backend_buffer_type_t (*get_buffer_type)(ggml_backend_dev_t);
    Absent get_host_buffer_type, buffer_from_host_ptr;
    bool (*supports_op)(ggml_backend_dev_t, const struct ggml_tensor *);
    bool (*supports_buft)(ggml_backend_dev_t, ggml_backend_buffer_type_t);
    Absent offload_op, events[3];
    ggml_backend_reg_t reg;
    void *context;
};

struct ggml_backend_reg {
    int api_version;
    const char *(*get_name)(ggml_backend_reg_t);
    size_t (*get_device_count)(ggml_backend_reg_t);
    ggml_backend_dev_t (*get_device)(ggml_backend_reg_t, size_t);
    void *(*get_proc_address)(ggml_backend_reg_t, const char *);
    void *context;
};

#endif
