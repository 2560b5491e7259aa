/* llm.c's and nanoGPT's token files; see token_bin.h. */
#include "formats/token_bin.h"

enum { MAGIC_U16 = 20240520, MAGIC_U32 = 20240801 }; /* llm.c: GPT-2's and Llama 3's */
enum { VERSION_U16 = 1, VERSION_U32 = 7 };

/* Other files that carry the same extension, so that a wrong one is called by its name. */
static const struct {
    uint32_t magic;
    const char *what;
} strangers[] = {
    {20240522, "a multiple-choice evaluation of llm.c"},
    {20240326, "a model of llm.c"},
    {20240327, "a debug state of llm.c"},
    {20240328, "a tokenizer of llm.c"},
    {20240527, "an optimizer state of llm.c"},
};

static uint32_t load_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static status refuse_stranger(context *ctx, const char *name, uint32_t magic)
{
    for (size_t i = 0; i < COUNT(strangers); i++)
        if (strangers[i].magic == magic)
            return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s is %s, not a file of tokens", name, strangers[i].what);
    return ingot_fail(
        ctx, INGOT_ERROR_FORMAT,
        "%s is not a file of tokens: it has neither of llm.c's headers. If it is nanoGPT's (uint16 without a "
        "header), give --raw-u16",
        name);
}

static status parse_raw(context *ctx, const char *name, const uint8_t *bytes, uint64_t count, token_bin *out)
{
    if (count >= TOKEN_BIN_HEADER_BYTES && load_u32(bytes) == MAGIC_U16 && load_u32(bytes + 4) == VERSION_U16)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%s has llm.c's header, so it is not raw: leave out --raw-u16",
                          name);
    if (count % 2)
        return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s has an odd number of bytes (%llu): not raw uint16 tokens", name,
                          (unsigned long long)count);
    *out = (token_bin){.at = bytes, .count = (int64_t)(count / 2), .id_bytes = 2};
    return INGOT_OK;
}

status token_bin_parse(context *ctx, const char *name, const uint8_t *bytes, uint64_t count, bool raw_u16,
                       token_bin *out)
{
    *out = (token_bin){0};
    if (raw_u16) return parse_raw(ctx, name, bytes, count, out);
    if (count < TOKEN_BIN_HEADER_BYTES)
        return ingot_fail(ctx, INGOT_ERROR_FORMAT,
                          "%s has %llu bytes, fewer than the header of a file of tokens (1024)", name,
                          (unsigned long long)count);
    uint32_t magic = load_u32(bytes), version = load_u32(bytes + 4), tokens = load_u32(bytes + 8);
    if (magic != MAGIC_U16 && magic != MAGIC_U32) return refuse_stranger(ctx, name, magic);
    int id_bytes = magic == MAGIC_U16 ? 2 : 4;
    uint32_t known = magic == MAGIC_U16 ? VERSION_U16 : VERSION_U32;
    if (version != known)
        return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s: version %u of the header is not known, only %u", name, version,
                          known);
    uint64_t wanted = TOKEN_BIN_HEADER_BYTES + (uint64_t)tokens * (uint64_t)id_bytes; /* below 2^35: cannot wrap */
    if (tokens > TOKEN_BIN_MOST_TOKENS || wanted != count)
        return ingot_fail(
            ctx, INGOT_ERROR_FORMAT,
            "%s: the header promises %u tokens, which are %llu bytes, but the file has %llu: it was cut or "
            "changed; prepare it again",
            name, tokens, (unsigned long long)wanted, (unsigned long long)count);
    *out = (token_bin){.at = bytes + TOKEN_BIN_HEADER_BYTES, .count = tokens, .id_bytes = id_bytes};
    return INGOT_OK;
}

status token_bin_open(context *ctx, const char *path, bool raw_u16, token_bin *out)
{
    *out = (token_bin){0};
    file_map map;
    TRY(file_map_open(ctx, path, &map));
    status s = token_bin_parse(ctx, path, map.at, map.bytes, raw_u16, out);
    if (s)
        file_map_close(&map);
    else
        out->map = map;
    return s;
}

void token_bin_close(token_bin *t)
{
    file_map_close(&t->map);
    *t = (token_bin){0};
}

void token_bin_read(const token_bin *t, int64_t first, int64_t count, int32_t *ids)
{
    const uint8_t *at = t->at + first * t->id_bytes;
    if (t->id_bytes == 2)
        for (int64_t i = 0; i < count; i++) ids[i] = at[2 * i] | at[2 * i + 1] << 8;
    else
        for (int64_t i = 0; i < count; i++) ids[i] = (int32_t)load_u32(at + 4 * i);
}

struct token_bin_writer {
    context *ctx;
    file_writer *file;
    int id_bytes;
    int64_t count;
};

static void store_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> 8 * i);
}

static void write_header(uint8_t header[TOKEN_BIN_HEADER_BYTES], int id_bytes, int64_t count)
{
    memset(header, 0, TOKEN_BIN_HEADER_BYTES);
    store_u32(header, id_bytes == 2 ? MAGIC_U16 : MAGIC_U32);
    store_u32(header + 4, id_bytes == 2 ? VERSION_U16 : VERSION_U32);
    store_u32(header + 8, (uint32_t)count);
}

status token_bin_create(context *ctx, const char *path, int id_bytes, token_bin_writer **out)
{
    *out = NULL;
    token_bin_writer *w = calloc(1, sizeof *w);
    if (!w) return fail_memory(ctx, path, sizeof *w);
    *w = (token_bin_writer){.ctx = ctx, .id_bytes = id_bytes};
    uint8_t header[TOKEN_BIN_HEADER_BYTES];
    write_header(header, id_bytes, 0);
    status s = file_create(ctx, path, &w->file);
    if (!s) s = file_write(w->file, header, sizeof header);
    if (s) {
        token_bin_abandon(w);
        return s;
    }
    *out = w;
    return INGOT_OK;
}

status token_bin_add(token_bin_writer *w, const int32_t *ids, int64_t count)
{
    if (count > TOKEN_BIN_MOST_TOKENS - w->count)
        return ingot_fail(w->ctx, INGOT_ERROR_ARGUMENT, "a file of tokens holds fewer than 2^31: write shards");
    uint8_t buffer[16384];
    int64_t fits = (int64_t)sizeof buffer / w->id_bytes;
    while (count > 0) {
        int64_t now = MIN(count, fits);
        for (int64_t i = 0; i < now; i++) {
            uint32_t id = (uint32_t)ids[i];
            if (ids[i] < 0 || (w->id_bytes == 2 && id > UINT16_MAX))
                return ingot_fail(w->ctx, INGOT_ERROR_ARGUMENT, "token id %d does not fit into %d bytes", ids[i],
                                  w->id_bytes);
            for (int b = 0; b < w->id_bytes; b++) buffer[i * w->id_bytes + b] = (uint8_t)(id >> 8 * b);
        }
        TRY(file_write(w->file, buffer, (uint64_t)(now * w->id_bytes)));
        w->count += now, ids += now, count -= now;
    }
    return INGOT_OK;
}

int64_t token_bin_written(const token_bin_writer *w)
{
    return w->count;
}

status token_bin_commit(token_bin_writer *w)
{
    uint8_t header[TOKEN_BIN_HEADER_BYTES];
    write_header(header, w->id_bytes, w->count);
    status s = file_rewrite(w->file, 0, header, sizeof header);
    if (!s) {
        s = file_commit(w->file);
        w->file = NULL;
    }
    token_bin_abandon(w);
    return s;
}

void token_bin_abandon(token_bin_writer *w)
{
    if (!w) return;
    file_abandon(w->file);
    free(w);
}
