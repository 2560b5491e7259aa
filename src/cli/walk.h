/* All verbs and their options, for what is generated from the tables: completion scripts and the man page. */
#ifndef CLI_WALK_H
#define CLI_WALK_H

#include "cli/verb.h"

/* Every verb with the words that lead to it ("tokenizer train"); parents before their sub-verbs. */
typedef void verb_visitor(const verb *v, const char *words, void *user);
void walk_verbs(verb_visitor *see, void *user);

/* Every option that `v` takes, the common ones last; title is the table's heading. */
typedef void option_visitor(const option *o, const char *title, const char *words);
void walk_options(const verb *v, const char *words, option_visitor *see);

#endif
