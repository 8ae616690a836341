/* feed.c -- hidden states on the device, a piece at a time, for head and head_top. */
#include "engine/feed.h"

int feed_open(struct feed *f, struct device *d, const struct hidden *h, int64_t piece, struct err *e)
{
    size_t bytes = ((size_t)piece + TILE_ROWS) * (size_t)h->hidden * d->elem_bytes;
    int i;

    *f = (struct feed){.d = d, .h = h};
    for (i = 0; h->on_host && i < 2; i++)
        if (!(f->buffer[i] = d->ops->buf_new(d, bytes, e)))
            return -1;
    return 0;
}

void feed_close(struct feed *f)
{
    int i;

    for (i = 0; f->d && i < 2; i++) {
        f->d->ops->finish_copy(f->d, f->ready[i]);
        f->d->ops->buf_free(f->d, f->buffer[i]);
    }
}

void feed_fetch(struct feed *f, int64_t first, int64_t n)
{
    size_t row = (size_t)f->h->hidden * f->d->elem_bytes;

    if (f->h->on_host && n > 0)
        f->ready[!f->at] = f->d->ops->copy_up(
            f->d, f->buffer[!f->at], (const uint8_t *)f->h->x + (size_t)first * row, (size_t)n * row, 0);
}

const void *feed_take(struct feed *f, int64_t first)
{
    if (!f->h->on_host)
        return (const uint8_t *)f->h->x + (size_t)first * (size_t)f->h->hidden * f->d->elem_bytes;
    f->at = !f->at;
    f->d->ops->await_copy(f->d, f->ready[f->at]);
    return f->buffer[f->at];
}
