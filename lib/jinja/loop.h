/* loop.h -- a for at work: what it goes through, and what "loop" says of it. */
#ifndef MOE_JINJA_LOOP_H
#define MOE_JINJA_LOOP_H

#include "jinja/value.h"

struct node;
struct loop {
    const struct node *node;
    struct frame *frame; /* around it */
    struct value *item;
    uint32_t n, at;         /* the next to be looked at, which the test may pass over */
    bool tested;            /* the test is still to be asked */
    int64_t index0, length; /* length: -1 until it is asked for */
    int depth0;
    struct value current, before, after; /* after: taken ahead, or MISSING */
    struct value changed;                /* what changed() was last given */
};

/* The next item; false: there is none. */
bool loop_next(struct run *r, struct loop *l);
int64_t loop_length(struct run *r, struct loop *l);
struct value loop_attribute(struct run *r, struct loop *l, struct value name);
/* Going through "loop" itself takes what is left. */
struct value loop_rest(struct run *r, struct loop *l);

#endif
