/* What a folder of ours holds, by the files that mark it: so that no verb writes into what another one made. */
#ifndef FORMATS_FOLDER_H
#define FORMATS_FOLDER_H

#include "base/base.h"

typedef enum folder_kind {
    FOLDER_OTHER, /* empty, not there, or somebody else's files */
    FOLDER_RUN,   /* of ingot train: steps/, last */
    FOLDER_DATA,  /* of ingot data prepare: meta.json */
    FOLDER_MODEL  /* config.json or adapter_config.json: Hugging Face's layout */
} folder_kind;

folder_kind folder_holds(const char *path);
/* Fails when the folder holds something else than what is going to be written there. */
status folder_check_output(context *ctx, const char *path, folder_kind made);

#endif
