/* The program: finds the verb, fills its options, runs it, and turns its status into a message and an exit code:
 * 0 done, 1 failed, 2 used wrongly, 130 interrupted, 141 nobody reads standard output any more. */
#define _GNU_SOURCE
#include "cli/terminal.h"
#include "cli/verb.h"

#include "base/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define VERB(name) extern const verb verb_##name;
#include "cli/verbs.def"
#undef VERB

const verb *const all_verbs[] = {
#define VERB(name) &verb_##name,
#include "cli/verbs.def"
#undef VERB
    NULL};

/* Signals reach the context only by an address at file scope; the program has one context at a time. */
static _Atomic(context *) interrupted_context;
static volatile sig_atomic_t pipe_closed, interrupts;

static void on_interrupt(int number)
{
    context *ctx = atomic_load(&interrupted_context);
    if (!ctx || interrupts++) _exit(128 + number);
    ingot_interrupt(ctx);
    static const char note[] = "\ningot: stopping at the next safe point; once more stops at once\n";
    if (write(STDERR_FILENO, note, sizeof note - 1) < 0) return;
}

static void on_closed_pipe(int number)
{
    (void)number;
    context *ctx = atomic_load(&interrupted_context);
    pipe_closed = 1;
    if (ctx) ingot_interrupt(ctx);
}

static void catch_signals(bool outlives_stdout)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is a failing write, with a message, like a full disk */
    action.sa_handler = outlives_stdout ? SIG_IGN : on_closed_pipe;
    sigaction(SIGPIPE, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is then an error of write, with its message */
}

/* A caller may have closed 0, 1 or 2; the first files we open must not be taken for them. */
static void hold_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
        if (open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd) _exit(1); /* the wrong way round: use of it fails */
    }
}

static status read_options(call *c, const verb *v, void *options, common_options *common, int argc, char **argv)
{
    option_set *set = c->set;
    for (size_t i = 0; i < COUNT(v->options) && v->options[i].at; i++) TRY(options_add(set, &v->options[i], options));
    TRY(options_add(set, &common_table, common));
    TRY(options_command_line(set, argc, argv, &common->help));
    if (common->help) return INGOT_OK;
    TRY(options_environment(set));
    const char *saved = NULL;
    if (v->saved_config) TRY(v->saved_config(c, options, &saved));
    if (saved) TRY(options_saved(set, saved));
    if (common->config) TRY(options_config(set, common->config));
    return options_check(set);
}

/* Standard output is checked last: a full disk behind `> file` is a failure, a reader that left is not a message. */
static int finish_output(const call *c, status s)
{
    bool failed = fflush(stdout) || ferror(stdout);
    int number = errno;
    if (pipe_closed || (failed && number == EPIPE)) return 128 + SIGPIPE;
    if (s == INGOT_ERROR_INTERRUPTED && interrupts) {
        const char *message = ingot_message(c->ctx);
        if (*message) terminal_error(message);
        return 128 + SIGINT;
    }
    if (s) {
        const char *message = ingot_message(c->ctx);
        terminal_error(*message ? message : "failed, without a message: please report this");
        if (c->usage_error) fprintf(stderr, "       %s --help lists what it takes\n", c->command);
        return c->usage_error ? 2 : 1;
    }
    if (failed) {
        fprintf(stderr, "ingot: cannot write to standard output: %s\n", strerror(number));
        return 1;
    }
    return 0;
}

/* Threads that share a core make every loop wait for the slowest. */
static void warn_of_threads(const call *c)
{
    int cores = threads_default();
    if (c->threads <= cores) return;
    log_line(c->ctx, INGOT_LOG_WARNING,
             "--threads %lld is more than the %d %s here, which is slower; --threads %d is best", (long long)c->threads,
             cores, cores == 1 ? "core" : "cores", cores);
}

