/* The table of families, and what stands between names and fields. */
#include "models/model.h"

#define FAMILY(name) extern const model_family model_##name;
#include "models/models.def"
#undef FAMILY

const model_family *const model_families[] = {
#define FAMILY(name) &model_##name,
#include "models/models.def"
#undef FAMILY
    NULL};

const model_family *family_find(const char *name)
{
    for (const model_family *const *f = model_families; *f; f++)
        if (!strcmp((*f)->name, name)) return *f;
    return NULL;
}
