/* Rows of tokens put together and run; the pages that sequences have in the cache. */
#include "engine/program.h"
#include "infer/session.h"

enum { MOST_STAGED = 4 << 20 }; /* bytes of logits that come back by staging: those of a few rows */

static int log2_of(int64_t power)
{
    int log = 0;
    while (INT64_C(1) << log < power) log++;
    return log;
}

status session_program(session *s, int64_t rows, int64_t wanted, ingot_program **out)
{
    ingot_program **known = &s->programs[log2_of(rows)][log2_of(wanted)];
    *out = *known;
    if (*known) return INGOT_OK;
    ingot_build *b = ingot_build_new(s->ctx, "rows");
    if (!b) return fail_memory(s->ctx, "a graph", 0);
    ingot_rows_options o = {.rows = rows,
                            .logit_rows = wanted,
                            .sequences = s->sequences,
                            .pages_per_sequence = s->table_width,
                            .page_size = s->page_size,
                            .pages = s->pages.count,
                            .frozen = s->owns_store};
    ingot_output(b, "logits", ingot_model_rows(s->model, b, &o));
    TRY(ingot_compile(b, s->device, &(ingot_compile_options){.store = s->store}, known));
    s->stats.programs++;
    *out = *known;
    bool small = wanted * s->info.vocab_size * (int64_t)sizeof(float) <= MOST_STAGED;
    return small && s->device->def->staging ? program_stage(*known, 1) : INGOT_OK;
}

/* ---- the cache ---- */

bool session_open(session *s, cached *c, int64_t tokens, const int32_t *prefix, int64_t shared)
{
    int64_t pages = pages_for(s, tokens);
    *c = (cached){.table = -1};
    if (!s->free_table_count || pages - shared > s->pages.free_count || pages > s->table_width) return false;
    c->table = s->free_tables[--s->free_table_count];
    int32_t *table = s->block_table + c->table * s->table_width;
    for (; c->pages < shared; c->pages++) {
        table[c->pages] = prefix[c->pages];
        pages_share(&s->pages, prefix[c->pages]);
    }
    while (c->pages < pages) table[c->pages++] = pages_take(&s->pages);
    c->done = shared * s->page_size;
    return true;
}

void session_close(session *s, cached *c)
{
    if (c->table < 0) return;
    const int32_t *table = s->block_table + c->table * s->table_width;
    while (c->pages) pages_drop(&s->pages, table[--c->pages]);
    s->free_tables[s->free_table_count++] = c->table;
    c->table = -1;
}

/* ---- a run ---- */

void rows_begin(session *s)
{
    s->rows = s->wanted_rows = 0;
}

void rows_add(session *s, cached *c, const int32_t *tokens, int64_t count, int64_t wanted)
{
    const int32_t *table = s->block_table + c->table * s->table_width;
    for (int64_t i = 0; i < count; i++) {
        int64_t row = s->rows++, at = c->done++;
        s->tokens[row] = tokens[i];
        s->position[row] = (int32_t)at;
        s->sequence[row] = c->table;
        s->slot[row] = (int32_t)(table[at / s->page_size] * s->page_size + at % s->page_size);
        if (i >= count - wanted) s->wanted[s->wanted_rows++] = (int32_t)row;
    }
}

/* Rows that only fill the program up belong to no sequence and write nowhere. */
static void pad(session *s, int64_t rows, int64_t wanted)
{
    for (int64_t i = s->rows; i < rows; i++) {
        s->tokens[i] = 0;
        s->position[i] = s->sequence[i] = s->slot[i] = -1;
    }
    for (int64_t i = s->wanted_rows; i < wanted; i++) s->wanted[i] = -1;
}

static status write_rows(session *s, ingot_program *p, int64_t rows, int64_t wanted)
{
    int64_t bytes = rows * (int64_t)sizeof(int32_t);
    TRY(ingot_write(p, "tokens", s->tokens, bytes));
    TRY(ingot_write(p, "position", s->position, bytes));
    TRY(ingot_write(p, "sequence", s->sequence, bytes));
    TRY(ingot_write(p, "slot", s->slot, bytes));
    TRY(ingot_write(p, "wanted", s->wanted, wanted * (int64_t)sizeof(int32_t)));
    return ingot_write(p, "block_table", s->block_table,
                       s->sequences * s->table_width * (int64_t)sizeof *s->block_table);
}

static status reserve_logits(session *s, int64_t rows)
{
    if (rows <= s->logits_rows) return INGOT_OK;
    float *larger = realloc(s->own_logits, (size_t)(rows * s->info.vocab_size) * sizeof *larger);
    if (!larger) return fail_memory(s->ctx, "logits", (uint64_t)(rows * s->info.vocab_size) * sizeof *larger);
    s->own_logits = larger;
    s->logits_rows = rows;
    return INGOT_OK;
}

/* Logits are read where the device has put them; the sampler may write there until the next run. */
static status run_staged(session *s, ingot_program *p)
{
    const void *host;
    TRY(program_run_staged(p, &host));
    s->logits = (float *)(uintptr_t)host;
    return INGOT_OK;
}

static status run_and_read(session *s, ingot_program *p, int64_t wanted)
{
    TRY(ingot_run(p, NULL));
    s->logits = s->own_logits;
    if (!s->wanted_rows) return INGOT_OK;
    return ingot_read(p, "logits", s->logits, wanted * s->info.vocab_size * (int64_t)sizeof *s->logits);
}

status rows_run(session *s)
{
    int64_t rows = INT64_C(1) << log2_of(s->rows), wanted = INT64_C(1) << log2_of(s->wanted_rows);
    ingot_program *p;
    TRY(session_program(s, rows, wanted, &p));
    if (!p->results.slots) TRY(reserve_logits(s, wanted));
    pad(s, rows, wanted);
    double began = session_seconds();
    TRY(write_rows(s, p, rows, wanted));
    TRY(p->results.slots ? run_staged(s, p) : run_and_read(s, p, wanted));
    s->ran = p;
    s->run_seconds = session_seconds() - began;
    s->stats.runs++;
    return INGOT_OK;
}
