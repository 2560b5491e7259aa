/* Making a session: sizes, weights, the cache. */
#define _GNU_SOURCE /* clock_gettime */
#include "infer/session.h"

#include "base/system_memory.h"
#include "device/device.h"

#include <time.h>

#define DEFAULT_SEQUENCES 8
#define DEFAULT_PAGE      32
#define DEFAULT_ROWS      512                 /* where the device does not say */
#define MOST_SLOTS        (INT32_MAX / 2)     /* slots and places in the block table are int32 */
#define MOST_LOGITS       (INT64_C(16) << 20) /* elements: 64 MB of one run's logits */

double session_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const char *model_name(const session *s)
{
    return s->info.directory ? s->info.directory : "this model";
}

static status check_context(session *s)
{
    int64_t positions = s->info.context;
    if (s->context_tokens <= positions) return INGOT_OK;
    if (!s->info.rotary)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT,
                          "--context %lld is more than the %lld positions of %s (%s, learned positions).\n"
                          "Use --context %lld or less, or train a family with rotary positions (--family llama).",
                          (long long)s->context_tokens, (long long)positions, model_name(s), s->info.family,
                          (long long)positions);
    log_line(s->ctx, INGOT_LOG_WARNING, "context %lld is more than the %lld positions that %s was trained with",
             (long long)s->context_tokens, (long long)positions, model_name(s));
    return INGOT_OK;
}

/* The largest power of two that is at most n. */
static int64_t power_below(int64_t n)
{
    int64_t power = 1;
    while (power * 2 <= n) power *= 2;
    return power;
}

static int64_t power_above(int64_t n)
{
    int64_t power = 1;
    while (power < n) power *= 2;
    return power;
}

static status choose_sizes(session *s, const ingot_session_options *o)
{
    const int64_t largest = INT64_C(1) << (SESSION_SIZES - 1);
    if (s->info.image)
        return ingot_fail(s->ctx, INGOT_ERROR_UNSUPPORTED, "%s is a %s: it takes pictures and writes no text",
                          model_name(s), s->info.family);
    if (o->context < 0 || o->sequences < 0 || o->cache_tokens < 0 || o->page_size < 0 || o->most_rows < 0)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "sizes of a session must not be negative");
    s->context_tokens = o->context ? o->context : s->info.context;
    TRY(check_context(s));
    s->sequences = o->sequences ? o->sequences : DEFAULT_SEQUENCES;
    if (s->sequences > largest)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "%lld sequences at once are more than the %lld rows of one run",
                          (long long)s->sequences, (long long)largest);
    int64_t usual = s->device->def->rows_at_once ? s->device->def->rows_at_once : DEFAULT_ROWS;
    s->most_rows = MIN(power_above(o->most_rows ? MIN(o->most_rows, largest) : usual), largest);
    s->most_rows = MAX(s->most_rows, power_above(s->sequences));
    s->most_wanted = MIN(power_below(MAX(MOST_LOGITS / s->info.vocab_size, 1)), s->most_rows);
    s->most_wanted = MAX(s->most_wanted, power_above(s->sequences));
    if (o->cache_tokens > MOST_SLOTS || s->context_tokens > MOST_SLOTS / s->sequences)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT,
                          "a cache for %lld sequences of %lld tokens has more slots than can be counted; use fewer",
                          (long long)s->sequences, (long long)s->context_tokens);
    s->page_size = o->page_size ? o->page_size : s->sequences == 1 ? s->context_tokens : DEFAULT_PAGE;
    s->page_size = MIN(s->page_size, s->context_tokens);
    s->table_width = pages_for(s, s->context_tokens);
    /* Each sequence begins a page of its own; a page is at most the context, so the slots stay below INT32_MAX. */
    int64_t pages = o->cache_tokens ? pages_for(s, o->cache_tokens) : s->sequences * s->table_width;
    return pages_init(s->ctx, &s->pages, pages);
}

static status take_host_memory(session *s)
{
    size_t rows = (size_t)s->most_rows, width = (size_t)(s->sequences * s->table_width);
    s->tokens = malloc(rows * 4 * sizeof *s->tokens);
    s->wanted = malloc((size_t)s->most_wanted * sizeof *s->wanted);
    s->block_table = calloc(width, sizeof *s->block_table);
    s->free_tables = malloc((size_t)s->sequences * sizeof *s->free_tables);
    s->room = malloc((size_t)s->info.vocab_size * sizeof *s->room);
    if (!s->tokens || !s->wanted || !s->block_table || !s->free_tables || !s->room)
        return fail_memory(s->ctx, "a session", rows * 16 + width * 4);
    s->position = s->tokens + rows;
    s->sequence = s->position + rows;
    s->slot = s->sequence + rows;
    for (int64_t i = 0; i < s->sequences; i++) s->free_tables[s->free_table_count++] = (int32_t)(s->sequences - 1 - i);
    return INGOT_OK;
}

