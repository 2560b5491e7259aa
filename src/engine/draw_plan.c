/* The memory plan as a picture: steps from left to right, bytes of the arena upwards; a buffer is a rectangle. */
#include "engine/program.h"

enum { WIDTH = 1200, HEIGHT = 600, MARGIN = 60 };

static double x_of(const ingot_program *p, int64_t step)
{
    return MARGIN + (double)(WIDTH - 2 * MARGIN) * (double)step / (double)MAX(p->main.count, 1);
}

static double y_of(const ingot_program *p, int64_t offset)
{
    return HEIGHT - MARGIN - (double)(HEIGHT - 2 * MARGIN) * (double)offset / (double)MAX(p->arena_bytes, 1);
}

static const char *name_of(const buffer *b)
{
    return !b->value ? "scratch" : b->value->name ? b->value->name : b->value->node->op->name;
}

/* Neighbours differ; scratch is grey. */
static const char *colour_of(const buffer *b, int64_t index)
{
    static const char *const colours[] = {"#8dd3c7", "#fdb462", "#80b1d3", "#fb8072", "#b3de69", "#bebada", "#ffed6f"};
    return b->value ? colours[index % (int64_t)COUNT(colours)] : "#bbb";
}

static void draw_buffer(const ingot_program *p, const buffer *b, int64_t index, text *out)
{
    char bytes[24];
    double left = x_of(p, b->first), right = x_of(p, b->last + 1);
    double top = y_of(p, b->offset + b->bytes), bottom = y_of(p, b->offset);
    text_printf(out,
                "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\" stroke=\"#333\" "
                "stroke-width=\"0.2\"><title>%s, %s, steps %lld to %lld</title></rect>\n",
                left, top, right - left, bottom - top, colour_of(b, index), name_of(b),
                format_bytes(bytes, (uint64_t)b->bytes), (long long)b->first, (long long)b->last);
}

static void draw_level(const ingot_program *p, int64_t bytes, const char *what, double up, text *out)
{
    char size[24];
    text_printf(out,
                "<line x1=\"%d\" x2=\"%d\" y1=\"%.2f\" y2=\"%.2f\" stroke=\"#000\" stroke-dasharray=\"4\"/>"
                "<text x=\"%d\" y=\"%.2f\">%s %s</text>\n",
                MARGIN, WIDTH - MARGIN, y_of(p, bytes), y_of(p, bytes), MARGIN, y_of(p, bytes) - up, what,
                format_bytes(size, (uint64_t)bytes));
}

void program_draw_plan(const ingot_program *p, text *out)
{
    text_printf(out,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
                "font-size=\"13\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
                WIDTH, HEIGHT, WIDTH, HEIGHT);
    for (int64_t i = 0; i < p->buffers.count; i++)
        if (p->buffers.at[i].kind == BUFFER_ARENA && p->buffers.at[i].bytes) draw_buffer(p, &p->buffers.at[i], i, out);
    draw_level(p, p->arena_bytes, "arena", 18, out);
    draw_level(p, p->lower_bound_bytes, "most alive in one step", 4, out);
    text_printf(out, "<text x=\"%d\" y=\"%d\">%s: steps 0 to %lld, from left to right</text>\n</svg>\n", MARGIN,
                HEIGHT - MARGIN / 2, p->graph->name, (long long)p->main.count);
}
