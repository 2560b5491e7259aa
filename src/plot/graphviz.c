/* Pictures of graphs, drawn by Graphviz: its language in, SVG out, each through a file without a name. */
#define _GNU_SOURCE
#include "plot/plot.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static status run_dot(context *ctx, FILE *in, FILE *out)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(in), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(out), STDOUT_FILENO);
    pid_t child;
    int how = 0, failed = posix_spawnp(&child, "dot", &actions, NULL,
                                       (char *[]){(char[]){"dot"}, (char[]){"-Tsvg"}, NULL}, environ);
    posix_spawn_file_actions_destroy(&actions);
    while (!failed && waitpid(child, &how, 0) < 0 && errno == EINTR) continue;
    if (failed)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                          "Graphviz is not installed (Debian and Homebrew: graphviz); --format dot needs none");
    if (how) return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "Graphviz failed (dot -Tsvg)");
    return INGOT_OK;
}

static bool read_all(FILE *from, text *to)
{
    char block[1 << 14];
    size_t got;
    rewind(from);
    while ((got = fread(block, 1, sizeof block, from)) > 0) text_add(to, block, got);
    return !ferror(from) && !to->failed;
}

status plot_graph(context *ctx, const text *dot, text *svg)
{
    FILE *in = tmpfile(), *out = tmpfile();
    status s = INGOT_OK;
    if (!in || !out || fwrite(dot->at, 1, dot->length, in) != dot->length || fflush(in))
        s = fail_errno(ctx, "write", "a temporary file");
    if (!s) {
        rewind(in);
        s = run_dot(ctx, in, out);
    }
    if (!s && !read_all(out, svg)) s = fail_errno(ctx, "read", "a temporary file");
    if (in) fclose(in);
    if (out) fclose(out);
    return s;
}
