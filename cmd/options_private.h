/*
 * options_private.h -- what the parser, its rules and its help share.
 */
#ifndef MOE_CMD_OPTIONS_PRIVATE_H
#define MOE_CMD_OPTIONS_PRIVATE_H

#include "options.h"

/* The program under way, and its options with the common ones behind them; ends with OPT_END. */
extern const struct cmd *option_cmd;
extern struct opt option_table[];

/* A row of the table, not its end. */
bool option_is_row(const struct opt *o);
/* The row of a name of n bytes; NULL: there is none. */
const struct opt *option_find(const char *name, size_t n);
/* Index of a word of n bytes among the words of "drop|refuse"; -1: it is none of them. */
int option_choice(const char *words, const char *word, size_t n);
/* "drop or refuse" of "drop|refuse", "a, b or c" of "a|b|c". */
const char *option_words(const char *words, char *buf, size_t size);

/* Dies where a rule is broken. */
void option_rules(int n, char **argv);

_Noreturn void help_print(void);
_Noreturn void help_list_options(void);
_Noreturn void help_list_subcommands(void);
_Noreturn void help_list_values(const char *name);

#endif
