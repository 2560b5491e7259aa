/* Continuous batching: requests wait, become sequences when the cache has room for the whole of them, take one step a run
 * together, and leave one by one. Prompts go in chunks beside the single steps of others.
 *
 *     batch *b;
 *     TRY(batch_new(session, on_piece, user, &b));
 *     TRY(batch_add(b, &request, 0));              // at any time, also between steps
 *     while (batch_busy(b)) TRY_OR(failed, batch_step(b));
 *     batch_free(b);
 *
 * The request, and all that it points to, stays the caller's and must live until its last sample's last piece.
 */
#ifndef INFER_BATCH_H
#define INFER_BATCH_H

#include "infer/session.h"

typedef struct batch batch;

status batch_new(session *s, ingot_on_piece *on_piece, void *user, batch **out);
void batch_free(batch *b); /* what still runs is dropped */
/* Checks the request, encodes its prompt and queues it; `index` is what pieces call it. *prompt_tokens may be NULL. */
status batch_add(batch *b, const ingot_request *request, int64_t index, int64_t *prompt_tokens);
bool batch_busy(const batch *b);
status batch_step(batch *b);

#endif
