/* Any bytes as results of ingot bench and as a tuning file: refused with a message, or taken, and then compared with
 * themselves without a difference. */
#include "bench/compare.h"
#include "device/tuning.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_rows(context *ctx, const char *bytes, size_t size)
{
    json_t *rows;
    if (rows_parse(ctx, "rows.json", bytes, size, &rows)) {
        if (!*ingot_message(ctx)) abort();
        return;
    }
    compare_file files[] = {{"a", rows}, {"b", rows}};
    json_t *merged = compare_files(files, 2, 0.03), *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        double ratio, noise;
        row_verdict verdict = row_compare(row, row, 0.03, &ratio, &noise);
        if (verdict != ROW_SAME && verdict != ROW_UNKNOWN) abort();
    }
    json_decref(merged);
    json_decref(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ingot_context *ctx;
    if (ingot_context_new(NULL, &ctx)) return 0;
    tuning *t;
    try_rows(ctx, (const char *)data, size);
    if (!tuning_parse(ctx, "tuning.json", (const char *)data, size, "here", &t)) tuning_free(t);
    ingot_context_free(ctx);
    return 0;
}
