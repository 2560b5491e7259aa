/* Train or val: by document, or by bytes where documents are few; see prepare.h. */
#include "data/prepare.h"

/* What a plan by bytes has to know of the text before it can be cut. */
typedef struct extent {
    int64_t documents, bytes;
    int64_t last_line; /* where the last line begins */
} extent;

static status measure(ingot_corpus *c, bool to_the_end, extent *out)
{
    ingot_corpus_piece piece;
    for (;;) {
        TRY(ingot_corpus_next(c, &piece));
        if (!piece.bytes) return INGOT_OK;
        out->documents += piece.begins;
        if (out->documents >= SPLIT_DOCUMENTS && !to_the_end) return INGOT_OK;
        if (piece.begins && out->bytes) out->last_line = out->bytes; /* a document begins a line */
        for (int64_t i = piece.count - 1; i > 0; i--)
            if (piece.bytes[i - 1] == '\n') {
                out->last_line = out->bytes + i;
                break;
            }
        out->bytes += piece.count;
    }
}

status split_plan_make(context *ctx, ingot_corpus *c, double val_fraction, bool force_bytes, split_plan *out)
{
    (void)ctx;
    *out = (split_plan){.val_fraction = val_fraction};
    if (val_fraction <= 0) return INGOT_OK;
    extent e = {0};
    corpus_silence(c);
    TRY(measure(c, force_bytes, &e));
    out->by_bytes = force_bytes || e.documents < SPLIT_DOCUMENTS;
    if (!out->by_bytes) return INGOT_OK;
    out->cut = e.bytes - (int64_t)(val_fraction * (double)e.bytes);
    /* No line begins in the last fraction: the last line is val as a whole, unless it is most of the text. */
    out->exact = e.last_line < out->cut;
    if (out->exact && e.last_line > 0 && e.bytes - e.last_line <= e.bytes / 2) out->cut = e.last_line;
    return INGOT_OK;
}

bool split_is_val(const split_plan *plan, uint64_t hash)
{
    return (double)(hash >> 11) * 0x1p-53 < plan->val_fraction;
}
