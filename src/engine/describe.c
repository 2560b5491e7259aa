/* What a program is, in numbers and in words. */
#include "engine/program.h"

static int64_t states_used(const ingot_program *p)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < p->graph->states.count; i++) bytes += value_bytes(p->graph->states.at[i].value);
    return bytes;
}

ingot_program_info ingot_program_describe(const ingot_program *p)
{
    ingot_program_info info = {.steps = p->main.count,
                               .arena_bytes = p->arena_bytes,
                               .lower_bound_bytes = p->lower_bound_bytes,
                               .state_bytes = states_used(p),
                               .own_bytes = p->own_bytes};
    for (int64_t i = 0; i < p->main.count; i++) {
        op_cost c = node_cost(p->main.steps[i].node);
        info.flops += c.flops;
        info.bytes += c.bytes;
    }
    return info;
}

static void dump_plan(const ingot_program *p, text *out)
{
    char arena[24], bound[24], own[24], bytes[24];
    text_printf(out, "plan %s: %lld steps, arena %s (lower bound %s), own %s\n", p->graph->name,
                (long long)p->main.count, format_bytes(arena, (uint64_t)p->arena_bytes),
                format_bytes(bound, (uint64_t)p->lower_bound_bytes), format_bytes(own, (uint64_t)p->own_bytes));
    for (int64_t i = 0; i < p->buffers.count; i++) {
        static const char *const kinds[] = {"arena", "state", "own"};
        const buffer *b = &p->buffers.at[i];
        text_printf(out, "  %-5s %10s at %-12lld steps %lld-%lld  %s\n", kinds[b->kind],
                    format_bytes(bytes, (uint64_t)b->bytes), (long long)b->offset, (long long)b->first,
                    (long long)b->last,
                    b->value ? b->value->name ? b->value->name : b->value->node->op->name : "scratch");
    }
}

static void dump_kernels(const ingot_program *p, text *out)
{
    text_printf(out, "kernels %s\n", p->graph->name);
    for (int64_t i = 0; i < p->main.count; i++) {
        text_printf(out, "  %4lld  ", (long long)i);
        node_print(p->main.steps[i].node, out);
        int64_t launch = p->device->def->launch_of ? p->device->def->launch_of(p->compiled, i) : -1;
        if (launch >= 0) text_printf(out, "  in the launch of step %lld", (long long)launch);
        text_puts(out, "\n");
    }
}

char *ingot_program_dump(const ingot_program *p, const char *what, const char *format)
{
    text out = {0};
    if (!strcmp(what, "plan") && !strcmp(format, "svg"))
        program_draw_plan(p, &out);
    else if (!strcmp(what, "plan"))
        dump_plan(p, &out);
    else if (!strcmp(format, "dot"))
        graph_print_dot(p->graph, !strcmp(what, "kernels"), &out);
    else if (!strcmp(what, "kernels"))
        dump_kernels(p, &out);
    else
        graph_print(p->graph, &out);
    if (!out.failed && out.at) return out.at;
    text_free(&out);
    return NULL;
}
