/* Page-locked buffers and a stream of copies.
 *
 *     copies    | H2D of batch n+1 |                                      | H2D of n+2 |
 *     compute     arrive, step n, leave .......... | arrive, step n+1, leave ............
 *
 * A batch goes to a buffer of its own on the device while the steps before it run, and from there, in a copy within the
 * device, to where its step reads it. The result is written into the host's memory behind its step. Both copies are
 * kernels of the step's graph (staging_cuda.cu), which find their buffer by a counter on the device; it is set by the host
 * only when the two have lost step. Without a graph they are copies on the stream.
 *
 * With one buffer nothing goes on beside the host, which waits for each result: `arrive` reads the host's memory itself, for
 * a copy, and the events between two streams, would only be waited for.
 */
#include "device/cuda/gpu.h"

enum { MOST_SLOTS = 16 };

struct staging {
    staged at;
    allocation beside; /* where at.beside lies, unless that is the host's memory */
    bool direct;       /* inputs of one buffer */
    int64_t bytes;
    int next, counter;                /* the buffer that was filled last; what the counter on the device will be */
    bool sent;                        /* a part of the buffer that is being filled */
    int *places;                      /* 0, 1, ..: page-locked */
    cudaEvent_t arrived[MOST_SLOTS];  /* the copy to the device, or to the host, has ended */
    cudaEvent_t consumed[MOST_SLOTS]; /* the copy on the device was copied on */
};
typedef struct staging staging;

const staged *staging_places(const void *of)
{
    return &((const staging *)of)->at;
}

static void close_staging(device *d, void *of)
{
    staging *s = of;
    if (!s) return;
    for (int i = 0; i < s->at.slots; i++) {
        if (s->arrived[i]) cudaEventDestroy(s->arrived[i]);
        if (s->consumed[i]) cudaEventDestroy(s->consumed[i]);
    }
    if (s->at.host) cudaFreeHost(s->at.host);
    if (s->beside.address) device_free(d, &s->beside);
    free(s);
}

static status make_buffers(device *d, staging *s, bool inputs)
{
    size_t bytes = (size_t)s->at.slots * (size_t)s->at.stride, numbers = MOST_SLOTS * sizeof(int);
    TRY(gpu_check(d, cudaHostAlloc((void **)&s->at.host, bytes + numbers, cudaHostAllocDefault),
                  "taking page-locked memory"));
    device_count(&d->counts.allocations, 1);
    s->direct = inputs && s->at.slots == 1;
    size_t beside = inputs && !s->direct ? bytes : 0; /* results are written into the host's memory */
    TRY(device_alloc(d, (int64_t)(beside + numbers), &s->beside));
    s->at.beside = s->direct ? s->at.host : s->beside.address;
    s->places = (int *)(void *)(s->at.host + bytes);
    s->at.counter = (int *)(void *)((char *)s->beside.address + beside);
    for (int i = 0; i < MOST_SLOTS; i++) s->places[i] = i;
    TRY(gpu_check(d, cudaMemset(s->at.counter, 0, numbers), "making staging"));
    TRY(gpu_check(d, cudaStreamSynchronize(NULL),
                  "making staging")); /* programs run in a stream that does not wait for it */
    for (int i = 0; i < s->at.slots; i++) {
        TRY(gpu_check(d, cudaEventCreateWithFlags(&s->arrived[i], cudaEventDisableTiming), "making an event"));
        TRY(gpu_check(d, cudaEventCreateWithFlags(&s->consumed[i], cudaEventDisableTiming), "making an event"));
    }
    return INGOT_OK;
}

static status open_staging(device *d, const allocation *memory, int64_t offset, int64_t bytes, bool inputs, int slots,
                           void **out)
{
    *out = NULL;
    TRY(gpu_still_good(d));
    staging *s = calloc(1, sizeof *s);
    if (!s || slots > MOST_SLOTS) {
        free(s);
        return fail_memory(d->ctx, "staging", sizeof *s);
    }
    *s = (staging){.at = {.memory = (char *)memory->address + offset,
                          .stride = (bytes + 255) / 256 * 256,
                          .pieces = bytes / (int64_t)sizeof(int),
                          .slots = slots},
                   .bytes = bytes,
                   .next = slots - 1,
                   .counter = -1};
    status failed = make_buffers(d, s, inputs);
    if (failed) {
        close_staging(d, s);
        return failed;
    }
    *out = s;
    return INGOT_OK;
}