static status take_tokenizer(session *s, const ingot_tokenizer *given)
{
    s->tokenizer = given;
    if (given || !s->info.directory) return INGOT_OK;
    ingot_tokenizer *t;
    TRY(ingot_tokenizer_load(s->ctx, s->info.directory, &t));
    s->tokenizer = t;
    s->owns_tokenizer = true;
    return INGOT_OK;
}

static status explain_memory(const session *s)
{
    char cache[24];
    format_bytes(cache, (uint64_t)ingot_session_describe(s).cache_bytes);
    return ingot_fail(s->ctx, INGOT_ERROR_MEMORY,
                      "not enough memory for %s and a cache of %lld tokens (%s); use a smaller --context or fewer "
                      "--sequences",
                      model_name(s), (long long)(s->pages.count * s->page_size), cache);
}

/* On the host's memory the sum is looked at before the first byte is touched: the system promises more than it has. */
static status check_memory(const session *s)
{
    const char *device = ingot_device_name(s->device);
    bool is_ref = !strcmp(device, "ref");
    if (!is_ref && strcmp(device, "cpu")) return INGOT_OK;
    uint64_t bytes = (uint64_t)ingot_session_describe(s).cache_bytes;
    if (s->owns_store) bytes += (uint64_t)s->info.parameters * (uint64_t)ingot_dtype_bytes(s->info.dtype);
    return bytes * (is_ref ? 2 : 1) > memory_available() ? explain_memory(s) : INGOT_OK;
}

/* Weights are read after the first program, which makes the store know them. */
static status take_weights(session *s, const ingot_session_options *o)
{
    s->store = o->store;
    s->owns_store = !o->store;
    TRY(check_memory(s));
    if (s->owns_store) TRY(ingot_store_new(s->device, &s->store));
    ingot_program *first;
    status failed = session_program(s, 1, 1, &first);
    if (failed == INGOT_ERROR_MEMORY) return explain_memory(s);
    TRY(failed);
    if (!s->owns_store) return INGOT_OK;
    return s->info.directory ? ingot_model_read(s->model, s->store, o->seed)
                             : ingot_model_init(s->model, s->store, o->seed);
}

static status fill(session *s, const ingot_session_options *o)
{
    TRY(choose_sizes(s, o));
    TRY(take_host_memory(s));
    TRY(take_tokenizer(s, o->tokenizer));
    return take_weights(s, o);
}

ingot_status ingot_session_new(const ingot_model *model, ingot_device *device, const ingot_session_options *options,
                               ingot_session **out)
{
    const ingot_session_options none = {0};
    session *s = *out = calloc(1, sizeof *s);
    if (!s) return fail_memory(device->ctx, "a session", sizeof *s);
    *s = (session){.ctx = device->ctx, .model = model, .info = ingot_model_describe(model), .device = device};
    status failed = fill(s, options ? options : &none);
    if (!failed) return INGOT_OK;
    ingot_session_free(s);
    *out = NULL;
    return failed;
}

void ingot_session_free(ingot_session *s)
{
    if (!s) return;
    for (int i = 0; i < SESSION_SIZES; i++)
        for (int j = 0; j < SESSION_SIZES; j++) ingot_program_free(s->programs[i][j]);
    if (s->owns_store) ingot_store_free(s->store);
    if (s->owns_tokenizer) ingot_tokenizer_free((ingot_tokenizer *)(uintptr_t)s->tokenizer);
    pages_free(&s->pages);
    free(s->tokens); /* position, sequence and slot lie behind it */
    free(s->wanted);
    free(s->block_table);
    free(s->free_tables);
    free(s->own_logits);
    free(s->room);
    free(s);
}

ingot_session_stats ingot_session_describe(const ingot_session *s)
{
    ingot_session_stats stats = s->stats;
    stats.cache_bytes = s->pages.count * s->page_size * s->info.layers * 2 * s->info.kv_heads * s->info.head_dim *
                        ingot_dtype_bytes(s->info.dtype);
    stats.pages = s->pages.count;
    stats.free_pages = s->pages.free_count;
    stats.context = s->context_tokens;
    stats.page_size = s->page_size;
    return stats;
}

const ingot_tokenizer *ingot_session_tokenizer(const ingot_session *s)
{
    return s->tokenizer;
}
