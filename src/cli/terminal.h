/* What the user sees while work runs: log lines and one progress line on standard error. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include "base/base.h"

typedef struct terminal terminal;
terminal *terminal_new(bool quiet);
void terminal_free(terminal *t); /* clears the progress line */
void terminal_clear(terminal *t);

/* ingot_context callbacks; user is the terminal. */
void terminal_log(void *user, ingot_log_level level, const char *line);
void terminal_progress(void *user, const char *what, double done, double total, const char *unit);

/* "ingot: message", continuation lines indented under the first. */
void terminal_error(const char *message);

#endif
