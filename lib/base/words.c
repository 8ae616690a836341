/* words.c -- small questions about words. */
#include "base/words.h"

#include <ctype.h>
#include <string.h>

bool in_words(const char *const *list, const char *word)
{
    while (list && *list && strcmp(*list, word) != 0)
        list++;
    return list && *list;
}

bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && strcmp(s + n - k, end) == 0;
}

bool take_number(const char **s, int *out)
{
    const char *p = *s;
    int v = 0;

    while (isdigit((unsigned char)*p) && v < 100000000)
        v = v * 10 + (*p++ - '0');
    if (p == *s || isdigit((unsigned char)*p))
        return false;
    *s = p;
    *out = v;
    return true;
}

enum { LONGEST = 40 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* a and b of at most LONGEST letters. */
static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t distance(const char *a, size_t n, const char *b, size_t k)
{
    size_t row[3][LONGEST + 1], i, j; /* of i - 2, i - 1 and i letters of a, in turn */

    for (j = 0; j <= k; j++)
        row[0][j] = j;
    for (i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

        now[0] = i;
        for (j = 1; j <= k; j++) {
            now[j] = least(last[j - 1] + !same_letter(a[i - 1], b[j - 1]), least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return row[n % 3][k];
}

void nearest_try(struct nearest *x, const char *word)
{
    size_t n = strlen(x->typed), k = strlen(word), d;

    if (n > LONGEST || k > LONGEST)
        return;
    d = distance(x->typed, n, word, k);
    if (3 * d > (n > k ? n : k) || (x->word && d >= x->distance))
        return;
    x->word = word;
    x->distance = d;
}
