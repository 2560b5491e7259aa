/* Summing steps by kernel. */
#include "bench/profile.h"

typedef struct profile_entry {
    const char *kernel;
    int64_t calls, ns;
    double flops, bytes;
} profile_entry;

struct profile {
    ARRAY(profile_entry) entries;
};

profile *profile_new(void)
{
    return calloc(1, sizeof(profile));
}

void profile_free(profile *f)
{
    if (!f) return;
    ARRAY_FREE(&f->entries);
    free(f);
}

static profile_entry *find(profile *f, const char *kernel)
{
    for (int64_t i = 0; i < f->entries.count; i++)
        if (!strcmp(f->entries.at[i].kernel, kernel)) return &f->entries.at[i];
    profile_entry fresh = {.kernel = kernel};
    return ARRAY_PUSH(&f->entries, fresh) ? &f->entries.at[f->entries.count - 1] : NULL;
}

status profile_add(profile *f, context *ctx, const ingot_program *p)
{
    for (int64_t i = 0; p->main.ns && i < p->main.count; i++) {
        profile_entry *e = find(f, p->main.steps[i].kernel->name);
        if (!e) return fail_memory(ctx, "a profile", sizeof *e);
        op_cost cost = node_cost(p->main.steps[i].node);
        e->calls++;
        e->ns += p->main.ns[i];
        e->flops += cost.flops;
        e->bytes += cost.bytes;
    }
    return INGOT_OK;
}

static int longest_first(const void *x, const void *y)
{
    const profile_entry *a = x, *b = y;
    return a->ns > b->ns ? -1 : a->ns < b->ns;
}

json_t *profile_rows(const profile *f, const machine *on, int64_t runs)
{
    json_t *rows = json_array();
    double total = 0;
    qsort(f->entries.at, (size_t)f->entries.count, sizeof *f->entries.at, longest_first);
    for (int64_t i = 0; i < f->entries.count; i++) total += (double)f->entries.at[i].ns;
    for (int64_t i = 0; i < f->entries.count; i++) {
        const profile_entry *e = &f->entries.at[i];
        double seconds = MAX((double)e->ns, 1) * 1e-9;
        double limit = on->peak_flops > 0 ? MAX(e->flops / on->peak_flops, e->bytes / on->copy_bytes) : 0;
        json_array_append_new(rows, json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:f}", "kernel", e->kernel, "calls",
                                              (json_int_t)(e->calls / runs), "ms", seconds * 1e3 / (double)runs,
                                              "share", (double)e->ns / total, "gflops", e->flops / seconds * 1e-9,
                                              "gb_per_s", e->bytes / seconds * 1e-9, "of_limit", limit / seconds));
    }
    return rows;
}

void profile_trace(const ingot_program *p, double start_us, text *out)
{
    for (int64_t i = 0; p->main.ns && i < p->main.count; i++) {
        const step *s = &p->main.steps[i];
        double us = (double)p->main.ns[i] * 1e-3;
        text_printf(
            out,
            "%s{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"ts\": %.3f, \"dur\": %.3f, \"pid\": 1, \"tid\": 1, "
            "\"args\": {\"scope\": \"%s\", \"program\": \"%s\"}}",
            out->length ? ",\n" : "", s->kernel->name, s->node->op->name, start_us, us, s->node->scope, p->graph->name);
        start_us += us;
    }
}
