/* evaluate.h -- expressions and statements at work, as the parts of the interpreter see each other. */
#ifndef MOE_JINJA_EVALUATE_H
#define MOE_JINJA_EVALUATE_H

#include "jinja/builtin.h"
#include "jinja/tree.h"

/* The variables of a unit at one call. */
struct frame {
    struct frame *up; /* of the unit around */
    struct value slot[];
};

/* A macro, or the caller that a call block gives. */
struct macro {
    const struct node *node;
    struct frame *frame; /* in which it was made */
};

struct value evaluate(struct run *r, const struct node *n);
void assign(struct run *r, const struct node *target, struct value v);
/* Prints a body. How it ended: */
enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };
enum flow execute(struct run *r, const struct node *n);

struct frame *frame_push(struct run *r, const struct unit *u, struct frame *up);
void scope_clear(struct run *r, const struct scope *s);
/* The arguments of a call, filter or test. */
void evaluate_args(struct run *r, const struct node *n, struct args *a);
struct value apply_filter(struct run *r, const struct node *n, struct value self);
struct value macro_call(struct run *r, const struct macro *m, struct args *a);
/* loop(items) of a recursive loop: what it prints. */
struct value loop_again(struct run *r, struct loop *l, struct args *a);
void run_deeper(struct run *r);

#endif