static void advance(staging *s)
{
    s->next = (s->next + 1) % s->at.slots;
    s->sent = false;
}

static char *host_of(const staging *s, int slot)
{
    return s->at.host + slot * s->at.stride;
}

static char *beside_of(const staging *s, int slot)
{
    return s->at.beside + slot * s->at.stride;
}

static status fill(device *d, void *of, void **host)
{
    staging *s = of;
    TRY(gpu_still_good(d));
    advance(s);
    *host = host_of(s, s->next);
    return gpu_wait_for(d, s->direct ? s->consumed[s->next] : s->arrived[s->next]);
}

/* To the buffer on the device, beside what runs; the stream of steps waits for it. */
static status send_beside(device *d, staging *s, int64_t at, int64_t bytes)
{
    const gpu *g = d->self;
    int k = s->next;
    TRY(gpu_still_good(d));
    device_count(&d->counts.transfers, 1);
    if (s->direct) return INGOT_OK;
    if (!s->sent) TRY(gpu_check(d, cudaStreamWaitEvent(g->copies, s->consumed[k], 0), "sending a batch"));
    s->sent = true;
    TRY(gpu_check(
        d, cudaMemcpyAsync(beside_of(s, k) + at, host_of(s, k) + at, (size_t)bytes, cudaMemcpyHostToDevice, g->copies),
        "sending a batch"));
    TRY(gpu_check(d, cudaEventRecord(s->arrived[k], g->copies), "sending a batch"));
    return gpu_check(d, cudaStreamWaitEvent(g->queue.stream, s->arrived[k], 0), "sending a batch");
}

static status send(device *d, void *of, int64_t at, int64_t bytes)
{
    staging *s = of;
    const gpu *g = d->self;
    int k = s->next;
    TRY(send_beside(d, s, at, bytes));
    TRY(gpu_check(
        d, cudaMemcpyAsync(s->at.memory + at, beside_of(s, k) + at, (size_t)bytes, cudaMemcpyDefault, g->queue.stream),
        "sending a batch"));
    return gpu_check(d, cudaEventRecord(s->consumed[k], g->queue.stream), "sending a batch");
}

static status fetch(device *d, void *of, int *slot)
{
    staging *s = of;
    const gpu *g = d->self;
    TRY(gpu_still_good(d));
    advance(s);
    *slot = s->next;
    device_count(&d->counts.transfers, 1);
    TRY(gpu_check(
        d,
        cudaMemcpyAsync(host_of(s, s->next), s->at.memory, (size_t)s->bytes, cudaMemcpyDeviceToHost, g->queue.stream),
        "fetching a result"));
    return gpu_check(d, cudaEventRecord(s->arrived[s->next], g->queue.stream), "fetching a result");
}

static status wait_for(device *d, void *of, int slot, const void **host)
{
    staging *s = of;
    TRY(gpu_still_good(d));
    *host = host_of(s, slot);
    return gpu_wait_for(d, s->arrived[slot]);
}

/* The counter counts each run; it was left behind by what went without a graph. */
static status set_counter(device *d, staging *s)
{
    const gpu *g = d->self;
    int before = s->counter;
    s->counter = (s->next + 1) % s->at.slots;
    if (before == s->next) return INGOT_OK;
    return gpu_check(
        d, cudaMemcpyAsync(s->at.counter, &s->places[s->next], sizeof(int), cudaMemcpyHostToDevice, g->queue.stream),
        "setting a counter");
}

static status before(device *d, const staging_pair *pair, int *slot)
{
    staging *in = pair->inputs, *out = pair->results;
    TRY(send_beside(d, in, 0, in->bytes));
    TRY(set_counter(d, in));
    advance(out);
    *slot = out->next;
    return set_counter(d, out);
}

static status after(device *d, const staging_pair *pair)
{
    const gpu *g = d->self;
    staging *in = pair->inputs, *out = pair->results;
    TRY(gpu_check(d, cudaEventRecord(in->consumed[in->next], g->queue.stream), "running a program"));
    return gpu_check(d, cudaEventRecord(out->arrived[out->next], g->queue.stream), "running a program");
}

const staging_def cuda_staging = {
    .open = open_staging,
    .close = close_staging,
    .fill = fill,
    .send = send,
    .fetch = fetch,
    .wait = wait_for,
    .arrive = &staging_arrive,
    .leave = &staging_leave,
    .before = before,
    .after = after,
};