static int run_with(call *c, const verb *v, void *options, const common_options *common)
{
    context *parsing = c->ctx, *ctx;
    c->json = common->json;
    c->quiet = common->quiet;
    c->terminal = terminal_new(common->quiet);
    c->threads = common->threads;
    ingot_context_options wanted = {
        .threads = (int)c->threads, .log = terminal_log, .progress = terminal_progress, .user = c->terminal};
    if (!c->terminal || ingot_context_new(&wanted, &ctx)) {
        terminal_error("not enough memory to begin");
        return 1;
    }
    c->ctx = c->set->ctx = ctx;
    warn_of_threads(c);
    atomic_store(&interrupted_context, ctx);
    catch_signals(v->outlives_stdout);
    status s = v->run(c, options);
    terminal_clear(c->terminal);
    int code = finish_output(c, s);
    atomic_store(&interrupted_context, NULL);
    ingot_context_free(ctx);
    c->ctx = c->set->ctx = parsing;
    terminal_free(c->terminal);
    return code;
}

static int run_verb(const verb *v, const char *command, int argc, char **argv)
{
    context *parsing;
    arena *memory = arena_new();
    if (ingot_context_new(NULL, &parsing)) parsing = NULL;
    void *options = memory ? arena_alloc(memory, v->options_bytes + 1) : NULL;
    if (!parsing || !options) {
        terminal_error("not enough memory to begin");
        return 1;
    }
    common_options common = {0};
    option_set set = {.ctx = parsing, .arena = memory, .command = command};
    call c = {.ctx = parsing, .arena = memory, .command = command, .set = &set};
    int code;
    if (read_options(&c, v, options, &common, argc, argv)) {
        c.usage_error = true;
        code = finish_output(&c, INGOT_ERROR_ARGUMENT);
    } else if (common.help) {
        help_verb(stdout, v, command);
        code = finish_output(&c, INGOT_OK);
    } else {
        if (!common.threads) common.threads = threads_default(); /* resolved, so that run.yaml repeats the run */
        code = run_with(&c, v, options, &common);
    }
    ARRAY_FREE(&set.slots);
    arena_free(memory);
    ingot_context_free(parsing);
    return code;
}

const verb *verb_find(int argc, char **argv, int *used, text *command)
{
    const verb *found = NULL, *const *among = all_verbs;
    text_puts(command, "ingot");
    for (*used = 0; *used < argc; ++*used) {
        const verb *next = NULL;
        for (size_t i = 0; among[i] && !next; i++)
            if (!strcmp(among[i]->name, argv[*used])) next = among[i];
        if (!next) break;
        found = next;
        among = found->verbs;
        text_printf(command, " %s", found->name);
    }
    return found;
}

void verb_unknown(text *out, const verb *parent, const char *command, const char *word)
{
    const verb *const *among = parent ? parent->verbs : all_verbs;
    const char *names[64];
    size_t count = 0;
    while (count < COUNT(names) && among[count]) names[count] = among[count]->name, count++;
    const char *nearest = nearest_name(word, names, count);
    text_printf(out, "there is no '%s %s'%s%s%s", command, word, nearest ? "; did you mean " : "",
                nearest ? nearest : "", nearest ? "?" : "");
}

static int unknown_verb(const verb *parent, const char *command, const char *word)
{
    text why = {0};
    verb_unknown(&why, parent, command, word);
    fprintf(stderr, "ingot: %s\n       %s --help lists the verbs\n", why.at ? why.at : "no such verb", command);
    text_free(&why);
    return 2;
}

int main(int argc, char **argv)
{
    hold_standard_streams();
    int used, code = 0;
    text command = {0};
    const verb *v = verb_find(argc - 1, argv + 1, &used, &command);
    const char *next = used + 1 < argc ? argv[used + 1] : NULL;
    bool help = next && (!strcmp(next, "--help") || !strcmp(next, "-h"));
    if (v && v->run) {
        code = run_verb(v, command.at, argc - 1 - used, argv + 1 + used);
    } else if (next && !help && !(!v && !strcmp(next, "--version"))) {
        code = unknown_verb(v, command.at, next);
    } else {
        FILE *out = next ? stdout : stderr;
        if (v)
            help_verb(out, v, command.at);
        else if (next && !help)
            puts(ingot_version());
        else
            help_program(out);
        code = next ? fflush(stdout) != 0 : 2;
    }
    text_free(&command);
    return code;
}
