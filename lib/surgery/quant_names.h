/*
 * quant_names.h -- private to surgery: experts' numbers in what JSON says about quantization, in config.json
 * or in a file beside it.
 */
#ifndef MOE_SURGERY_QUANT_NAMES_H
#define MOE_SURGERY_QUANT_NAMES_H

#include "surgery/cut.h"

/*
 * JSON text in which lists and maps of modules (the table is in quant_names.c) follow a cut: of names and
 * patterns that have an expert's number after "experts." or "experts\.", those of experts that are dropped
 * go, the others get the new number. Nothing else changes, not a byte of white space. A class of digits that
 * stands for every number stays, too. Refused by name: a number that is part of another class or a range, or
 * that other experts' numbers begin with where the pattern does not say that it ends; one that stands for
 * several layers which keep different experts; one in a place that the table does not have. what: for
 * messages. The caller frees *out.
 */
int quant_names_cut(const char *text, size_t n, const char *what, const struct cut *c, char **out,
                    size_t *out_n, struct err *e);

#endif
