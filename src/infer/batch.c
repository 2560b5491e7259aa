#include "infer/batch.h"

#include "infer/prompt.h"
#include "infer/stream.h"

/* A request, from when it is queued to the end of its last sample. */
typedef struct job {
    const ingot_request *request;
    int64_t index;
    int32_t *tokens; /* of the prompt */
    int64_t count, limit;
    int64_t samples, begun, ended;
    int32_t *prefix; /* the prompt's full pages, held for samples that have not begun; NULL: none are held */
    int64_t prefix_pages;
    bool prefix_filled;
} job;

/* A sample that runs. */
typedef struct lane {
    job *job; /* NULL: free */
    int64_t sample, generated;
    int32_t last; /* token; its key and value are not in the cache yet */
    cached cache;
    sampler sampler;
    stream stream;
} lane;

struct batch {
    session *s;
    ingot_on_piece *on_piece;
    void *user;
    ARRAY(job *) jobs; /* in the order in which they came */
    lane *lanes;       /* s->sequences of them */
    lane **asked;      /* those with a logit row in this run, in its order */
};

status batch_new(session *s, ingot_on_piece *on_piece, void *user, batch **out)
{
    batch *b = *out = calloc(1, sizeof *b);
    if (!b) return fail_memory(s->ctx, "a batch", sizeof *b);
    *b = (batch){.s = s, .on_piece = on_piece, .user = user};
    b->lanes = calloc((size_t)s->sequences, sizeof *b->lanes);
    b->asked = calloc((size_t)s->sequences, sizeof(lane *));
    if (b->lanes && b->asked) return INGOT_OK;
    batch_free(b);
    *out = NULL;
    return fail_memory(s->ctx, "a batch", (uint64_t)s->sequences * sizeof(lane));
}

/* ---- jobs ---- */

static void release_prefix(batch *b, job *j)
{
    for (int64_t i = 0; j->prefix && i < j->prefix_pages; i++) pages_drop(&b->s->pages, j->prefix[i]);
    free(j->prefix);
    j->prefix = NULL;
}

static void job_free(batch *b, job *j)
{
    if (!j) return;
    release_prefix(b, j);
    free(j->tokens);
    free(j);
}

status batch_add(batch *b, const ingot_request *request, int64_t index, int64_t *count)
{
    session *s = b->s;
    TRY(sampling_check(s->ctx, &request->sampling, s->info.vocab_size));
    TRY(stops_check(s->ctx, request->stops, request->stop_count));
    job *j = calloc(1, sizeof *j);
    if (!j) return fail_memory(s->ctx, "a request", sizeof *j);
    *j = (job){.request = request, .index = index, .samples = request->samples ? request->samples : 1};
    status failed = prompt_tokens(s, request, index, &j->tokens, &j->count, &j->limit);
    if (!failed && !ARRAY_PUSH(&b->jobs, j)) failed = fail_memory(s->ctx, "a request", sizeof *j);
    if (failed) {
        job_free(b, j);
        return failed;
    }
    if (count) *count = j->count;
    return INGOT_OK;
}

/* The first sample's full pages are kept for those to come. One token at least is left to run: it gives the logits. */
static status hold_prefix(batch *b, job *j, const lane *first)
{
    j->prefix_pages = (j->count - 1) / b->s->page_size;
    if (j->samples == 1 || !j->prefix_pages) return INGOT_OK;
    j->prefix = malloc((size_t)j->prefix_pages * sizeof *j->prefix);
    if (!j->prefix) return fail_memory(b->s->ctx, "a shared prompt", (uint64_t)j->prefix_pages * sizeof *j->prefix);
    const int32_t *table = b->s->block_table + first->cache.table * b->s->table_width;
    memcpy(j->prefix, table, (size_t)j->prefix_pages * sizeof *j->prefix);
    for (int64_t i = 0; i < j->prefix_pages; i++) pages_share(&b->s->pages, j->prefix[i]);
    return INGOT_OK;
}

/* ---- lanes ---- */

static void lane_close(batch *b, lane *l)
{
    session_close(b->s, &l->cache);
    sampler_free(&l->sampler);
    stream_free(&l->stream);
    *l = (lane){0};
}

/* Tokens that may be drawn: models often have a few more rows than their tokenizer has entries. */
static int64_t drawable(const session *s)
{
    return s->tokenizer ? MIN(s->info.vocab_size, ingot_tokenizer_vocab_size(s->tokenizer)) : s->info.vocab_size;
}

static status lane_open(batch *b, lane *l, job *j)
{
    session *s = b->s;
    const ingot_request *r = j->request;
    l->job = j;
    l->sample = j->begun;
    TRY(sampler_init(s->ctx, &l->sampler, &r->sampling, drawable(s), (uint64_t)l->sample));
    TRY(stream_init(s->ctx, &l->stream, s->tokenizer, r->stops, r->stop_count));
    for (int64_t i = 0; i < j->count; i++) sampler_see(&l->sampler, j->tokens[i], false);
    if (!j->begun++) TRY(hold_prefix(b, j, l));
    if (j->begun == j->samples) release_prefix(b, j);
    return INGOT_OK;
}

static lane *free_lane(const batch *b)
{
    for (int64_t i = 0; i < b->s->sequences; i++)
        if (!b->lanes[i].job) return &b->lanes[i];
    return NULL;
}

/* May the next sample of this job begin? One job at a time holds a shared prompt: two could wait for each other's pages. */
static bool may_begin(const batch *b, const job *j)
{
    if (j->begun == j->samples) return false;
    if (j->begun) return !j->prefix || j->prefix_filled;
    if (j->samples == 1) return true;
    for (int64_t i = 0; i < b->jobs.count; i++)
        if (b->jobs.at[i]->prefix) return false;
    return true;
}

