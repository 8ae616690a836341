/*
 * words.h -- small questions about words: how they end, the numbers in them, which of some was meant.
 */
#ifndef MOE_BASE_WORDS_H
#define MOE_BASE_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* list ends with NULL, or is NULL: empty. */
bool in_words(const char *const *list, const char *word);
bool ends_with(const char *s, const char *end);
/* A run of digits at *s as a number, and *s behind it; false if there is none or it is over 9 digits. */
bool take_number(const char **s, int *out);

/*
 * Letters that were changed, left out, put in, or exchanged with their neighbour between what was typed and a
 * word: the optimal string alignment distance. Of the words that are compared with `typed`, the nearest that
 * is near enough to have been meant: a third of the letters at most; capitals count as small ones.
 *
 *     struct nearest x = {.typed = name};
 *     nearest_try(&x, "perplexity"), nearest_try(&x, "compare");
 *     if (x.word) ...                         the first of those that are equally near
 */
struct nearest {
    const char *typed, *word;
    size_t distance;
};
void nearest_try(struct nearest *x, const char *word);

#endif
