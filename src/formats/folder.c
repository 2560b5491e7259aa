#include "formats/folder.h"

#include "base/file.h"

static const struct mark {
    folder_kind kind;
    const char *name;
} marks[] = {{FOLDER_RUN, "steps"},
             {FOLDER_RUN, "last"},
             {FOLDER_DATA, "meta.json"},
             {FOLDER_MODEL, "config.json"},
             {FOLDER_MODEL, "adapter_config.json"}};

folder_kind folder_holds(const char *path)
{
    for (size_t i = 0; i < COUNT(marks); i++) {
        char *file = path_join(path, marks[i].name);
        bool there = file && (file_exists(file) || directory_exists(file));
        free(file);
        if (there) return marks[i].kind;
    }
    return FOLDER_OTHER;
}

static const char *what(folder_kind kind)
{
    switch (kind) {
    case FOLDER_RUN: return "a run of ingot train";
    case FOLDER_DATA: return "data of ingot data prepare";
    case FOLDER_MODEL: return "a model";
    default: return "other files";
    }
}

status folder_check_output(context *ctx, const char *path, folder_kind made)
{
    folder_kind held = folder_holds(path);
    if (held == made || held == FOLDER_OTHER) return INGOT_OK;
    return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%s holds %s, where %s would spoil it: give another folder", path,
                      what(held), what(made));
}