/* In the order in which they came: a job that does not fit holds up those behind it, so none waits for ever. */
static status admit(batch *b)
{
    for (int64_t i = 0; i < b->jobs.count; i++) {
        job *j = b->jobs.at[i];
        while (may_begin(b, j)) {
            lane *l = free_lane(b);
            bool shares = j->begun && j->prefix;
            if (!l || !session_open(b->s, &l->cache, j->limit, j->prefix, shares ? j->prefix_pages : 0))
                return INGOT_OK;
            TRY(lane_open(b, l, j));
        }
    }
    return INGOT_OK;
}

/* ---- a step ---- */

/* Single steps first: they keep text flowing; prompts take the rows that are left. Returns how many rows are prompt's. */
static int64_t gather_rows(batch *b, int64_t *asked)
{
    session *s = b->s;
    int64_t prompt_rows = 0;
    *asked = 0;
    rows_begin(s);
    for (int64_t i = 0; i < s->sequences; i++) {
        lane *l = &b->lanes[i];
        if (!l->job || l->cache.done < l->job->count) continue;
        rows_add(s, &l->cache, &l->last, 1, 1);
        b->asked[(*asked)++] = l;
    }
    for (int64_t i = 0; i < s->sequences; i++) {
        lane *l = &b->lanes[i];
        int64_t from = l->cache.done, left = l->job ? l->job->count - from : 0;
        int64_t count = MIN(left, rows_left(s));
        if (count <= 0) continue;
        rows_add(s, &l->cache, l->job->tokens + from, count, count == left);
        if (count == left) b->asked[(*asked)++] = l;
        prompt_rows += count;
        if (l->cache.done >= l->job->prefix_pages * s->page_size) l->job->prefix_filled = true;
    }
    return prompt_rows;
}

static int emit(const batch *b, const lane *l, int32_t token, const char *bytes, int64_t count, ingot_finish finish)
{
    ingot_piece piece = {
        .request = l->job->index, .sample = l->sample, .text = bytes, .bytes = count, .token = token, .finish = finish};
    return b->on_piece ? b->on_piece(b->user, &piece) : 0;
}

static void retire(batch *b, lane *l)
{
    job *j = l->job;
    lane_close(b, l);
    if (++j->ended < j->samples) return;
    int64_t kept = 0;
    for (int64_t i = 0; i < b->jobs.count; i++)
        if (b->jobs.at[i] != j) b->jobs.at[kept++] = b->jobs.at[i];
    b->jobs.count = kept;
    job_free(b, j);
}

/* The last piece: what was held back, unless a stop string took its place. */
static status finish(batch *b, lane *l, int32_t token, ingot_finish how, bool flush)
{
    const char *bytes = "";
    int64_t count = 0;
    if (flush) TRY(stream_end(&l->stream, &bytes, &count));
    emit(b, l, token, bytes, count, how);
    retire(b, l);
    return INGOT_OK;
}

/* One more token of a sample, from its logits (V). */
static status advance(batch *b, lane *l, float *logits)
{
    const job *j = l->job;
    TRY(sampler_draw(&l->sampler, logits, b->s->room, &l->last));
    l->generated++;
    if (!j->request->ignore_end && prompt_ends(b->s, l->last)) return finish(b, l, l->last, INGOT_FINISH_STOP, true);
    sampler_see(&l->sampler, l->last, true);
    const char *bytes;
    int64_t count;
    bool stopped;
    TRY(stream_next(&l->stream, l->last, &bytes, &count, &stopped));
    if (emit(b, l, l->last, bytes, count, INGOT_GOING_ON)) return finish(b, l, -1, INGOT_FINISH_CANCEL, false);
    if (stopped) return finish(b, l, -1, INGOT_FINISH_STOP, false);
    if (j->count + l->generated >= j->limit) return finish(b, l, -1, INGOT_FINISH_LENGTH, true);
    return INGOT_OK;
}

static void count_time(session *s, int64_t prompt_rows)
{
    double share = (double)prompt_rows / (double)s->rows;
    s->stats.prefill_tokens += prompt_rows;
    s->stats.decode_tokens += s->rows - prompt_rows;
    s->stats.prefill_seconds += share * s->run_seconds;
    s->stats.decode_seconds += (1 - share) * s->run_seconds;
}

bool batch_busy(const batch *b)
{
    return b->jobs.count > 0;
}

status batch_step(batch *b)
{
    session *s = b->s;
    if (!batch_busy(b)) return INGOT_OK;
    if (ingot_interrupted(s->ctx)) return ingot_fail(s->ctx, INGOT_ERROR_INTERRUPTED, "generation was interrupted");
    TRY(admit(b));
    int64_t asked, prompt_rows = gather_rows(b, &asked);
    if (!s->rows)
        return ingot_fail(s->ctx, INGOT_ERROR_INTERNAL, "%lld requests wait, and %lld of %lld cache pages are free",
                          (long long)b->jobs.count, (long long)s->pages.free_count, (long long)s->pages.count);
    TRY(rows_run(s));
    count_time(s, prompt_rows);
    double began = session_seconds();
    for (int64_t i = 0; i < asked; i++) TRY(advance(b, b->asked[i], s->logits + i * s->info.vocab_size));
    s->stats.sample_seconds += session_seconds() - began;
    return INGOT_OK;
}

void batch_free(batch *b)
{
    if (!b) return;
    for (int64_t i = 0; b->lanes && i < b->s->sequences; i++)
        if (b->lanes[i].job) lane_close(b, &b->lanes[i]);
    for (int64_t i = 0; i < b->jobs.count; i++) job_free(b, b->jobs.at[i]);
    ARRAY_FREE(&b->jobs);
    free(b->lanes);
    free(b->asked);
    free(b);
}
